"""Conversions: codes of samples, held sums or buffer columns, guarded or where a flag says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pimc_isa.flow.adds import InputSum
from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.fields import Columns, Rounding, bits, choice, columns, rounding
from pimc_isa.flow.forms import Conversion, Seen
from pimc_isa.flow.latches import latest
from pimc_isa.flow.microops.analog import buffer_places, outputs_of
from pimc_isa.flow.reduce import numbers, refinements
from pimc_isa.flow.use import FLAGS

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.flow.use import Use
    from pimc_isa.machine import Array, Machine

__all__ = ["Convert"]


class Convert(
    MicroOp,
    op="convert",
    resource="converter",
    takes="samples|held sums|buffered sums",
    makes="codes",
    divisible=True,
    noun="conversions",
):
    """Convert every sample, held sum or buffer column: round to STEP, clip to BITS bits.

    ranged: the end code stands for the group's full scale; columns: only these buffer columns, each, or summed: added
    by their weight. guarded: an end code (of an unsigned conversion, the upper one) does not count and raises a flag;
    flagged: only where the latest guarded conversion raised a flag.
    """

    sign: str = choice("unsigned", "signed")
    bits: int = bits()
    rounding: Rounding | None = rounding()
    columns: Columns | None = columns()
    guard: str = choice("guarded", "flagged", optional=True)

    def taken(self, flow: Flow) -> tuple[str, ...]:
        """What it converts, and the flags that say where."""
        return (self.takes, "flags") if self.guard == "flagged" else (self.takes,)

    def made(self) -> tuple[str, ...]:
        """Codes, and flags."""
        return (self.makes, "flags") if self.guard == "guarded" else (self.makes,)

    def problems(self, flow: Flow, machine: Machine) -> Iterator[tuple[str, str]]:
        """Converters have so many bits, amplifiers add so many columns."""
        array = machine.array
        if self.bits > array.converter_bits:
            yield "the converters are narrower", f"convert to at most {array.converter_bits} bits"
        if self.columns and self.columns.summed and self.columns.hi - self.columns.lo > array.summed_columns:
            yield "the summing amplifiers add fewer columns", f"sum at most {array.summed_columns}"
        if self.guard and self.rounding is not None and self.rounding.ranged:
            yield "ranged codes are added before they count", "guard and refine conversions to steps"

    def powers(self) -> Iterator[int]:
        """The bits."""
        yield self.bits

    def rate(self, array: Array) -> float | None:
        """Conversions."""
        return array.conversions_per_step

    def work(self, flow: Flow, machine: Machine) -> int:
        """One for each sum, buffer column or column."""
        array, outputs = machine.array, outputs_of(flow, machine.array)
        kind = self.sees(flow).kind
        if kind == "held":
            return outputs
        if kind == "buffered":
            if self.columns is None:
                return outputs * buffer_places(flow)
            return outputs * (1 if self.columns.summed else self.columns.hi - self.columns.lo)
        added = [each for op in flow.ops for each in op.adds(flow) if isinstance(each, InputSum)]
        units = array.unit_columns if any(each.convert == self for each in added) else 0
        return array.columns // (2 if flow.pairs else 1) + units

    @property
    def conversion(self) -> Conversion:
        """Its codes in units of 1."""
        how, codes = self.rounding or Rounding(), 2**self.bits
        if self.sign == "unsigned":
            return Conversion(0, (codes - 1) * how.step, how.step, how.ranged)
        return Conversion(-codes // 2 * how.step, (codes // 2 - 1) * how.step, how.step, how.ranged)

    def measures(self, flow: Flow, machine: Machine) -> frozenset[str]:
        """Flags say how much is converted."""
        return frozenset({FLAGS} if self.guard else ())

    def codes_of_a_sum(self, flow: Flow) -> int:
        """How many codes a partial sum gets from it, flagged or not."""
        seen = self.sees(flow)
        if seen.kind == "samples":
            return len(flow.slices) * (2 if flow.bipolar and not flow.pairs else 1)
        if seen.kind == "buffered" and self.columns is not None:
            return 1 if self.columns.summed else self.columns.hi - self.columns.lo
        return buffer_places(flow) if seen.kind == "buffered" else 1

    def codes(self, flow: Flow, use: Use) -> float:
        """How many codes it makes whose sums count, in a burst: those of unit columns are booked by ``sum-inputs``."""
        if self.guard == "flagged" and use.tally is not None:
            return sum(use.tally.flags[block] * times for block, times in refinements(flow, self).items())
        return use.positions * use.sums * self.codes_of_a_sum(flow)

    def counted(self, flow: Flow, use: Use) -> float:
        """How many of its codes count: of a guarded conversion those without a flag."""
        if self.guard == "guarded" and use.tally is not None:
            return self.codes(flow, use) - sum(use.tally.flags[block] for block in numbers(flow, self))
        return self.codes(flow, use)

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """A conversion for each code, and what is buffered is read."""
        codes = self.codes(flow, use)
        read = {"buffer_read": codes} if self.sees(flow).kind == "buffered" else {}
        return {"adc_conversion": codes, **read}

    def sees(self, flow: Flow) -> Seen:
        """What it converts."""
        return latest(flow, self, self.takes).seen(flow, self)
