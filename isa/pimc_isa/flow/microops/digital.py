"""What becomes of codes: partial sums, sums of inputs, totals, results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pimc_isa.flow.adds import Addition, Codes, Corrected, InputSum, Scaled
from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.fields import bit_range, choice, shift
from pimc_isa.flow.forms import PARTS, Bits
from pimc_isa.flow.latches import converted, latest
from pimc_isa.flow.microops.convert import Convert
from pimc_isa.flow.microops.inputs import input_bits

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.flow.use import Use
    from pimc_isa.machine import Array, Machine

__all__ = ["Accumulate", "Activate", "Correct", "CountInputs", "Merge", "Scale", "Store", "SumInputs"]


class Accumulate(MicroOp, op="accumulate", resource="shift-adder", takes="codes", makes="sums", gathers="all"):
    """Add codes, shifted by N and by their weight slice or buffer column, to the partial sums."""

    left: int = shift()

    def powers(self) -> Iterator[int]:
        """The shift."""
        yield self.left

    def taken(self, flow: Flow) -> tuple[str, ...]:
        """Codes, and the flags that say which of them count."""
        return (self.takes, "flags") if converted(flow, self).guard else (self.takes,)

    def measures(self, flow: Flow, machine: Machine) -> frozenset[str]:
        """Flags say which codes are added."""
        return converted(flow, self).measures(flow, machine)

    def adds(self, flow: Flow) -> Iterator[Addition]:
        """The codes."""
        yield Codes(self, converted(flow, self), self.left)

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """Every code that counts is added; a partial sum is read and written, for its share of them."""
        convert = converted(flow, self)
        codes = convert.counted(flow, use)
        sums = codes / convert.codes_of_a_sum(flow)
        return {"shift_add": codes, "output_register_byte": sums * 2 * use.sum_bytes}


class SumInputs(MicroOp, op="sum-inputs", resource="input-adder", takes="codes", makes="input sums", gathers="all"):
    """Add the unit columns' codes, shifted by N, to the sums of inputs."""

    left: int = shift()

    def problems(self, flow: Flow, machine: Machine) -> Iterator[tuple[str, str]]:
        """Not every array has unit columns."""
        if not machine.array.unit_columns:
            yield "the arrays have no unit column", "drop it and use weights with centre 0, or count-inputs"

    def powers(self) -> Iterator[int]:
        """The shift."""
        yield self.left

    def copies(self, flow: Flow, array: Array) -> int:
        """Sums of inputs side by side."""
        return array.input_sum_copies

    def adds(self, flow: Flow) -> Iterator[Addition]:
        """The converted sum."""
        convert = converted(flow, self)
        seen = convert.sees(flow)
        yield InputSum(self, seen.bits[0], convert, self.left, seen.part)

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """The unit columns are converted and added."""
        units = use.positions * use.unit_columns
        return {"adc_conversion": units, "shift_add": units}


class CountInputs(
    MicroOp, op="count-inputs", resource="input-adder", takes="inputs", makes="input sums", gathers="all"
):
    """Add bits LO..HI-1 of all inputs to the sums of inputs, in digital.

    positive, negative: of these parts, as `drive` has them; the negative one is subtracted.
    """

    bits: Bits = bit_range()
    part: str = choice(*PARTS, optional=True)

    def copies(self, flow: Flow, array: Array) -> int:
        """Sums of inputs side by side."""
        return array.input_sum_copies

    def adds(self, flow: Flow) -> Iterator[Addition]:
        """The counted sum."""
        yield InputSum(self, input_bits(flow, self, self.bits), part=self.part)

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """Every input is added."""
        return {"input_count": use.positions * use.rows}


class Merge(MicroOp, op="merge", resource="tile-adder", takes="sums|codes", makes="totals"):
    """Add the partial sums of all row blocks in the tile."""

    def adds(self, flow: Flow) -> Iterator[Addition]:
        """Codes that are merged as they are."""
        source = latest(flow, self, self.takes)
        if isinstance(source, Convert):
            yield Codes(self, source)

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """Every partial sum is added."""
        return {"merge_add": use.positions * use.sums}


class Correct(MicroOp, op="correct", resource="corrector", takes="input sums"):
    """Add centre x sum of inputs to every partial sum as it is merged."""

    def adds(self, flow: Flow) -> Iterator[Addition]:
        """The correction."""
        yield Corrected(self)

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """An addition for each partial sum."""
        return {"shift_add": use.positions * use.sums}


class Scale(MicroOp, op="scale", resource="multiplier", takes="totals", makes="scaled"):
    """Multiply every total of ranged codes by what one code stands for."""

    def adds(self, flow: Flow) -> Iterator[Addition]:
        """The product."""
        yield Scaled(self)

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """A product for each output."""
        return {"scale_multiply": use.positions * use.outputs}


class Activate(MicroOp, op="activate", resource="function-unit", takes="totals|scaled", makes="results"):
    """Pass the activation unit (requantisation is an instruction)."""


class Store(MicroOp, op="store", resource="memory", takes="totals|scaled|results"):
    """Write the position's sums to the tile's memory."""

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """Bytes written."""
        return {"memory_byte": use.result_bytes, "bus_byte": use.result_bytes}
