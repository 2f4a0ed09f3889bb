"""Counting what data decide of actions: one look at the window vectors of a dot product, shared out to its steps."""

from __future__ import annotations

from functools import partial

import numpy as np

from pimc_isa.crossbar.footprint import group_measures
from pimc_isa.engines.dots.counting import Observed, Part, observe
from pimc_isa.engines.dots.layer import Layer
from pimc_isa.engines.kernels.windows import WindowGeometry
from pimc_isa.engines.values.operations import DotMember, DotOp, Region
from pimc_isa.engines.values.plan import Frame, ValuePlanner, geometry
from pimc_isa.engines.values.sums import BLOCK_BYTES, numbers_of
from pimc_isa.engines.values.trace import StepId
from pimc_isa.flow.use import Tally

__all__ = ["add_tally", "emit_counting"]

Array = np.ndarray
_EACH = 64  # bytes that an output of a position takes while it is looked at


def add_tally(tallies: dict[StepId, Tally], step: StepId, tally: Tally) -> None:
    """Add what was seen of a step."""
    tallies[step] = tallies[step] + tally if step in tallies else tally


def emit_counting(p: ValuePlanner, op: DotOp) -> None:
    """Append a call that counts, where the actions of the operation's steps depend on data."""
    measures = group_measures(p.program, op.part)
    if not measures:
        return
    region, layer = p.values[op.out].region, p.layer(op.part)
    source = p.window_source(op.x, op.size, op.chans)
    g = geometry(source, op.window, region, op.chans)
    each = region.shape[1] * (g.depth + _EACH * layer.outputs)
    block = max(1, BLOCK_BYTES // each)

    def call(frame: Frame) -> None:
        if not frame.counts:
            return
        x, found = frame.get(source.value), dict[StepId, Tally]()
        for first in range(0, frame.images * region.count, block):
            count = min(block, frame.images * region.count - first)
            seen = _observed(layer, x, g, (first, count), measures, partial(numbers_of, frame, region))
            for member in op.members:
                part = _part(member, op, (region, first, count), layer.weights.block_rows)
                add_tally(found, member.step, seen.tally(part, p.program, member.part))
        frame.tallies |= found

    p.emit(call, [], f"count {op.part.weights}")


def _observed(
    layer: Layer,
    x: Array,
    g: WindowGeometry,
    rows: tuple[int, int],
    measures: frozenset[str],
    numbers: partial[Array],
) -> Observed:
    """What there is to see in some output rows, of all images in turn."""
    scratch = np.empty(rows[1] * g.out[1] * g.depth, np.uint8)
    vectors = layer.vectors(x, g, *rows, scratch)
    return observe(layer, vectors.reshape(len(vectors), layer.groups, -1), measures, partial(numbers, *rows))


def _part(member: DotMember, op: DotOp, where: tuple[Region, int, int], height: int) -> Part:
    """A step's part of what is seen in ``where``: a region, and some of its rows, of all images in turn."""
    region, first, count = where
    row = region.first + region.step * (np.arange(first, first + count) % region.count)
    col = np.arange(*region.cols)
    inside = np.isin(row, member.rows)[:, None] & ((col >= member.cols[0]) & (col < member.cols[1]))[None]
    own, whole = member.part, op.part
    blocks = slice((own.k[0] - whole.k[0]) // height, -(-(own.k[1] - whole.k[0]) // height))
    groups = slice(own.groups[0] - whole.groups[0], own.groups[1] - whole.groups[0])
    outputs = slice(own.n[0] - whole.n[0], own.n[1] - whole.n[0])
    return Part(np.flatnonzero(inside), groups, blocks, outputs)
