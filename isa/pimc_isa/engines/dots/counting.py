"""What the data of dot products decide of their actions: set bits of inputs, end codes of guarded conversions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pimc_isa.crossbar.exactness import guarded_flags
from pimc_isa.crossbar.footprint import group_footprint
from pimc_isa.crossbar.levels import group_levels
from pimc_isa.engines.dots.layer import Layer
from pimc_isa.flow.use import FLAGS, LEVELS, ONES, Tally
from pimc_isa.operands import Group
from pimc_isa.program import Program

__all__ = ["INPUT_BITS", "Observed", "Part", "observe", "ones_of"]

Array = np.ndarray
INPUT_BITS = 8


@dataclass(frozen=True)
class Part:
    """Part of what was observed: positions, convolution groups, row blocks and outputs, counted from the first."""

    positions: Array | slice
    groups: slice
    blocks: slice
    outputs: slice


_ALL = Part(slice(None), slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Observed:
    """Of some positions: ``ones`` [positions, groups, row blocks, bits]; ``flags`` as `guarded_flags` has them.

    ``vectors`` u8 [positions, groups, k], where levels are asked for. None: not measured.
    """

    positions: int
    ones: Array | None
    flags: Array | None
    vectors: Array | None = None

    def tally(self, part: Part, program: Program, group: Group) -> Tally:
        """Of the part that a crossbar group computes."""
        count = len(np.arange(self.positions)[part.positions])
        lines: tuple[int, ...] = ()
        cells: tuple[int, ...] = ()
        levels: tuple[int, ...] = ()
        flags: tuple[int, ...] = ()
        if self.ones is not None:
            place = group_footprint(program, group)
            sums = self.ones[part.positions][:, part.groups, part.blocks].sum(axis=(0, 2), dtype=np.int64)
            lines = tuple(map(int, place.drives * sums.sum(axis=0)))
            cells = tuple(map(int, np.array(place.crossed) @ sums))
        if self.vectors is not None:
            levels = self._levels(self.vectors, part, program, group)
        if self.flags is not None:
            found = self.flags[:, part.blocks][:, :, part.positions][:, :, :, part.groups, part.outputs]
            flags = tuple(map(int, found.sum(axis=(1, 2, 3, 4), dtype=np.int64)))
        return Tally(count, lines, cells, levels, flags)

    def _levels(self, vectors: Array, part: Part, program: Program, group: Group) -> tuple[int, ...]:
        height = program.weight[group.weights].block_rows
        first = (part.blocks.start or 0) * height
        held = group_levels(program, group, group_footprint(program, group).unit_columns)
        driven = vectors[part.positions][:, part.groups, first : first + held.shape[1]]
        return tuple(int(((driven >> bit & 1).sum(axis=0, dtype=np.int64) * held).sum()) for bit in range(INPUT_BITS))

    def whole(self, program: Program, group: Group) -> Tally:
        """Of everything."""
        return self.tally(_ALL, program, group)


@dataclass(frozen=True)
class _InRounds(Observed):
    """Of a group that works in rounds: ``flags`` [blocks, positions], the others [positions, bits]."""

    lines: Array | None = None
    cells: Array | None = None
    levels: Array | None = None

    def tally(self, part: Part, program: Program, group: Group) -> Tally:
        """Of some positions; a group with rounds is computed as a whole."""
        count = len(np.arange(self.positions)[part.positions])
        parts = (self.lines, self.cells, self.levels, None if self.flags is None else self.flags.T)
        sums = (() if a is None else tuple(map(int, a[part.positions].sum(axis=0, dtype=np.int64))) for a in parts)
        return Tally(count, *sums)


def observe(layer: Layer, vectors: Array, measures: frozenset[str], at: Callable[[], Array]) -> Observed:
    """Look at window vectors u8 [positions, groups, k]; ``at`` gives the positions' numbers, which noise depends on."""
    if layer.rounds is not None:
        lines, cells = layer.rounds.bits(vectors[:, 0]) if ONES in measures else (None, None)
        levels = layer.rounds.levels(vectors[:, 0]) if LEVELS in measures else None
        flags = None if FLAGS not in measures else layer.rounds.flags(vectors[:, 0], at, layer.analog)
        return _InRounds(len(vectors), None, flags, None, lines, cells, levels)
    found: Array | None = None
    if FLAGS in measures:
        if layer.analog is not None:
            found = layer.analog.flags(vectors, at())
        else:
            found = guarded_flags(vectors, layer.cells, layer.weights, layer.form, layer.scale)
    ones = ones_of(vectors, layer.weights.block_rows) if ONES in measures else None
    return Observed(len(vectors), ones, found, vectors if LEVELS in measures else None)


def ones_of(vectors: Array, block_rows: int) -> Array:
    """int32 [positions, groups, row blocks, bits]: inputs [positions, groups, k] with each bit set."""
    edges = np.arange(0, vectors.shape[2], block_rows)
    bits = [np.add.reduceat(vectors >> bit & 1, edges, axis=2, dtype=np.int32) for bit in range(INPUT_BITS)]
    return np.stack(bits, axis=3)
