"""The crossbars of a group, one by one: what lies on their word lines and columns (the manual's section "Energy")."""

from __future__ import annotations

from dataclasses import dataclass

from pimc_isa.operands import Group, Range
from pimc_isa.program import Program

__all__ = ["Crossbar", "crossbars"]


@dataclass(frozen=True)
class Crossbar:
    """``rows``: convolution groups, with the rows of the weights on word lines here; data and unit columns in use.

    ``outputs`` of each of these groups lie here.
    """

    rows: tuple[tuple[int, Range], ...]
    columns: int
    units: int
    outputs: Range

    @property
    def word_lines(self) -> int:
        """Word lines in use."""
        return sum(last - first for _, (first, last) in self.rows)


def crossbars(program: Program, g: Group) -> list[Crossbar]:
    """One copy's crossbars."""
    weights, array = program.weight[g.weights], program.machine.array
    each = len(weights.slices) * (2 if weights.bipolar else 1)
    outputs, depth, groups = g.n[1] - g.n[0], g.k[1] - g.k[0], range(*g.groups)
    unit = 1 if array.unit_columns else 0
    together = 1
    if len(groups) > 1 and depth <= weights.block_rows:
        wide = outputs * each + unit
        together = min(array.rows // depth, (array.columns + array.unit_columns) // wide)
    found = []
    if together > 1:
        for first in range(0, len(groups), together):
            inside = groups[first : first + together]
            rows = tuple((number, g.k) for number in inside)
            found.append(Crossbar(rows, len(inside) * outputs * each, len(inside) * unit, g.n))
        return found
    fit = array.columns // each
    for number in groups:
        for top in range(g.k[0], g.k[1], weights.block_rows):
            block = top, min(top + weights.block_rows, g.k[1])
            for left in range(0, outputs, fit):
                used = min(fit, outputs - left)
                here = g.n[0] + left, g.n[0] + left + used
                found.append(Crossbar(((number, block),), used * each, array.unit_columns, here))
    return found
