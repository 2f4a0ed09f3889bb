"""One round of a group as a layer of its own, which the kernels of layers without rounds compute.

Row blocks are crossbars that are read, one after the other, as often as outputs of one go to the same channel; outputs
are the channels that the round makes. Rows that are not driven see the zero point (0, where inputs are driven as they
are), and columns that are not read hold nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from pimc_isa.crossbar.cells import Cells, decode
from pimc_isa.crossbar.exactness import sliced_dot
from pimc_isa.crossbar.rounds import CrossbarRead, OneRound
from pimc_isa.engines.dots.counted import CountedProduct
from pimc_isa.engines.dots.summed import SummedProduct, converts_whole_sums
from pimc_isa.flow.forms import NormalForm
from pimc_isa.operands import Group, Weights

__all__ = ["RoundLayer", "dealt", "driven_alike"]

Array = np.ndarray


class RoundLayer:
    """Dot products of one round. ``cells`` are the group's, ``scale`` its full scale; ``fast``: with kernels."""

    def __init__(
        self,
        done: OneRound,
        held: tuple[Group, Weights, Cells],
        form: NormalForm,
        scale: float,
        fast: bool = True,
    ) -> None:
        group, self.weights, cells = held
        self.form, self.scale = form, scale
        reads = [part for read in driven_alike(done.reads) for part in _by_channel(read)]
        height, channels = self.weights.block_rows, len(done.channels)
        self.driven = np.full(len(reads) * height, -1)
        self.cells = _nothing(cells, len(reads), height, channels)
        for number, read in enumerate(reads):
            places = np.searchsorted(done.channels, read.channels)
            moved = replace(read, columns=read.columns - group.n[0], channels=places)
            self.driven[number * height + read.rows - read.block * height] = read.inputs
            _put(self.cells, number, moved, cells, (group.k[0], height))
        self._product = self._kernel() if fast else None

    def _kernel(self) -> SummedProduct | CountedProduct:
        depth = len(self.driven)
        if converts_whole_sums(self.cells, self.form):
            centre = self.cells.centre.astype(np.int32)
            return SummedProduct(self._w, depth, self.weights, self.form, self.scale, (), centre)
        return CountedProduct(self.cells, self.weights, self.form, self.scale, self._sliced)

    def _w(self) -> Array:
        return decode(self.cells, self.weights)

    def __call__(self, a: Array) -> Array:
        """i32 [m, channels] of window vectors u8 [m, inputs]."""
        x = dealt(a, self.driven, self.form.zero)
        return self._sliced(x[:, None]) if self._product is None else self._product.dense(x)

    def _sliced(self, a: Array) -> Array:
        """The slow reference, of [m, 1, rows]."""
        return sliced_dot(a, self.cells, self.weights, self.form, self.scale)[:, 0].astype(np.int32)


def _nothing(cells: Cells, blocks: int, height: int, channels: int) -> Cells:
    """Room for so many row blocks, with cells that hold 0."""
    codes = np.zeros((1, blocks * height, channels), cells.codes.dtype)
    return Cells(codes, *(np.zeros((1, blocks, channels), part.dtype) for part in (cells.polarity, cells.centre)))


def _put(to: Cells, number: int, read: CrossbarRead, cells: Cells, part: tuple[int, int]) -> None:
    """Copy what is read to row block ``number``; ``part``: the group's first row and the height of a block."""
    first, height = part
    rows = np.ix_((number - read.block) * height + read.rows, read.channels)
    to.codes[0][rows] = cells.codes[0][np.ix_(read.rows - first, read.columns)]
    for end, held in ((to.polarity, cells.polarity), (to.centre, cells.centre)):
        end[0, number, read.channels] = held[0, read.block - first // height, read.columns]


def driven_alike(reads: Iterable[CrossbarRead]) -> list[CrossbarRead]:
    """Crossbars of one row block on whose word lines the same inputs are, put together."""
    found: dict[tuple[int, bytes, bytes], CrossbarRead] = {}
    for read in reads:
        key = read.block, read.rows.tobytes(), read.inputs.tobytes()
        if key in found:
            columns, channels = (np.concatenate(both) for both in zip(_goes(found[key]), _goes(read), strict=True))
            read = replace(read, columns=columns, channels=channels)
        found[key] = read
    return list(found.values())


def _goes(read: CrossbarRead) -> tuple[Array, Array]:
    return read.columns, read.channels


def _by_channel(read: CrossbarRead) -> list[CrossbarRead]:
    """The read in parts in which no two columns go to one channel."""
    found, left = [], np.arange(len(read.columns))
    while len(left):
        first = np.unique(read.channels[left], return_index=True)[1]
        found.append(replace(read, columns=read.columns[left[first]], channels=read.channels[left[first]]))
        left = np.delete(left, first)
    return found


def dealt(a: Array, driven: Array, zero: int = 0) -> Array:
    """Inputs [m, rows] for window vectors [m, inputs]: element ``driven`` of each row, ``zero`` where that is -1."""
    x = np.ascontiguousarray(a[:, np.maximum(driven, 0)])
    x[:, driven < 0] = zero
    return x
