"""Dot products whose column sums stray by the products in them: ``E * sqrt(N+ + N-)`` (RAELLA, section 7.2).

Every sum that is sampled has a draw of its own: of each row block, input slice and weight slice, and a conversion that
a flag asks for reads its column once more. W+ minus W- is one sum where it is sampled as one; read as sides, or written
to a buffer cell each, W+ and W- are two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pimc_isa.crossbar.exactness import flags_of
from pimc_isa.crossbar.inputs import driven
from pimc_isa.engines.dots.analog import AnalogLayer, converted
from pimc_isa.engines.kernels.convert import converter
from pimc_isa.engines.kernels.strays import Strays, count_codes, noisy_sums
from pimc_isa.engines.noise import COLUMN
from pimc_isa.flow.forms import Block

__all__ = ["ColumnLayer"]

Array = np.ndarray
#: Sums of products below this are exact in float32.
_EXACT = 1 << 24
_Flagged = list[tuple[int, list[int], Array]]


class ColumnLayer(AnalogLayer):
    """One part of a layer, whose column sums are noisy and whose cells and circuits are ideal."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.whole = False
        self._matrices: dict[tuple[int, int], Array] = {}
        blocks = [each for block in self.form.blocks for each in (block, *block.refinement)]
        self._keys: dict[tuple[int, ...], int] = {}
        self._inputs_kept = 1 if all(map(_alone, blocks)) else len(self.form.input_slices)
        self.held = 12 + self._inputs_kept * len(self.weights.slices) * (2 if self.weights.bipolar else 1)

    def _pairs(self, x: Array, g: int, number: int, rows: slice, which: Array) -> Array:
        """Codes (or values) of one row block, every sum that is sampled with its noise."""
        read = self._at_work(x, g, number, rows, which)
        total = np.zeros(which.shape, np.int64)
        flagged = self._first(read, total)
        finer = [(b, s, f) for n, s, f in flagged if f.any() for b in self.form.blocks[n].refinement]
        for block, sides, flags in sorted(finer, key=lambda each: each[0].pairs):
            self._count(block, read, sides, total, only=flags)
        return total.astype(np.int32)

    def _flags(self, x: Array, g: int, number: int, rows: slice, which: Array) -> Iterator[tuple[int, Array]]:
        """Where the guarded blocks of one row block gave an end code, with their numbers."""
        read = self._at_work(x, g, number, rows, which)
        yield from ((n, flags) for n, _, flags in self._first(read, np.zeros(which.shape, np.int64)))

    def _first(self, read: _Read, total: Array) -> _Flagged:
        """Count what the blocks give at first; where which guarded one was flagged."""
        found: _Flagged = []
        for n, block in sorted(enumerate(self.form.blocks), key=lambda each: each[1].pairs):
            for sides in [[s] for s in read.sides] if self.form.sides else [read.sides]:
                flags = np.zeros(total.shape, np.bool_) if block.refinement else None
                self._count(block, read, sides, total, flags=flags)
                found += [] if flags is None else [(n, sides, flags)]
        return found

    def _count(
        self,
        block: Block,
        read: _Read,
        sides: list[int],
        total: Array,
        only: Array | None = None,
        flags: Array | None = None,
    ) -> None:
        """Add what a block gives: ``only`` where it is flagged, or without the end codes that go into ``flags``."""
        c, (i, j) = block.conversion, block.pairs[0]
        sign = self.form.sign(i) * (-1 if self.form.sides and sides[0] else 1)
        weight = (sign * (read.signs[j] if len(block.pairs) == 1 else np.ones_like(read.signs[j]))) << block.shift
        if _alone(block) and c is not None:
            strays = self._strays(read, i, j, sides[0], only is not None)
            weight = weight * (1 if c.ranged else c.step)
            count_codes(read.sums(i, j, sides), strays, converter(c, self.scale), weight, total, only, flags)
            return
        value = self._noisy_value(block, read, sides, only is not None)
        ends = flags_of(block, value)
        if flags is not None and ends is not None:
            flags[...] = ends
            only = ~ends
        total += np.where(True if only is None else only, value * weight, 0)

    def _noisy_value(self, block: Block, read: _Read, sides: list[int], again: bool) -> Array:
        """What the conversion of several sums, or of buffered ones, gives."""
        held = np.zeros(read.which.shape)
        for (i, j), exponent in zip(block.pairs, block.exponents, strict=True):
            sign = read.signs[j] if len(block.pairs) > 1 else 1
            for together in [[s] for s in sides] if block.cell is not None else [sides]:
                strays = self._strays(read, i, j, together[0], again)
                p = converted(noisy_sums(*read.sums(i, j, together), strays), block.cell, 0.0)
                held += sign * (-p if together[0] and not self.form.sides else p) * 2**exponent
        return np.asarray(np.rint(converted(held, block.conversion, self.scale)).astype(np.int64))

    def _strays(self, read: _Read, i: int, j: int, side: int, again: bool) -> Strays:
        """How one sum strays; ``again``: as it is read once more, where a flag asks for it."""
        assert self.model.column is not None
        use = (read.number, i, j, side, int(again))
        if (key := self._keys.get((*use, *self._stream))) is None:
            key = self._keys[*use, *self._stream] = self._key(*use, use=COLUMN)
        return Strays(self.model.column, key, read.which)

    def _at_work(self, x: Array, g: int, number: int, rows: slice, which: Array) -> _Read:
        if (g, number) not in self._matrices:
            self._matrices[g, number] = self._matrix(g, rows)
        polarity = self.cells.polarity[g, number].astype(np.int64)
        signs = [1 - 2 * (polarity >> j & 1) for j in range(len(self.weights.slices))]
        return _Read(number, which, signs, driven(x, self.form), self._matrices[g, number], self._inputs_kept)

    def _matrix(self, g: int, rows: slice) -> Array:
        """Cells [rows, sides, slices, n] of one row block, in the narrowest type that holds their sums exactly."""
        planes = np.stack(self._planes(g, rows))
        top = max((1 << (hi - lo)) - 1 for lo, hi in self.form.input_slices)
        exact = planes.sum(axis=2).max(initial=0) * top < _EXACT
        return np.ascontiguousarray(planes.transpose(2, 0, 1, 3), np.float32 if exact else np.float64)


class _Read:
    """One row block at work: its ``number``, the numbers of its results, signs by weight slice, sums of products.

    ``slices``: what each input slice puts on the word lines. Sums of the latest ``kept`` input slices stay.
    """

    def __init__(
        self, number: int, which: Array, signs: list[Array], slices: list[Array], cells: Array, kept: int
    ) -> None:
        self.number, self.which, self.signs = number, which, signs
        self._slices, self._cells, self._kept = slices, cells, kept
        self._made: dict[int, Array] = {}

    @property
    def sides(self) -> list[int]:
        """W+ and W-, or the only one."""
        return list(range(self._cells.shape[1]))

    def sums(self, i: int, j: int, sides: list[int]) -> tuple[Array, Array | None]:
        """Products of input slice i and weight slice j, added, [m, n]: of the first side and of the second, if any."""
        if i not in self._made:
            if len(self._made) == self._kept:
                self._made.clear()
            made = self._slices[i].astype(self._cells.dtype) @ self._cells.reshape(len(self._cells), -1)
            self._made[i] = made.reshape(len(made), *self._cells.shape[1:])
        first, *others = (self._made[i][:, side, j] for side in sides)
        return first, (others[0] if others else None)


def _alone(block: Block) -> bool:
    """Whether its conversion sees one sum as it was sampled."""
    return len(block.pairs) == 1 and block.cell is None and block.conversion is not None
