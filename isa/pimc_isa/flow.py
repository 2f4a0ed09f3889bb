"""Flows: analog micro-programs as data, their structural check, and the normal form that says what they compute."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Block", "Conversion", "Flow", "MicroOp", "NormalForm"]


@dataclass(frozen=True)
class MicroOp:
    """One micro-operation: the step (counted from 0) it starts at, its name, and its arguments in text form."""

    step: int
    op: str
    args: tuple[str, ...] = ()


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

    @property
    def interval_cycles(self) -> int:
        """Clock cycles between two positions of one copy."""
        return self.interval * self.step_cycles

    @property
    def latency_cycles(self) -> int:
        """Clock cycles from start to end of one position."""
        return self.latency * self.step_cycles


@dataclass(frozen=True)
class Conversion:
    """One conversion of a block's sum: round to multiples of ``step``, clip to ``lo``..``hi`` (in units of 1)."""

    lo: int
    hi: int
    step: int = 1


@dataclass(frozen=True)
class Block:
    """One block of (input slice i, weight slice j) pairs summed in analog before one conversion.

    The block's sum is ``sum 2**exponents[n] * p[pairs[n]]``; the converted value counts ``2**shift`` times.
    """

    pairs: tuple[tuple[int, int], ...]
    exponents: tuple[int, ...]
    shift: int
    conversion: Conversion | None


@dataclass(frozen=True)
class NormalForm:
    """What a flow computes: input slices as bit ranges [lo, hi), weight slices as bit positions, and the blocks."""

    input_slices: tuple[tuple[int, int], ...]
    weight_shifts: tuple[int, ...]
    blocks: tuple[Block, ...]
