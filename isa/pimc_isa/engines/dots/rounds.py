"""Dot products of groups that work on a position in several rounds.

Where conversions are proved exact, all rounds together are one integer product with the matrix that they put together.
Else every round is a layer of its own: each crossbar that it reads is a row block, each channel that it makes an
output, and the window's vector is dealt out to the rows that are driven; all others see 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc_isa.crossbar.cells import Cells, decode
from pimc_isa.crossbar.exactness import sliced_dot
from pimc_isa.crossbar.footprint import outputs_per_array
from pimc_isa.crossbar.rounds import CrossbarRead, OneRound, copied, rounds_of
from pimc_isa.engines.dots.analog import AnalogLayer
from pimc_isa.engines.dots.summed import SummedProduct, converts_whole_sums
from pimc_isa.engines.kernels.convert import scaled
from pimc_isa.engines.kernels.gemm import Product, product
from pimc_isa.flow.forms import NormalForm
from pimc_isa.operands import Group, Weights
from pimc_isa.program import Program

__all__ = ["RoundsProduct"]

Array = np.ndarray


class RoundsProduct:
    """The sums of a group with rounds; ``cells`` are those of its rows and columns, ``scale`` its full scale."""

    def __init__(
        self, program: Program, group: Group, cells: Cells, form: NormalForm, scale: float, whole: bool = True
    ) -> None:
        self.weights: Weights = program.weight[group.weights]
        self.group, self.cells, self.form, self.scale = group, cells, form, scale
        self.declared = program.schedule[group.rounds]
        across = outputs_per_array(self.weights.columns, program.machine.array)
        self.rounds = rounds_of(program, group, across)
        self.copies = copied(program, group)
        self._whole = whole
        self._kernel: Product | None = None
        self._layers: list[_RoundLayer] = []

    @property
    def outputs(self) -> int:
        """Channels of the result."""
        return self.declared.outputs[1] - self.declared.outputs[0]

    def exact(self, a: Array) -> Array:
        """i32 [m, outputs] of window vectors u8 [m, inputs], for conversions that lose nothing."""
        if self._kernel is None:
            self._kernel = product(self.matrix())
        return self._kernel(a)

    def matrix(self) -> Array:
        """The integer weights [inputs, outputs] that all rounds put together."""
        w = decode(self.cells, self.weights)[0]
        put = np.zeros((self.declared.inputs, self.outputs), np.int32)
        for read in (read for done in self.rounds for read in done.reads):
            places = np.ix_(read.inputs, read.channels - self.declared.outputs[0])
            np.add.at(put, places, w[np.ix_(read.rows - self.group.k[0], read.columns - self.group.n[0])])
        put[:, self.copies[0]] = put[:, self.copies[1]]
        return put

    def converted(self, a: Array) -> Array:
        """As ``exact``, round by round with every conversion."""
        if not self._layers:
            self._layers = [_RoundLayer(self, done, self._whole) for done in self.rounds]
        return self._collected([layer(a) for layer in self._layers])

    def sliced(self, a: Array) -> Array:
        """As ``converted``, slice by slice."""
        return self._collected([_RoundLayer(self, done, whole=False)(a) for done in self.rounds])

    def analog(self, a: Array, at: Array, hardware: AnalogLayer) -> Array:
        """As ``converted``, on hardware that is not ideal, at numbered positions (see ``noise``)."""
        return self._collected([self._noisy(a, at, hardware, n, done) for n, done in enumerate(self.rounds)])

    def _collected(self, results: list[Array]) -> Array:
        """What the rounds leave behind: every channel overwritten, added to, or copied."""
        total = np.zeros((len(results[0]), self.outputs), np.int32)
        for done, made in zip(self.rounds, results, strict=True):
            places = done.channels - self.declared.outputs[0]
            total[:, places] = np.where(done.added, total[:, places] + made, made)
        total[:, self.copies[0]] = total[:, self.copies[1]]
        return total

    def _noisy(self, a: Array, at: Array, hardware: AnalogLayer, number: int, done: OneRound) -> Array:
        """i32 [m, channels] of one round: crossbars whose word lines are driven alike are computed together."""
        codes, corrections = (np.zeros((len(a), len(done.channels)), np.int32) for _ in range(2))
        first = self.group.k[0] // self.weights.block_rows
        for driven, reads in self._driven_alike(done):
            parts = hardware.of_round(number).block_parts(_dealt(a, driven)[:, None], at)
            for read in reads:
                places, columns = np.searchsorted(done.channels, read.channels), read.columns - self.group.n[0]
                for total, part in zip((codes, corrections), parts[read.block - first], strict=True):
                    np.add.at(total.T, places, part.T[columns])
        return np.asarray(corrections + scaled(codes, hardware.step))

    def _driven_alike(self, done: OneRound) -> list[tuple[Array, list[CrossbarRead]]]:
        """The input on each of the group's rows (-1: none), and the crossbars for which that holds."""
        found: dict[bytes, tuple[Array, list[CrossbarRead]]] = {}
        for read in done.reads:
            driven = np.full(self.group.k[1] - self.group.k[0], -1)
            driven[read.rows - self.group.k[0]] = read.inputs
            found.setdefault(driven.tobytes(), (driven, []))[1].append(read)
        return list(found.values())


@dataclass(frozen=True, eq=False)
class _Slot:
    """A crossbar's columns of which no two go to one channel."""

    read: CrossbarRead
    chosen: Array


class _RoundLayer:
    """One round as a layer without rounds."""

    def __init__(self, of: RoundsProduct, done: OneRound, whole: bool) -> None:
        self._of, slots = of, [slot for read in done.reads for slot in _slots(read)]
        height, count = of.weights.block_rows, len(done.channels)
        self._driven = np.full(len(slots) * height, -1)
        codes = np.zeros((1, len(self._driven), count), of.cells.codes.dtype)
        ends = [np.zeros((1, len(slots), count), part.dtype) for part in (of.cells.polarity, of.cells.centre)]
        for number, slot in enumerate(slots):
            self._place(number, slot, np.searchsorted(done.channels, slot.read.channels[slot.chosen]), codes, ends)
        self._cells = Cells(codes, *ends)
        self._summed: SummedProduct | None = None
        if whole and converts_whole_sums(self._cells, of.form):
            centre = self._cells.centre.astype(np.int32)
            self._summed = SummedProduct(self._w, len(self._driven), of.weights, of.form, of.scale, (), centre)

    def _place(self, number: int, slot: _Slot, channels: Array, codes: Array, ends: list[Array]) -> None:
        """Put a crossbar's rows and columns where the layer has them."""
        of, read = self._of, slot.read
        height, (k, n) = of.weights.block_rows, (of.group.k[0], of.group.n[0])
        rows, columns = (number - read.block) * height + read.rows, read.columns[slot.chosen] - n
        self._driven[rows] = read.inputs
        codes[0][np.ix_(rows, channels)] = of.cells.codes[0][np.ix_(read.rows - k, columns)]
        for end, held in zip(ends, (of.cells.polarity, of.cells.centre), strict=True):
            end[0, number, channels] = held[0, read.block - k // height, columns]

    def _w(self) -> Array:
        return decode(self._cells, self._of.weights)

    def __call__(self, a: Array) -> Array:
        """i32 [m, channels] of window vectors."""
        x, of = _dealt(a, self._driven), self._of
        if self._summed is not None:
            return self._summed.dense(x)
        return sliced_dot(x[:, None], self._cells, of.weights, of.form, of.scale)[:, 0].astype(np.int32)


def _slots(read: CrossbarRead) -> list[_Slot]:
    """One slot, and further ones for columns that go to a channel that has one already."""
    found, left = [], np.arange(len(read.columns))
    while len(left):
        first = np.unique(read.channels[left], return_index=True)[1]
        found.append(_Slot(read, left[first]))
        left = np.delete(left, first)
    return found


def _dealt(a: Array, driven: Array) -> Array:
    """Inputs [m, rows] for window vectors [m, inputs]: element ``driven`` of each row, 0 where that is -1."""
    x = np.ascontiguousarray(a[:, np.maximum(driven, 0)])
    x[:, driven < 0] = 0
    return x
