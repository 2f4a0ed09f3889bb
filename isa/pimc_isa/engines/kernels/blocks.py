"""Blocks of several pairs by counting bits: each column sum through its buffer cell, sums of cells through converters.

The form of analog buffers (CASCADE's anti-diagonals). Bits are packed and counted as in ``popcount``; what a block has
gathered stays in the first-level cache until its conversion.
"""

from __future__ import annotations

import numpy as np

from pimc_isa.crossbar.cells import Cells, row_blocks
from pimc_isa.engines.kernels.popcount import INPUT_BITS, WORD, cell_planes, input_words, unit_conversions
from pimc_isa.flow.forms import Conversion, NormalForm, Takes
from pimc_isa.jit import numba_or_none
from pimc_isa.operands import Weights

__all__ = ["BlockProduct", "block_product"]

Array = np.ndarray
TAKES = Takes.of("step", "cell", "unit_conversions")
WIDE = Conversion(-(1 << 30), 1 << 30)


class BlockProduct:
    """A layer's part. ``taps`` packed vectors of ``depth`` bits make up one window."""

    def __init__(self, cells: Cells, weights: Weights, form: NormalForm, taps: int, depth: int) -> None:
        from pimc_isa.engines.kernels.popcount_loops import block_kernel

        self._outputs = cells.codes.shape[2]
        self._grid, self._blocks = _tables(form)
        self._units = unit_conversions(form)
        widths = [hi - lo for lo, hi in form.input_slices]
        rounds = any(b.cell is not None and b.cell.step > 1 for b in form.blocks)
        rounds |= any(b.conversion is not None and b.conversion.step > 1 for b in form.blocks)
        self._parts = []
        for number, rows in row_blocks(cells.codes.shape[1], weights.block_rows):
            planes, _ = cell_planes(cells.codes[0, rows], weights)
            words, sides = planes.shape[1], 2 if weights.bipolar else 1
            kernel = block_kernel(len(widths), max(widths), planes.shape[2] // sides, sides, words, rounds)
            where = input_words(form, rows.start, words, depth, taps)
            signs = 1 - 2 * (cells.polarity[0, number].astype(np.int32)[None] >> np.arange(len(planes))[:, None] & 1)
            self._parts.append(
                (kernel, planes, where, signs.astype(np.int32), cells.centre[0, number].astype(np.int32))
            )

    def __call__(self, packed: Array) -> Array:
        """i32 sums [m, n] of packed windows u8 [m, taps * depth] (for each tap its 8 planes)."""
        words = packed.view(np.uint32)
        sums = np.zeros((len(packed), self._outputs), np.int32)
        for kernel, planes, where, signs, centre in self._parts:
            kernel(words, planes, where, self._grid, self._blocks, signs, *self._units, centre, sums)
        return sums


def block_product(cells: Cells, weights: Weights, form: NormalForm, taps: int, depth: int) -> BlockProduct | None:
    """The product, or None where the form, the block size or missing numba rule it out."""
    small = all(hi <= INPUT_BITS for _, hi in form.input_slices) and len(cells.codes) == 1
    if numba_or_none() is None or not TAKES(form) or not small or weights.block_rows % WORD or depth % WORD:
        return None
    return BlockProduct(cells, weights, form, taps, depth)


def _tables(form: NormalForm) -> tuple[Array, Array]:
    """For every pair [weight slices, input slices, 6]: block, exponent, whether its sign comes first, its cell.

    For every block [blocks, 5]: lowest and highest value, step, shift, and the weight slice whose sign comes last (-1).
    """
    grid = np.zeros((len(form.weight_shifts), len(form.input_slices), 6), np.int32)
    blocks = np.zeros((len(form.blocks), 5), np.int32)
    for number, b in enumerate(form.blocks):
        single, cell, c = len(b.pairs) == 1, b.cell or WIDE, b.conversion or WIDE
        blocks[number] = c.lo, c.hi, c.step, b.shift, b.pairs[0][1] if single else -1
        for (i, j), exponent in zip(b.pairs, b.exponents, strict=True):
            grid[j, i] = number, exponent, not single, cell.lo, cell.hi, cell.step
    return grid, blocks
