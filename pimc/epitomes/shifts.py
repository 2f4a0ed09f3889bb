"""Blocks of cells whose scales differ by powers of two: the codes of a block are multiples of 2**k.

Source: EPIM gives every physical crossbar a scale of its own (recalled; notes, section 3), which takes a multiplier
where row blocks are added; powers of two take a shift. Then ``w = step * 2**k * code`` with codes of few bits, and the
whole number ``2**k * code`` is an int8 weight as long as it is small enough: weights of b bits leave 8 - b bits for k,
weights of 8 bits none. Networks are verified with these int8 weights. A chip needs the cells of 8 bits for them, unless
it shifts the sums of crossbars: ours do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.codes import MOST
from pimc.epitomes.steps import Cells, codes_of, steps_of

__all__ = ["Blocks", "places_of", "shifted"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Blocks:
    """Blocks of so many ``rows`` and ``columns`` of a stored matrix, as crossbars hold it."""

    rows: int
    columns: int

    def of(self, row: Array, column: Array) -> Array:
        """The number of the block, from 0 without gaps, of cells at these places."""
        across = int(column.max(initial=0)) // self.columns + 1
        numbers = row // self.rows * across + column // self.columns
        return np.unique(numbers, return_inverse=True)[1].reshape(row.shape)


def places_of(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Row and column of every weight [O, I, ...] that is a cell of its own: kernel positions, then channels, down."""
    rows = np.arange(int(np.prod(shape[1:]))).reshape(*shape[2:], shape[1])
    row = np.broadcast_to(np.moveaxis(rows, -1, 0), shape)
    column = np.broadcast_to(np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1)), shape)
    return row.reshape(-1), column.reshape(-1)


def shifted(cells: Cells, block_of: Array, bits: int, fit: str) -> tuple[Array, Array]:
    """Whole numbers [n], each 2**k of its block times a code of ``bits`` bits, and steps [sets] for them.

    ``block_of`` [n]. The squared error of what the cells stand for is never above that without shifts, and where there
    are no bits for them it is the same.
    """
    usual = steps_of(cells, bits, fit)
    tried = [_with_finest(cells, block_of, bits, usual / 2**finer) for finer in range(MOST - bits + 1)]
    best = min(range(len(tried)), key=lambda n: tried[n][1])
    shifts, _ = tried[best]
    steps = usual / 2**best
    return _numbers(cells, steps, shifts[block_of], bits), steps


def _with_finest(cells: Cells, block_of: Array, bits: int, steps: Array) -> tuple[Array, float]:
    """The shift of each block that makes its error least, and the error of all."""
    blocks = int(block_of.max(initial=0)) + 1
    along = steps[cells.set_of]
    errors = np.empty((MOST - bits + 1, blocks))
    for shift in range(len(errors)):
        real = _numbers(cells, steps, np.full(len(cells.values), shift), bits) * along
        errors[shift] = np.bincount(block_of, cells.counts * np.square(cells.values - real), blocks)
    return errors.argmin(axis=0), float(errors.min(axis=0).sum())


def _numbers(cells: Cells, steps: Array, shifts: Array, bits: int) -> Array:
    wide = 2.0**shifts
    return codes_of(cells.values, steps[cells.set_of] * wide, bits) * wide
