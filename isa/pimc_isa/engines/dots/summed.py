"""Dot products whose row blocks are summed in analog and converted once: integer products of row blocks, then codes.

This is the normal form with one block that holds every pair of input and weight slices: whatever happens on the way to
the converter, it sees the integer dot product of the row block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pimc_isa.crossbar.cells import Cells, row_blocks
from pimc_isa.engines.kernels.convert import add_codes, converter, scaled
from pimc_isa.engines.kernels.gemm import Product, block_products, product
from pimc_isa.errors import ProgramError
from pimc_isa.flow.forms import NormalForm, Takes
from pimc_isa.operands import Weights

__all__ = ["InputSums", "SummedProduct", "converts_whole_sums", "input_sums"]

Array = np.ndarray
TAKES = Takes.of("step", "ranged", "unit_conversions", grids=("whole",))


@dataclass(frozen=True)
class InputSums:
    """Sums i32 of the inputs of windows, exact, and as the correction has them (converted from unit columns)."""

    exact: Array
    converted: Array


def input_sums(x: Array, form: NormalForm) -> InputSums:
    """Of u8 ``x`` [..., k] over the last axis."""
    exact = x.sum(axis=-1, dtype=np.int32)
    if all(c is None for c in form.unit_conversions):
        return InputSums(exact, exact)
    converted = np.zeros_like(exact)
    for (lo, hi), c in zip(form.input_slices, form.unit_conversions, strict=True):
        part = (x >> lo & ((1 << (hi - lo)) - 1)).sum(axis=-1, dtype=np.int32)
        part = part if c is None else np.clip((part + c.step // 2) // c.step * c.step, c.lo, c.hi)
        converted += part << lo
    return InputSums(exact, converted)


def converts_whole_sums(cells: Cells, form: NormalForm) -> bool:
    """Whether the flow's only conversion sees the integer dot product of a row block with what the cells hold."""
    if not TAKES(form):
        return False
    block = form.blocks[0]
    return (len(block.pairs) > 1 or not cells.polarity.any()) and block.conversion is not None


class SummedProduct:
    """A layer's part. ``w`` [groups, k, n] integer weights; ``cuts``: rows where another crossbar group begins.

    The codes of a crossbar group's row blocks are added, then multiplied once by what a code stands for. Converters
    see the product with the weights less the centre times the sum of the inputs, which is added again as the correction
    has it. ``centre`` [groups, blocks, n].
    """

    def __init__(
        self,
        w: Callable[[], Array],
        k: int,
        weights: Weights,
        form: NormalForm,
        scale: float,
        cuts: tuple[int, ...],
        centre: Array,
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
        self._centre, self._form = (centre if centre.any() else None), form
        self._dense: Callable[[Array], list[Array]] | None = None
        self._grouped: list[Product] = []

    def dense(self, a: Array) -> Array:
        """i32 [m, n] of window vectors u8 [m, k], for one convolution group."""
        if self._dense is None:
            self._dense = block_products(self._w()[0], self.rows)
        if self._centre is None:
            return self._sum(self._dense(a))
        inputs = [input_sums(a[:, rows], self._form) for rows in self.rows]
        return self._corrected(self._dense(a), inputs, self._centre[0])

    def grouped(self, a: Array) -> Array:
        """i32 [groups, m, n] of window vectors u8 [groups, m, k]."""
        if not self._grouped:
            w = self._w()
            self._grouped = [product(np.ascontiguousarray(w[:, rows])) for rows in self.rows]
        parts = zip(self._grouped, self.rows, strict=True)
        blocks = [p(np.ascontiguousarray(a[..., rows])) for p, rows in parts]
        if self._centre is None:
            return self._sum(blocks)
        inputs = [input_sums(a[..., rows], self._form) for rows in self.rows]
        return self._corrected(blocks, inputs, self._centre)

    @property
    def counts(self) -> bool:
        """Whether results need the sums of inputs."""
        return self._centre is not None

    def one_block(self, sums: Array, inputs: InputSums | None = None) -> Array:
        """The result of ``sums`` [..., groups], those of the only row block of each group of one output."""
        if self._centre is None or inputs is None:
            return self._sum([sums])
        own = self._centre[:, 0, 0]
        return np.asarray(self._sum([sums - inputs.exact * own]) + inputs.converted * own)

    def _corrected(self, blocks: list[Array], inputs: list[InputSums], centre: Array) -> Array:
        """Blocks [..., m, n] of the weights, sums of inputs [..., m] of every block, ``centre`` [..., blocks, n]."""
        seen, correction = [], np.zeros(blocks[0].shape, np.int32)
        for number, (sums, counted) in enumerate(zip(blocks, inputs, strict=True)):
            own = centre[..., number : number + 1, :]
            seen.append(sums - counted.exact[..., None] * own)
            correction += counted.converted[..., None] * own
        return np.asarray(self._sum(seen) + correction)

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
