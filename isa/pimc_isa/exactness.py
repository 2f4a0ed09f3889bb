"""What conversions do to dot products: the proof that they do nothing, and the slow reference for when they do.

A conversion that can neither round nor clip returns the exact sum, and then a flow computes the integer dot product.
Whether that holds follows from the cells alone: the largest sum of a column is the sum of its cells times the largest
input slice. The proof reads the cells that are there; it does not trust whoever made them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc_isa.encode import Cells, column_sums, row_blocks, slice_shifts
from pimc_isa.errors import ProgramError
from pimc_isa.flow import Block, Conversion, NormalForm
from pimc_isa.operands import Weights

__all__ = ["Proof", "conversions_exact", "sliced_dot"]

Array = np.ndarray


@dataclass(frozen=True)
class Proof:
    """Which conversions are proved exact.

    ``exact`` [groups, blocks, n]: all conversions of that output and row block (and of the row block's sum of inputs)
    are. ``proved`` and ``total`` count conversions per position.
    """

    exact: Array
    proved: int
    total: int

    @property
    def holds(self) -> bool:
        """Nothing can round or clip: the flow computes integer dot products."""
        return self.proved == self.total


def conversions_exact(cells: Cells, weights: Weights, form: NormalForm) -> Proof:
    """Prove for every column whether its conversions are exact for all inputs; ``cells`` may be part of ``weights``."""
    positive, negative = column_sums(cells.codes, weights)
    exact = np.ones(cells.centre.shape, np.bool_)
    proved = 0
    for block in form.blocks:
        low, high = _range(block, form, cells, positive, negative)
        fits = _fits(block.conversion, low, high)
        proved += int(np.count_nonzero(fits))
        exact = exact & fits
    units, unit_count = _units_exact(cells.codes.shape[1], weights.block_rows, form)
    exact = exact & units.all(axis=1).reshape(1, -1, 1)
    groups = cells.codes.shape[0]
    return Proof(
        exact, proved + groups * int(np.count_nonzero(units)), exact.size * len(form.blocks) + groups * unit_count
    )


def _units_exact(k: int, block_rows: int, form: NormalForm) -> tuple[Array, int]:
    """[blocks, unit conversions]: is the sum of one input slice over the rows of a block converted exactly?"""
    rows = np.array([r.stop - r.start for _, r in row_blocks(k, block_rows)])
    fits = [_fits(c, 0 * rows, rows * _top(form, i)) for i, c in enumerate(form.unit_conversions)]
    table = np.array(fits, np.bool_).reshape(len(fits), len(rows)).T
    return table, table.size


def _top(form: NormalForm, i: int) -> int:
    lo, hi = form.input_slices[i]
    return (1 << (hi - lo)) - 1


def _fits(conversion: Conversion | None, low: Array, high: Array) -> Array:
    if conversion is None:
        return np.ones(high.shape, np.bool_)
    if conversion.step != 1:
        return np.zeros(high.shape, np.bool_)
    return np.asarray((low >= conversion.lo) & (high <= conversion.hi))


def _range(block: Block, form: NormalForm, cells: Cells, positive: Array, negative: Array) -> tuple[Array, Array]:
    """Smallest and largest value that a block's sum can take, [groups, blocks, n]."""
    low, high = np.zeros(cells.centre.shape, np.int64), np.zeros(cells.centre.shape, np.int64)
    for (i, j), exponent in zip(block.pairs, block.exponents, strict=True):
        most = _top(form, i) << exponent
        up, down = most * positive[..., j].astype(np.int64), most * negative[..., j].astype(np.int64)
        if len(block.pairs) > 1:  # mixed with other columns before the conversion, so with its sign
            flipped = (cells.polarity >> j & 1).astype(np.bool_)
            up, down = np.where(flipped, down, up), np.where(flipped, up, down)
        high += up
        low -= down
    return low, high


def sliced_dot(x: Array, cells: Cells, weights: Weights, form: NormalForm) -> Array:
    """Dot products as the flow computes them, slice by slice with every conversion applied.

    ``x`` [positions, groups, k] unsigned integers; returns int64 [positions, groups, n]. The sign of a flipped column
    applies after its conversion where a block is one pair, before it where a block mixes several columns.
    """
    if cells.centre.any() and not form.unit_conversions:
        raise ProgramError(f"weights {weights.name} have a centre, but their flow sums no inputs")
    groups, k, n = cells.codes.shape
    y = np.zeros((x.shape[0], groups, n), np.int64)
    for number, rows in row_blocks(k, weights.block_rows):
        slices = [(x[:, :, rows].astype(np.int64) >> lo) & ((1 << (hi - lo)) - 1) for lo, hi in form.input_slices]
        fields = _fields(cells.codes[:, rows], weights)
        signs = [1 - 2 * (cells.polarity[:, number].astype(np.int64) >> j & 1) for j in range(len(fields))]
        for block in form.blocks:
            total = np.zeros_like(y)
            for (i, j), exponent in zip(block.pairs, block.exponents, strict=True):
                sums = _product(slices[i], fields[j]) << exponent
                total += sums if len(block.pairs) == 1 else signs[j] * sums
            value = _convert(total, block.conversion) << block.shift
            y += signs[block.pairs[0][1]] * value if len(block.pairs) == 1 else value
        for part, (lo, _), conversion in zip(slices, form.input_slices, form.unit_conversions, strict=False):
            y += cells.centre[:, number] * (_convert(part.sum(axis=2), conversion) << lo)[:, :, None]
    return y


def _fields(codes: Array, weights: Weights) -> list[Array]:
    """Signed cell values of every slice, each [groups, rows, n]."""
    magnitude, sign = np.abs(codes.astype(np.int64)), np.sign(codes.astype(np.int64))
    shifts = slice_shifts(weights.slices)
    return [
        (magnitude >> shift & ((1 << width) - 1)) * sign for shift, width in zip(shifts, weights.slices, strict=True)
    ]


def _product(x: Array, cells: Array) -> Array:
    """Column sums [positions, groups, n]; float64 holds them exactly and its matrix product is far faster."""
    sums: Array = np.matmul(x.transpose(1, 0, 2).astype(np.float64), cells.astype(np.float64))
    return np.asarray(sums.transpose(1, 0, 2), np.int64)


def _convert(value: Array, conversion: Conversion | None) -> Array:
    """Round to the nearest multiple of the step (halves up), then clip."""
    if conversion is None:
        return value
    step = conversion.step
    rounded: Array = (value + step // 2) // step * step
    clipped: Array = np.clip(rounded, conversion.lo, conversion.hi)
    return clipped
