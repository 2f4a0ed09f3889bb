"""Blocks of several pairs by counting bits: each column sum through its buffer cell, sums of cells through converters.

The form of analog buffers (CASCADE's anti-diagonals). Bits are packed and counted as in ``popcount``; what a block has
gathered stays in the first-level cache until its conversion.
"""

from __future__ import annotations

import numpy as np

from pimc_isa.crossbar.cells import Cells
from pimc_isa.engines.kernels.columns import WORD, columns_of, words_of
from pimc_isa.engines.kernels.popcount import fits, input_words, unit_table
from pimc_isa.flow.forms import Conversion, NormalForm, Takes
from pimc_isa.operands import Weights

__all__ = ["BlockProduct", "block_product"]

Array = np.ndarray
TAKES = Takes.of("step", "cell", "unit_conversions")
WIDE = Conversion(-(1 << 30), 1 << 30)


class BlockProduct:
    """A layer's part. ``taps`` packed vectors of ``depth`` bits make up one window."""

    def __init__(self, cells: Cells, weights: Weights, form: NormalForm, taps: int, depth: int) -> None:
        c = self._columns = columns_of(cells, weights, apart=weights.bipolar)
        self._outputs = cells.codes.shape[2]
        where = input_words(depth, taps)
        self._arguments = where, c.cells, c.jobs, c.spans, c.mask, *_tables(form), *unit_table(form), c.centre

    def __call__(self, packed: Array) -> Array:
        """i32 sums [m, n] of packed windows u8 [m, taps * depth] (for each tap its 8 planes)."""
        from pimc_isa.engines.kernels.popcount_loops import block_kernel

        sums = np.zeros((len(packed), self._columns.outputs), np.int32)
        block_kernel()(packed.view(np.uint32), *self._arguments, sums)
        return np.ascontiguousarray(sums[:, : self._outputs])


def block_product(cells: Cells, weights: Weights, form: NormalForm, taps: int, depth: int) -> BlockProduct | None:
    """The product, or None where the form, the block size or missing numba rule it out."""
    whole = taps == 1 or not weights.block_rows % WORD
    words = words_of(cells.codes.shape[1], weights.block_rows)[-1, 1]
    if not fits(cells, weights, form, TAKES) or len(cells.codes) != 1 or depth % WORD or not whole:
        return None
    return BlockProduct(cells, weights, form, taps, depth) if words * WORD <= taps * depth else None


def _tables(form: NormalForm) -> tuple[Array, Array]:
    """For every pair [weight slices, input slices, 8] and for every block [blocks, 5].

    Of a pair: first bit, the bit behind the last; its cell's lowest and highest value and step; block, exponent, and
    whether its sign comes first. Of a block: lowest and highest value, step, shift, and the weight slice whose sign
    comes last (-1).
    """
    grid = np.zeros((len(form.weight_shifts), len(form.input_slices), 8), np.int32)
    grid[...] = (0, 1, 0, 0, 1, 0, 0, 0)
    blocks = np.zeros((len(form.blocks), 5), np.int32)
    for number, b in enumerate(form.blocks):
        single, cell, c = len(b.pairs) == 1, b.cell or WIDE, b.conversion or WIDE
        blocks[number] = c.lo, c.hi, c.step, b.shift, b.pairs[0][1] if single else -1
        for (i, j), exponent in zip(b.pairs, b.exponents, strict=True):
            grid[j, i] = *form.input_slices[i], cell.lo, cell.hi, cell.step, number, exponent, not single
    return grid, blocks
