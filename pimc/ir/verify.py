"""Checks a graph against the invariants of its stage; run between passes, and on every graph read from text."""

from __future__ import annotations

import math
from collections.abc import Iterator

import networkx as nx

from pimc.ir.decisions import decision_problems, placement_problems
from pimc.ir.fields import constants_of
from pimc.ir.graph import Graph
from pimc.ir.infer import InferError, infer_type
from pimc.ir.ops import HostCall, Op, TensorType
from pimc.ir.ops.specs import Constant, specs_of
from pimc.ir.stages import stage_of
from pimc_isa.errors import PimcError

__all__ = ["VerifyError", "problems", "verify"]

_SHOWN = 10


class VerifyError(PimcError):
    """A graph that breaks an invariant; the message lists what and where, for whoever writes a pass."""

    most_lines = 20


def verify(graph: Graph, stage: str | None = None) -> None:
    """Raise VerifyError unless the invariants of ``stage`` (default: the graph's own) hold."""
    found = list(problems(graph, stage or graph.stage))
    if not found:
        return
    more = [f"... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    raise VerifyError("\n".join([f"graph {graph.name!r} at stage {stage or graph.stage}:", *found[:_SHOWN], *more]))


def problems(graph: Graph, stage: str) -> Iterator[str]:
    """Yield every broken invariant in one line each, in the order of the ops."""
    try:
        here, made, pending = stage_of(stage)
    except KeyError as error:
        yield str(error.args[0])
        return
    try:
        ops = list(graph.ops())
    except nx.NetworkXUnfeasible:
        yield "values depend on one another in a cycle"
        return
    for op in ops:
        if not here.allows(op):
            yield f"%{op.name}: {op.kind} does not exist at stage {stage}"
            continue
        for decision in made:
            if decision.applies(op) and getattr(op, decision.field) is None:
                yield f"%{op.name}: {decision.field} is not decided at stage {stage}"
        for decision in pending:
            if getattr(op, decision.field, None) is not None:
                yield f"%{op.name}: {decision.field} is decided before its stage"
        missing = [
            f"%{op.name}: constant @{name} does not exist" for name in constants_of(op) if name not in graph.constants
        ]
        yield from missing
        if not missing:
            yield from (f"%{op.name}: {text}" for text in _op_problems(graph, op))
    yield from _port_problems(graph)
    yield from placement_problems(graph)


def _op_problems(graph: Graph, op: Op) -> Iterator[str]:
    if not op.is_host:
        yield from _type_problems(graph, op)
    yield from op.problems(graph)
    yield from _view_problems(op)
    yield from _field_problems(graph, op)
    yield from decision_problems(graph, op)


def _type_problems(graph: Graph, op: Op) -> Iterator[str]:
    inputs = [graph[v].type for v in op.inputs]
    if any(t is None for t in inputs):
        yield "reads an op without a result"
        return
    try:
        expected = infer_type(op, [t for t in inputs if t is not None], graph.constants)
    except InferError as error:
        yield str(error)
        return
    if op.type != expected:
        yield f"has type {_shown(op.type)}, its inputs give {_shown(expected)}"


def _shown(kind: TensorType | None) -> str:
    return f"{kind.dtype}[{'x'.join(map(str, kind.shape))}]" if kind else "none"


def _view_problems(op: Op) -> Iterator[str]:
    if op.type is None:
        if op.views:
            yield "has views, but no result"
        return
    for view in op.views:
        if view.order not in {"CHW", "HWC"}:
            yield f"view {view.tensor}: order {view.order!r} is neither CHW nor HWC"
        if math.prod(view.shape) != math.prod(op.shape):
            yield f"view {view.tensor}: shape {view.shape} does not hold {op.shape}"


def _field_problems(graph: Graph, op: Op) -> Iterator[str]:
    """What fields may not hold, numbers before constants."""
    specs = specs_of(type(op))
    for name, spec in specs.items():
        yield from spec.problems(op, name, getattr(op, name))
    for name, spec in specs.items():
        constant = getattr(op, name)
        if isinstance(spec, Constant) and constant is not None:
            yield from spec.array_problems(op, constant, graph.constants[constant])


def _port_problems(graph: Graph) -> Iterator[str]:
    for kind, ports in (("input", graph.inputs), ("output", graph.outputs)):
        names = [port.name for port in ports]
        if len(set(names)) != len(names):
            yield f"two {kind}s have the same name"
    fetched = [place[1:] for op in graph.of(HostCall) for _, place in op.fetches if place.startswith("$")]
    for port in graph.outputs:
        if fetched.count(port.name) != 1:
            yield f"output {port.name} is made {fetched.count(port.name)} times, not once"
    for name in fetched:
        if name not in {port.name for port in graph.outputs}:
            yield f"a host call makes ${name}, which is no output of the model"
