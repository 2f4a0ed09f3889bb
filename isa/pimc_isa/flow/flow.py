"""A flow: an analog micro-program for one window position, as data.

A list of micro-ops at steps (array reads); a new position starts every ``interval`` steps. ``microops`` declares them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.microops import Drive, Read, Scale

__all__ = ["Flow", "flow_actions"]


@dataclass(frozen=True)
class Flow:
    """An analog micro-program for one window position.

    ``step_cycles``: clock cycles of one step (an array read). ``interval``/``latency``: steps between positions, and
    from the first to the last micro-op of one position. ``slices``: weight slice widths, low bits first.
    """

    name: str
    input_bits: int
    slices: tuple[int, ...]
    step_cycles: int
    interval: int
    latency: int
    ops: tuple[MicroOp, ...]

    @cached_property
    def sampled(self) -> frozenset[str]:
        """How reads sample columns: one by one (''), 'pairs' or 'sides'."""
        return frozenset(op.sampled for op in self.ops if isinstance(op, Read))

    @cached_property
    def pairs(self) -> bool:
        """Whether reads sample differences of two columns (W+ and W-)."""
        return "pairs" in self.sampled

    @cached_property
    def bipolar(self) -> bool:
        """Whether reads want two columns (W+ and W-) for each slice, so that weights must be bipolar."""
        return bool(self.sampled & {"pairs", "sides"})

    @cached_property
    def signed(self) -> bool:
        """Whether inputs less their zero point are driven, their positive and their negative parts in passes."""
        return any(op.part for op in self.ops if isinstance(op, Drive))

    @cached_property
    def ranged(self) -> bool:
        """Whether conversions are ranged, so that totals are scaled."""
        return any(isinstance(op, Scale) for op in self.ops)

    @cached_property
    def columns(self) -> int:
        """Physical columns of one output."""
        return len(self.slices) * (2 if self.bipolar else 1)

    @property
    def interval_cycles(self) -> int:
        """Clock cycles between two positions of one copy."""
        return self.interval * self.step_cycles

    @property
    def latency_cycles(self) -> int:
        """Clock cycles from start to end of one position."""
        return self.latency * self.step_cycles


def flow_actions(flow: Flow) -> Counter[str]:
    """How often one position does each micro-op, and ``driven_bits``: bits driven on each word line."""
    counts: Counter[str] = Counter(op.name for op in flow.ops)
    counts["driven_bits"] = sum(op.bits[1] - op.bits[0] for op in flow.ops if isinstance(op, Drive))
    return counts
