"""Runs passes one after another, with the graph verified between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pimc.ir import verify as ir
from pimc.ir.graph import Graph
from pimc.passes.base import Pass, PassError
from pimc.passes.plan_file import PlanFile
from pimc.passes.target import Target
from pimc.progress import heard_by

__all__ = ["run_passes"]


def run_passes(
    graph: Graph,
    passes: Sequence[Pass],
    target: Target,
    *,
    verify: bool = True,
    print_after: Sequence[str] = (),
    stop_after: str | None = None,
    on_print: Callable[[str, Graph], None] | None = None,
    on_pass: Callable[[str, float], None] | None = None,
    progress: Callable[[str], None] | None = None,
    plan: PlanFile | None = None,
) -> Graph:
    """Run ``passes`` in order and return the last graph.

    ``print_after`` names passes (or 'all') after which ``on_print(pass name, graph)`` is called; ``stop_after`` names
    the last pass to run; ``on_pass(pass name, seconds)`` is told each pass's wall time, verification not counted;
    ``progress(text)`` hears of a pass before it runs, and what it tells (`pimc.progress`).
    ``plan`` forces options and decisions.
    Raises PassError for an unknown name, a pass run at the wrong stage, or a graph that a pass has broken.
    """
    _check_names(passes, [*(n for n in print_after if n != "all"), *([stop_after] if stop_after else [])])
    if plan is not None:
        passes = plan.passes(passes)
    if verify:
        _verify(graph, "the front end")
    for number, step in enumerate(passes, 1):
        if graph.stage != step.from_stage:
            raise PassError(
                f"pass {step.name} needs a graph at stage {step.from_stage!r}, this one is at {graph.stage!r}"
            )
        about = f"pass {number} of {len(passes)}: {step.name}"
        if progress:
            progress(about)
        begin = time.perf_counter()
        with heard_by(progress, f"{about}: "):
            after = step.apply(graph, target)
        seconds = time.perf_counter() - begin
        graph = after.copy() if after is graph else after
        graph.stage = step.to_stage
        if plan is not None:
            plan.force(step, graph)
        if on_pass:
            on_pass(step.name, seconds)
        if verify:
            _verify(graph, f"pass {step.name}")
        if on_print and (step.name in print_after or "all" in print_after):
            on_print(step.name, graph)
        if step.name == stop_after:
            break
    return graph


def _check_names(passes: Sequence[Pass], names: Sequence[str]) -> None:
    known = [step.name for step in passes]
    for name in names:
        if name not in known:
            raise PassError(f"no pass {name!r} in this pipeline; its passes are {', '.join(known)}")


def _verify(graph: Graph, author: str) -> None:
    try:
        ir.verify(graph)
    except ir.VerifyError as error:
        raise PassError(f"{author} left an invalid graph (a bug in pimc or in the target):\n{error}") from error
