"""How much of a crossbar a burst of positions uses, and what its data decide: what actions are counted in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FLAGS", "ONES", "Tally", "Use"]

#: What data decide: how many inputs have each bit set, and how many guarded conversions gave an end code.
ONES, FLAGS = "ones", "flags"


@dataclass(frozen=True)
class Tally:
    """What the data of some bursts of a group decided, over all their ``positions``.

    ``ones`` [convolution groups][input bits]: inputs, each counted once for a position, that had this bit set.
    ``flags``: for each block of the flow's normal form how many of its conversions, in all row blocks, gave an end
    code. What nobody measured is empty.
    """

    positions: int
    ones: tuple[tuple[int, ...], ...] = ()
    flags: tuple[int, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        ones = tuple(tuple(_sums(a, b)) for a, b in zip(self.ones, other.ones, strict=True))
        return Tally(self.positions + other.positions, ones, tuple(_sums(self.flags, other.flags)))


def _sums(left: tuple[int, ...], right: tuple[int, ...]) -> Iterator[int]:
    return (a + b for a, b in zip(left, right, strict=True))


@dataclass(frozen=True)
class Use:
    """``positions`` of a burst, and for each word lines (``rows``), columns, unit columns, partial sums.

    ``drives``: word lines that one input drives, each in a crossbar of its own; ``crossed``: for each convolution group
    the columns that these cross, unit columns too, and ``inputs`` of each group. ``outputs``: results of the group.
    ``input_bytes`` and ``result_bytes`` are those of all positions together that are read from and written to the
    tile's memory; ``sum_bytes`` is the width of a partial sum. ``pulses``: those a DAC sends for one unit of an input
    slice (0: it sets a level). Without a ``tally`` all inputs are taken as the largest and all guarded sums as flagged.
    """

    positions: int
    rows: int
    drives: int
    inputs: int
    crossed: tuple[int, ...]
    columns: int
    unit_columns: int
    sums: int
    outputs: int
    input_bytes: float
    result_bytes: float
    sum_bytes: int
    pulses: int = 0
    tally: Tally | None = None

    def cells(self, bits: tuple[int, int]) -> float:
        """Cells between driven word lines and read columns; for pulse trains times pulses of these input bits."""
        if not self.pulses:
            return self.positions * self.inputs * sum(self.crossed)
        each = self._units(bits)
        return self.pulses * sum(units * columns for units, columns in zip(each, self.crossed, strict=True))

    def pulses_of(self, bits: tuple[int, int]) -> float:
        """Pulses on all word lines for these bits of the inputs."""
        return self.pulses * self.drives * sum(self._units(bits))

    def _units(self, bits: tuple[int, int]) -> list[int]:
        """For each convolution group the sum of these bits of all inputs of all positions."""
        lo, hi = bits
        if self.tally is None:
            return [self.positions * self.inputs * ((1 << hi - lo) - 1)] * len(self.crossed)
        held = [(*ones, *[0] * (hi - len(ones))) for ones in self.tally.ones]
        return [sum(ones[bit] << bit - lo for bit in range(lo, hi)) for ones in held]
