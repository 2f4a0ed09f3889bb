"""Integer columns and their 3-bit cells: a column is differences ``n`` (-7..7) and a total conductance ``S``."""

from __future__ import annotations

import numpy as np

from pimc_isa.peripherals import Columns
from pimc_isa.peripherals.devices import CELL_LEVELS

__all__ = ["columns", "fitting_total"]

Array = np.ndarray
TOP = CELL_LEVELS - 1


def fitting_total(n: Array, total: float) -> int:
    """The possible total conductance nearest to ``total``: parity and bounds follow from the differences."""
    used = int(np.abs(n).sum())
    pairs = (min(max(total, used, 1), 2 * TOP * len(n) - used) - used) / 2
    return used + 2 * int(pairs + 0.5)


def columns(n: Array, totals: Array) -> Columns:
    """Cells whose differences are ``n`` [outputs, inputs] and whose sums are ``totals`` [outputs].

    The rest of a total is spread evenly as equal conductances in both cells of the pairs.
    """
    up, low = np.maximum(n, 0).astype(np.uint8), np.maximum(-n, 0).astype(np.uint8)
    for row in range(len(n)):
        rest = (int(totals[row]) - int(np.abs(n[row]).sum())) // 2
        while rest > 0:
            fullest = np.maximum(up[row], low[row])
            pair = int(np.argmin(fullest))
            if fullest[pair] == TOP:
                raise ValueError(f"a total conductance of {totals[row]} does not fit {n.shape[1]} pairs")
            up[row, pair] += 1
            low[row, pair] += 1
            rest -= 1
    return Columns(up, low)
