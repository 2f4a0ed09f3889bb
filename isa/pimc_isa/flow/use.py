"""How much of a crossbar a burst of positions uses, and what its data decide: what actions are counted in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FLAGS", "LEVELS", "ONES", "Tally", "Use"]

#: What data decide: how many inputs have each bit set, what levels of cells these meet, and how many guarded
#: conversions gave an end code.
ONES, LEVELS, FLAGS = "ones", "levels", "flags"


@dataclass(frozen=True)
class Tally:
    """What the data of some bursts of a group decided, over all their ``positions``.

    ``lines`` [input bits]: word lines whose input had this bit set; ``cells`` [input bits]: columns in use that these
    cross; ``levels`` [input bits]: what the cells where they cross hold. ``flags``: for each block of the flow's normal
    form how many of its conversions, in all row blocks, gave an end code. What nobody measured is empty.
    """

    positions: int
    lines: tuple[int, ...] = ()
    cells: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    flags: tuple[int, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        sums = (
            tuple(_sums(getattr(self, name), getattr(other, name))) for name in ("lines", "cells", "levels", "flags")
        )
        return Tally(self.positions + other.positions, *sums)


def _sums(left: tuple[int, ...], right: tuple[int, ...]) -> Iterator[int]:
    return (a + b for a, b in zip(left, right, strict=True))


@dataclass(frozen=True)
class Use:
    """``positions`` of a burst, and for each, over all rounds, word lines (``rows``), cells, columns, partial sums.

    ``cells`` lie where driven word lines and columns in use cross, unit columns too; ``levels`` is the sum of what they
    hold, where the machine prices it. ``outputs``: results of the group.
    ``input_bytes`` and ``result_bytes`` are those of all positions together that are read from and written to the
    tile's memory; ``sum_bytes`` is the width of a partial sum. ``pulses``: those a DAC sends for one unit of an input
    slice (0: it sets a level). Without a ``tally`` all inputs are taken as the largest and all guarded sums as flagged.
    """

    positions: int
    rows: int
    cells: int
    columns: int
    unit_columns: int
    sums: int
    outputs: int
    input_bytes: float
    result_bytes: float
    sum_bytes: int
    pulses: int = 0
    levels: int | None = None
    tally: Tally | None = None

    def cells_read(self, bits: tuple[int, int]) -> float:
        """Cells between driven word lines and columns in use; for pulse trains times pulses of these input bits."""
        if not self.pulses:
            return self.positions * self.cells
        counted = None if self.tally is None else self.tally.cells
        return self.pulses * _units(bits, self.positions * self.cells, counted)

    def charge(self, bits: tuple[int, int]) -> float:
        """Levels of cells times these bits of the inputs on their word lines; for pulse trains times pulses."""
        counted = None if self.tally is None else self.tally.levels
        return max(1, self.pulses) * _units(bits, self.positions * (self.levels or 0), counted)

    def pulses_sent(self, bits: tuple[int, int]) -> float:
        """Pulses on all word lines for these bits of the inputs."""
        counted = None if self.tally is None else self.tally.lines
        return self.pulses * _units(bits, self.positions * self.rows, counted)


def _units(bits: tuple[int, int], most: int, counted: tuple[int, ...] | None) -> int:
    """The sum of these bits of inputs of which so many had each bit set; of ``most`` inputs, if nobody counted."""
    lo, hi = bits
    if counted is None:
        return most * ((1 << hi - lo) - 1)
    return sum(number << bit - lo for bit, number in enumerate(counted) if lo <= bit < hi)
