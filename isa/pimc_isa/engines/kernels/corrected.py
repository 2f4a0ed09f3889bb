"""Buffered sums as one exact product and what is not exact in it.

Where all blocks but one convert what they see exactly, a row block's dot product D is the sum of that block's L and of
the others' H. H has few pairs, whose bits are counted; then L = D - H, and the result is C(L) + H. A buffer cell can
only overflow where both its column and the input bit have many ones: these pairs alone are counted as well.
"""

from __future__ import annotations

import numpy as np

from pimc_isa.crossbar.cells import Cells, column_sums, decode, row_blocks
from pimc_isa.engines.kernels.columns import LANES, columns_of
from pimc_isa.engines.kernels.gemm import block_products
from pimc_isa.engines.kernels.popcount import fits, input_words, pack, unit_table, widened
from pimc_isa.flow.forms import Block, Conversion, NormalForm, Takes
from pimc_isa.operands import Weights

__all__ = ["CorrectedProduct", "corrected_product"]

Array = np.ndarray
TAKES = Takes.of("step", "cell", "unit_conversions")
_WIDE = Conversion(-(1 << 30), 1 << 30)


class CorrectedProduct:
    """A layer's part of one convolution group. ``low``: the block that may lose something, or None."""

    def __init__(self, cells: Cells, weights: Weights, form: NormalForm, low: Block | None) -> None:
        k, self._outputs = cells.codes.shape[1:]
        c = self._columns = columns_of(cells, weights, apart=False)
        self._height, self._rows = weights.block_rows, [rows for _, rows in row_blocks(k, weights.block_rows)]
        w = np.zeros((k, c.outputs), np.int32)
        w[:, : self._outputs] = decode(cells, weights)[0]
        self._product = block_products(w, self._rows)
        self._pairs, self._most, self._low = _tables(form, low, weights)
        sums = column_sums(cells.codes, weights)[0][0]
        over = np.zeros((len(sums), c.outputs), np.int64)
        over[:, : self._outputs] = ((sums > self._most[1]) << np.arange(sums.shape[2])).sum(axis=2)
        self._full = np.bitwise_or.reduce(over.reshape(len(sums), -1, LANES), axis=2)
        self._top = (1 << max(weights.slices)) - 1
        self._units = unit_table(form)

    def __call__(self, a: Array) -> Array:
        """i32 [m, n] of window vectors u8 [m, k]."""
        from pimc_isa.engines.kernels.popcount_loops import corrected_kernel

        wide = widened(a, self._height)
        words, where = pack(wide).view(np.uint32), input_words(wide.shape[1], 1)
        c, sums = self._columns, np.zeros((len(a), self._columns.outputs), np.int32)
        for r, products in enumerate(self._product(a)):
            first, last = c.spans[r]
            corrected_kernel(int(last - first))(
                words, where, c.cells, c.jobs, first, r, c.mask, self._pairs, self._most, self._low, self._full[r],
                self._top, *self._units, c.centre, products, sums,
            )  # fmt: skip
        return np.ascontiguousarray(sums[:, : self._outputs])


def corrected_product(cells: Cells, weights: Weights, form: NormalForm) -> CorrectedProduct | None:
    """The product, or None where the form, its cells or missing numba rule it out, or counting all is as fast."""
    bits = all(hi - lo == 1 for lo, hi in form.input_slices)
    if not fits(cells, weights, form, TAKES) or len(cells.codes) != 1 or weights.bipolar or not bits:
        return None
    if any(b.cell is not None and (b.cell.step != 1 or b.cell.lo > 0) for b in form.blocks):
        return None
    lossy = [b for b in form.blocks if not _exact(b, weights)]
    apart = sum(len(b.pairs) for b in form.blocks if b not in lossy)
    every = len(form.input_slices) * len(form.weight_shifts)
    if len(lossy) > 1 or (lossy and (len(lossy[0].pairs) == 1 or 2 * apart > every)):
        return None
    return CorrectedProduct(cells, weights, form, lossy[0] if lossy else None)


def _most(block: Block, j: int, weights: Weights) -> int:
    """The most that a column sum counts in a block."""
    top = weights.block_rows * ((1 << weights.slices[j]) - 1)
    return top if block.cell is None else min(top, block.cell.hi)


def _exact(block: Block, weights: Weights) -> bool:
    """Whether a block neither rounds nor clips what its cells hold."""
    c = block.conversion or _WIDE
    each = zip(block.pairs, block.exponents, strict=True)
    most = sum(_most(block, j, weights) << exponent for (_, j), exponent in each)
    return c.step == 1 and most <= c.hi and (-most if len(block.pairs) > 1 else 0) >= c.lo


def _tables(form: NormalForm, low: Block | None, weights: Weights) -> tuple[Array, Array, Array]:
    """``pairs``, ``most`` and ``low`` as the kernel has them."""
    rows = []
    for block in form.blocks:
        apart = low is not None and block is not low
        for (i, j), exponent in zip(block.pairs, block.exponents, strict=True):
            up = exponent if block is low else exponent + block.shift
            rows.append((form.input_slices[i][0], j, up, _most(block, j, weights), int(apart)))
    rows.sort(key=lambda row: -row[4])
    c = _WIDE if low is None else low.conversion or _WIDE
    limits = (c.lo, c.hi, c.step, 0 if low is None else low.shift)
    most = (sum(row[4] for row in rows), min(row[3] for row in rows))
    return np.array(rows, np.int64), np.array(most, np.int64), np.array(limits, np.int32)
