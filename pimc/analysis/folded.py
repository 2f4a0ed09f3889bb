"""What converters see of a layer that works with an epitome: a sum for every round, row block and channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.rounds import Tables
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv

__all__ = ["FoldedLayer"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Read:
    """``inputs`` on some rows of one row block, what their cells hold f32 [inputs, channels], and where sums go.

    ``turns``: how many conversions of each channel come before this one.
    """

    inputs: Array
    cells: Floats
    channels: Array
    turns: Array


@dataclass(frozen=True, eq=False)
class FoldedLayer:
    """The reads of a position, with the epitome less its centres in the cells; ``depth`` input channels in a group."""

    reads: tuple[_Read, ...]
    outputs: int
    depth: int

    @classmethod
    def of(cls, graph: Graph, op: Conv, block_rows: int) -> FoldedLayer:
        """From the constants of an op that works in rounds, and of its cells if it has them."""
        assert op.rounds is not None
        tables, outputs = op.rounds.tables(graph.constants), op.shape[2]
        held = _held(graph, op, block_rows)
        depth = graph.constants[op.weights].shape[3]
        return cls(tuple(_reads(tables, held, block_rows)), outputs, depth)

    def sums(self, vectors: Array) -> Floats:
        """Exact partial sums f32 [windows, conversions, outputs] of ``vectors`` u8 [windows, groups, k].

        A channel that takes fewer conversions than others, or is a copy, has sums of 0.
        """
        x = self._flat(vectors)
        most = 1 + max(int(read.turns.max()) for read in self.reads)
        found = np.zeros((len(x), most, self.outputs), np.float32)
        for read in self.reads:
            found[:, read.turns, read.channels] = x[:, read.inputs] @ read.cells
        return found

    def largest_line(self, vectors: Array, input_slices: tuple[tuple[int, int], ...], slices: tuple[int, ...]) -> int:
        """The largest difference of a W+ and its W- bit line in one read, over these windows."""
        x = self._flat(vectors).astype(np.int64)
        largest = 0
        for lo, hi in input_slices:
            driven = ((x >> lo) & ((1 << hi - lo) - 1)).astype(np.float32)
            for s, width in enumerate(slices):
                part = _slice(sum(slices[:s]), width)
                sums = (driven[:, read.inputs] @ part(read.cells) for read in self.reads)
                largest = max(largest, *(int(np.abs(each).max()) for each in sums))
        return largest

    def _flat(self, vectors: Array) -> Floats:
        """Windows in the order of the whole vector: kernel position, channel of all groups."""
        m, groups, _ = vectors.shape
        taps = vectors.reshape(m, groups, -1, self.depth).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(taps, np.float32).reshape(m, -1)


def _held(graph: Graph, op: Conv, block_rows: int) -> Floats:
    """What the cells hold: the epitome less the centres of its columns, where W+ and W- are apart."""
    epitome: Floats = graph.constants[op.epitome or ""].astype(np.float32)
    if op.cells is None or not op.cells.bipolar:
        return epitome
    centre = graph.constants[op.cells.centre][0].astype(np.float32)
    return np.asarray(epitome - np.repeat(centre, block_rows, axis=0)[: len(epitome)])


def _reads(tables: Tables, held: Floats, block_rows: int) -> Iterator[_Read]:
    turns = np.zeros(len(tables.copies), np.int64)
    for _, patch in tables.placed():
        blocks = patch.rows // block_rows
        for block in np.unique(blocks):
            here = blocks == block
            cells = held[np.ix_(patch.rows[here], patch.columns)]
            yield _Read(patch.inputs[here], cells, patch.channels, turns[patch.channels].copy())
            turns[patch.channels] += 1


def _slice(shift: int, width: int) -> Callable[[Floats], Floats]:
    """What one slice of cells holds, W- as negative numbers."""

    def of(cells: Floats) -> Floats:
        field = np.abs(cells).astype(np.int64) >> shift & ((1 << width) - 1)
        return (field * np.sign(cells)).astype(np.float32)

    return of
