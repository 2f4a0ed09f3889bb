"""Checks of what passes decided: cuts cover the layer, cells fit the weights, pieces and tiles agree, rings exist."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from pimc.epitomes.checks import rounds_problems
from pimc.ir.graph import Graph
from pimc.ir.ops import CellPlan, Conv, Mapping, Op, Part, RoundPlan, Schedule
from pimc_isa.operands import Range

__all__ = ["decision_problems", "placement_problems"]


def decision_problems(graph: Graph, op: Op) -> Iterator[str]:
    """Yield what is wrong with the decisions an op carries; those not made yet are not looked at."""
    if isinstance(op, Conv) and op.rounds and op.epitome and op.index:
        yield from _rounds_problems(graph, op, op.rounds)
    if op.mapping and op.type is not None:
        yield from _mapping_problems(graph, op, op.mapping)
    if isinstance(op, Conv) and op.cells:
        yield from _cells_problems(graph, op, op.cells)
    if op.placement is not None and op.type is not None:
        yield from _parts_problems(op, op.placement)
    if op.schedule:
        yield from _schedule_problems(op, op.schedule)


def placement_problems(graph: Graph) -> Iterator[str]:
    """A tile has one place and a place one tile, over the whole graph; tile 0 is the host."""
    place: dict[int, tuple[int, int, int]] = {}
    tile: dict[tuple[int, int, int], int] = {}
    for op in graph.ops():
        for part in op.placement or ():
            if part.tile == 0:
                if not op.is_host:
                    yield f"%{op.name}: tile 0 is the host"
                continue
            where = (part.chip, part.x, part.y)
            if place.setdefault(part.tile, where) != where:
                yield f"%{op.name}: tile {part.tile} is at {place[part.tile]} and at {where}"
            elif tile.setdefault(where, part.tile) != part.tile:
                yield f"%{op.name}: tiles {tile[where]} and {part.tile} are both at {where}"


def stored_matrix(graph: Graph, op: Conv) -> tuple[int, int, int]:
    """Groups, rows and outputs of what crossbars hold: kernel positions times input channels, or an epitome."""
    if op.rounds is not None and op.epitome is not None:
        p, q = graph.constants[op.epitome].shape
        return 1, p, q
    outputs, *rows = graph.constants[op.weights].shape
    return op.groups, math.prod(rows), outputs // op.groups


def _covers(name: str, ranges: Sequence[Range], total: int) -> Iterator[str]:
    """Ranges are not empty, follow one another, and run from 0 to ``total``."""
    ends = [0, *(stop for _, stop in ranges)]
    starts = [*(start for start, _ in ranges), total]
    if ends != starts or any(start >= stop for start, stop in ranges):
        yield f"mapping: {name} {list(ranges)} do not cover 0..{total}"


def _mapping_problems(graph: Graph, op: Op, mapping: Mapping) -> Iterator[str]:
    yield from _covers("strips", mapping.strips, op.shape[1])
    yield from _covers("parts", mapping.parts, op.shape[2])
    if not isinstance(op, Conv):
        return
    yield from _covers("chain", mapping.chain, stored_matrix(graph, op)[1])
    if op.rounds is not None and (len(mapping.parts) > 1 or len(mapping.chain) not in op.rounds.chains):
        yield f"mapping: rounds go with one part, and a chain of {', '.join(map(str, op.rounds.chains))} links"
    if mapping.copies < 1 or mapping.arrays < 1:
        yield f"mapping: {mapping.copies} copies on {mapping.arrays} arrays"


def _rounds_problems(graph: Graph, op: Conv, plan: RoundPlan) -> Iterator[str]:
    assert op.index is not None
    tables = plan.tables(graph.constants)
    if plan.count < 1 or tables.count != plan.count or not plan.chains or min(plan.chains) < 1:
        yield f"rounds: {plan.count} rounds in chains of {plan.chains} links; the tables have {tables.count} rounds"
    found = rounds_problems(tables, graph.constants[op.index], stored_matrix(graph, op)[1:], op.groups)
    yield from (f"rounds: {problem}" for problem in found)


def _cells_problems(graph: Graph, op: Conv, cells: CellPlan) -> Iterator[str]:
    groups, rows, n = stored_matrix(graph, op)
    blocks = -(-rows // cells.block_rows) if cells.block_rows > 0 else 0
    if not blocks or not cells.slices or any(width < 1 for width in cells.slices):
        yield f"cells: slices {cells.slices} in blocks of {cells.block_rows} rows cannot be"
        return
    wanted = {
        cells.codes: (groups, rows, n),
        cells.polarity: (groups, blocks, n),
        cells.centre: (groups, blocks, n),
    }
    for name, shape in wanted.items():
        if graph.constants[name].shape != shape:
            yield f"cells: @{name} has shape {graph.constants[name].shape}, not {shape}"
    if not np.issubdtype(graph.constants[cells.codes].dtype, np.integer):
        yield f"cells: @{cells.codes} is {graph.constants[cells.codes].dtype}, not an integer type"
    if op.mapping and any(start % cells.block_rows for start, _ in op.mapping.chain):
        yield f"cells: chain {list(op.mapping.chain)} does not start at blocks of {cells.block_rows} rows"


def _parts_problems(op: Op, parts: tuple[Part, ...]) -> Iterator[str]:
    if op.is_host:
        return
    if isinstance(op, Conv) and op.mapping:
        # every piece of the cut, once, each on a tile of its own
        wanted = sorted(itertools.product(op.mapping.strips, op.mapping.parts, op.mapping.chain))
        if sorted((p.cols, p.chans, p.rows_k) for p in parts) != wanted:
            yield "placement: its parts are not the pieces of its mapping"
        if len({p.tile for p in parts}) != len(parts):
            yield "placement: two pieces of one layer on one tile"
        return
    _, width, channels = op.shape
    area = sum((p.cols[1] - p.cols[0]) * (p.chans[1] - p.chans[0]) for p in parts)
    inside = all(0 <= p.cols[0] < p.cols[1] <= width and 0 <= p.chans[0] < p.chans[1] <= channels for p in parts)
    apart = not any(_overlap(a, b) for a, b in itertools.combinations(parts, 2))
    if not (inside and apart and area == width * channels):
        yield f"placement: its parts do not cover {width} columns x {channels} channels once each"


def _overlap(a: Part, b: Part) -> bool:
    def meet(p: Range, q: Range) -> bool:
        return p[0] < q[1] and q[0] < p[1]

    return meet(a.cols, b.cols) and meet(a.chans, b.chans)


def _schedule_problems(op: Op, schedule: Schedule) -> Iterator[str]:
    if len(schedule.slots) != len(op.inputs) or len(schedule.depth) != len(op.inputs):
        yield f"schedule: {len(schedule.slots)} rings and {len(schedule.depth)} depths for {len(op.inputs)} inputs"
    if any(n < 1 for n in (*schedule.slots, *schedule.depth, schedule.out_slots)):
        yield f"schedule: a ring or channel without room in {schedule}"
