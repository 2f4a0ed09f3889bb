"""``pimc opt``: passes on the text of a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pimc.cli.options import Json, MachineFile, Quiet, Set, target_options

__all__ = ["opt"]


def opt(
    graph: Annotated[Path, typer.Argument(metavar="FILE.ir", help="The text of a graph (compile --emit ir).")],
    passes: Annotated[
        str, typer.Option(metavar="SPEC", help="Passes in order: 'map-weights{option=value};place'; none: only check.")
    ] = "",
    target: Annotated[str, typer.Option(help="The chip they work for; 'pimc targets' lists them.")] = "isaac",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="OUT.ir", help="Write the graph, constants beside it.")
    ] = None,
    plan: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Decisions that are forced.")] = None,
    print_plan: Annotated[bool, typer.Option("--print-plan", help="Print what was decided, as a plan file.")] = False,
    machine: MachineFile = None,
    set_: Set = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run passes on a graph's text, and print the graph that comes out.

    Constants are read from FILE.ir.safetensors, which compile writes beside the text; where the text gives no hashes
    and that file is not there, they are made up.

    Examples:

      pimc compile net.onnx --emit ir --stop-after slice-weights -o net.ir

      pimc opt net.ir --passes 'place;schedule-rows' --target isaac

      pimc opt net.ir --passes place --print-plan
    """
    from pimc import driver
    from pimc.cli.files import judge_output, printing_beside
    from pimc.cli.output import print_json, progress
    from pimc.ir.files import read_graph, write_graph
    from pimc.ir.text import print_graph
    from pimc.ir.verify import verify
    from pimc.passes.manager import run_passes
    from pimc.passes.plan_file import plan_text, read_plan
    from pimc.passes.registry import known_passes
    from pimc.passes.spec import parse_pipeline

    judge_output(output, graph, plan, machine)
    with progress("reading the graph", quiet=quiet) as say:
        given = read_graph(graph)
        verify(given)
        options: dict[str, Any] = dict(target_options(set_))
        chosen, _ = driver.choose(target, machine=machine, **options)
        steps = parse_pipeline(passes, known_passes())
        made = run_passes(given, steps, chosen, progress=say, plan=None if plan is None else read_plan(plan))
    if output is not None:
        write_graph(made, output)
    text = plan_text(made, steps) if print_plan else print_graph(made)
    with printing_beside(output):
        if json:
            print_json({"stage": made.stage, "ops": len(made), "text": text})
        elif output is None or print_plan:
            typer.echo(text, nl=False)
