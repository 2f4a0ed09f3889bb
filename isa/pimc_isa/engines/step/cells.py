"""The cells of one row block: what every column of every slice holds, and with which sign it counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc_isa.engines.step.draws import CELLS, key_of, normal
from pimc_isa.operands import Range, Weights
from pimc_isa.program import Program

__all__ = ["HeldBlock", "block_of"]

Array = np.ndarray
#: Conductances of cells that vary are multiples of this.
GRAIN = 1 / 4096


@dataclass(frozen=True)
class HeldBlock:
    """One row block of one convolution group, for outputs ``n``.

    ``columns`` [sides][slices]: float64 [rows, n], what the cells conduct; one side, or W+ and W-. ``signs`` [slices]:
    1, or -1 where the column is stored flipped, int64 [n]. ``centre`` int64 [n]. ``rows``: rows [first, last) of the
    weights; ``number``: the block's in the whole layer.
    """

    number: int
    rows: Range
    columns: tuple[tuple[Array, ...], ...]
    signs: tuple[Array, ...]
    centre: Array

    @property
    def levels(self) -> Array:
        """What all cells of a row and an output hold together: int64 [rows, n], of ideal cells."""
        return np.asarray(sum(field for side in self.columns for field in side), np.int64)


def block_of(
    program: Program, weights: Weights, group: int, rows: Range, n: Range, spread: float = 0.0, seed: int = 0
) -> HeldBlock:
    """The block that holds ``rows`` (which lie in one row block). Cells vary by ``spread`` where that is not 0."""
    number = rows[0] // weights.block_rows
    codes = program.tensors[f"{weights.name}.codes"][group, rows[0] : rows[1], n[0] : n[1]].astype(np.int64)
    polarity = program.tensors[f"{weights.name}.polarity"][group, number, n[0] : n[1]].astype(np.int64)
    centre = program.tensors[f"{weights.name}.centre"][group, number, n[0] : n[1]].astype(np.int64)
    columns: list[tuple[Array, ...]] = []
    for side in range(2 if weights.bipolar else 1):
        own = np.maximum(-codes if side else codes, 0)
        slices = []
        for j, width in enumerate(weights.slices):
            field = (own >> sum(weights.slices[:j]) & (1 << width) - 1).astype(np.float64)
            if spread:
                key = key_of(seed, CELLS, weights.name)
                draws = normal(key, _cell_numbers(weights, group, rows, n, j, side))
                field = np.rint(field * np.exp(spread * draws) / GRAIN) * GRAIN
            slices.append(field)
        columns.append(tuple(slices))
    signs = tuple(1 - 2 * (polarity >> j & 1) for j in range(len(weights.slices)))
    return HeldBlock(number, rows, tuple(columns), signs, centre)


def _cell_numbers(weights: Weights, group: int, rows: Range, n: Range, j: int, side: int) -> Array:
    """Numbers [rows, n] of the cells of slice ``j`` on one side."""
    row, output = np.arange(*rows)[:, None], np.arange(*n)[None]
    weight = (group * weights.k + row) * weights.n + output
    return 2 * (weight * len(weights.slices) + j) + side
