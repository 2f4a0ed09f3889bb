"""Dot products whose row blocks are summed in analog and converted once: integer products of row blocks, then codes.

This is the normal form with one block that holds every pair of input and weight slices: whatever happens on the way to
the converter, it sees the integer dot product of the row block.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pimc_isa.crossbar.cells import Cells, row_blocks
from pimc_isa.engines.kernels.convert import add_codes, converter, scaled
from pimc_isa.engines.kernels.gemm import Product, block_products, product
from pimc_isa.errors import ProgramError
from pimc_isa.flow.forms import NormalForm
from pimc_isa.operands import Weights

__all__ = ["SummedProduct", "converts_whole_sums"]

Array = np.ndarray


def converts_whole_sums(cells: Cells, form: NormalForm) -> bool:
    """Whether the flow's only conversion sees the integer dot product of a row block."""
    if len(form.blocks) != 1 or form.sides or cells.centre.any():
        return False
    block = form.blocks[0]
    grid = {(i, j) for i in range(len(form.input_slices)) for j in range(len(form.weight_shifts))}
    places = [form.input_slices[i][0] + form.weight_shifts[j] for i, j in block.pairs]
    whole = block.shift == 0 and set(block.pairs) == grid and tuple(places) == block.exponents
    signs_first = len(block.pairs) > 1 or not cells.polarity.any()
    return whole and signs_first and block.conversion is not None and block.cell is None


class SummedProduct:
    """A layer's part. ``w`` [groups, k, n] integer weights; ``cuts``: rows where another crossbar group begins.

    The codes of a crossbar group's row blocks are added, then multiplied once by what a code stands for.
    """

    def __init__(
        self, w: Callable[[], Array], k: int, weights: Weights, form: NormalForm, scale: float, cuts: tuple[int, ...]
    ) -> None:
        conversion = form.blocks[0].conversion
        assert conversion is not None
        if conversion.ranged and not scale > 0:
            hint = "give the group v_max and gain"
            raise ProgramError(f"weights {weights.name}: ranged conversions need a full scale\n{hint}")
        self.converter = converter(conversion, scale)
        self._w, self._k = w, k
        self.rows = [rows for _, rows in row_blocks(k, weights.block_rows)]
        self._ends = {rows.stop for rows in self.rows if rows.stop in {*cuts, k}}
        self._dense: Callable[[Array], list[Array]] | None = None
        self._grouped: list[Product] = []

    def dense(self, a: Array) -> Array:
        """i32 [m, n] of window vectors u8 [m, k], for one convolution group."""
        if self._dense is None:
            self._dense = block_products(self._w()[0], self.rows)
        return self._sum(self._dense(a))

    def grouped(self, a: Array) -> Array:
        """i32 [groups, m, n] of window vectors u8 [groups, m, k]."""
        if not self._grouped:
            w = self._w()
            self._grouped = [product(np.ascontiguousarray(w[:, rows])) for rows in self.rows]
        parts = zip(self._grouped, self.rows, strict=True)
        return self._sum([p(np.ascontiguousarray(a[..., rows])) for p, rows in parts])

    def one_block(self, sums: Array) -> Array:
        """The result of sums that are those of the only row block."""
        return self._sum([sums])

    def _sum(self, blocks: list[Array]) -> Array:
        total: Array | None = None
        codes = np.zeros(blocks[0].shape, np.int32)
        for sums, rows in zip(blocks, self.rows, strict=True):
            add_codes(np.ascontiguousarray(sums), self.converter, codes)
            if rows.stop in self._ends:
                done = scaled(codes, self.converter.step)
                total = done if total is None else total + done
                codes = np.zeros_like(codes) if rows.stop != self._k else codes
        assert total is not None
        return total
