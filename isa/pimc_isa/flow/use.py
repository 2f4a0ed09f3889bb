"""How much of a crossbar a burst of positions uses: what the actions of micro-operations are counted in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Use"]


@dataclass(frozen=True)
class Use:
    """``positions`` of a burst, and for each word lines (``rows``), crossbars, columns, unit columns, partial sums.

    ``outputs``: results of the group. ``input_bytes`` and ``result_bytes`` are those of all positions together that are
    read from and written to the tile's memory; ``sum_bytes`` is the width of a partial sum.
    """

    positions: int
    rows: int
    arrays: int
    columns: int
    unit_columns: int
    sums: int
    outputs: int
    input_bytes: float
    result_bytes: float
    sum_bytes: int
