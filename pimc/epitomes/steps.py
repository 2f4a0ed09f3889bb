"""Steps of quantised cells: one for each set of cells, by their largest value or by the least squared error.

A cell stands for ``counts`` weights; then the sum of counts * (cell - quantised cell)**2 is the squared error of the
weights. (Source: EPIM weighs the cells that are used more often; how is recalled, and this is what it generalises to,
notes, section 3.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.codes import largest_code

__all__ = ["LARGEST", "SQUARES", "Cells", "codes_of", "steps_of"]

Array = npt.NDArray[Any]

LARGEST, SQUARES = "largest", "squares"
"""How steps are chosen: so that the largest cell has the largest code, or for the least squared error."""

CUTS = np.geomspace(1.0, 0.05, 40)
"""Shares of the step of the largest cell from which the least error is looked for."""

ROUNDS = 4
"""Times that the step of the least error is computed for the codes that the last one gave."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Values f64 [n] of cells, how many weights each stands for, f64 [n], and its set, i64 [n], of ``sets``."""

    values: Array
    counts: Array
    set_of: Array
    sets: int

    def total(self, of: Array) -> Array:
        """Sums [sets] of numbers [n]."""
        return np.bincount(self.set_of, of, self.sets)

    def error(self, steps: Array, bits: int) -> Array:
        """The squared error [sets] of what the cells stand for, with steps [sets] and codes of ``bits`` bits."""
        along = steps[self.set_of]
        return self.total(self.counts * np.square(self.values - codes_of(self.values, along, bits) * along))


def codes_of(values: Array, steps: Array, bits: int) -> Array:
    """The nearest codes, f64."""
    top = largest_code(bits)
    return np.clip(np.rint(values / steps), -top, top)


def steps_of(cells: Cells, bits: int, fit: str = LARGEST) -> Array:
    """A step > 0 for each set, f64 [sets]; with `SQUARES` its error is never above that of the other."""
    largest = np.zeros(cells.sets)
    np.maximum.at(largest, cells.set_of, np.abs(cells.values))
    first = np.where(largest > 0, largest, 1.0) / largest_code(bits)
    if fit == LARGEST:
        return first
    best, least = first, cells.error(first, bits)
    for steps in (*(first * cut for cut in CUTS), *[None] * ROUNDS):
        made = _refined(cells, best if steps is None else steps, bits)
        error = cells.error(made, bits)
        better = error < least
        best, least = np.where(better, made, best), np.where(better, error, least)
    return best


def _refined(cells: Cells, steps: Array, bits: int) -> Array:
    """The steps of the least error for the codes that ``steps`` give."""
    codes = codes_of(cells.values, steps[cells.set_of], bits)
    product, square = cells.total(cells.counts * cells.values * codes), cells.total(cells.counts * codes * codes)
    return np.where(square > 0, product / np.where(square > 0, square, 1), steps)
