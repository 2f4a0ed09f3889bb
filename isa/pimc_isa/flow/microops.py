"""Micro-operations of flows, declared once each: what it occupies, takes and makes, its limits, its actions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pimc_isa.flow.adds import Addition, Codes, Corrected, InputSum, Scaled
from pimc_isa.flow.define import OPS, MicroOp, micro_op, parse_flow_lines, print_flow_lines
from pimc_isa.flow.fields import Columns, Rounding, bit_range, bits, choice, columns, rounding, scaling, shift, step
from pimc_isa.flow.forms import Bits, Conversion, Seen
from pimc_isa.flow.latches import converted, fail, gathered, latest
from pimc_isa.flow.reduce import numbers, refinements
from pimc_isa.flow.use import FLAGS, ONES

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.flow.use import Use
    from pimc_isa.machine import Array, Machine

__all__ = [
    "OPS",
    "Accumulate",
    "Activate",
    "Buffer",
    "Convert",
    "Correct",
    "CountInputs",
    "Drive",
    "Fold",
    "Load",
    "Merge",
    "MicroOp",
    "Read",
    "Scale",
    "Store",
    "SumInputs",
    "buffer_columns",
    "input_bits",
    "micro_op",
    "outputs_of",
    "parse_flow_lines",
    "print_flow_lines",
]

Problems = Iterator[tuple[str, str]]


class Load(MicroOp, op="load", resource="memory", makes="inputs"):
    """Copy the position's inputs from the tile's memory to the input registers."""

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """Bytes read once and broadcast, and the registers they go to."""
        registers = use.positions * use.rows * flow.input_bits / 8
        return {"memory_byte": use.input_bytes, "bus_byte": use.input_bytes, "input_register_byte": registers}


class Drive(MicroOp, op="drive", resource="dac", takes="inputs"):
    """Put bits LO..HI-1 of every input onto the word lines."""

    bits: Bits = bit_range()

    def problems(self, flow: Flow, machine: Machine) -> Problems:
        """DACs have so many bits."""
        most = machine.array.dac_bits
        if not 0 < self.bits[1] - self.bits[0] <= most:
            yield "the slice does not fit the DACs", f"drive 1 to {most} bits at a time"

    def measures(self, flow: Flow, machine: Machine) -> frozenset[str]:
        """Pulse trains are as long as the inputs are large."""
        return frozenset({ONES} if machine.array.dac_pulses else ())

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """Every word line is driven, and the bits read from its register; the pulses, where it is driven by pulses."""
        lines = use.positions * use.rows
        driven = {"dac_drive": lines, "input_register_byte": lines * (self.bits[1] - self.bits[0]) / 8}
        return driven | ({"dac_pulse": use.pulses_sent(self.bits)} if use.pulses else {})


class Read(MicroOp, op="read", resource="array", makes="samples"):
    """Sample the column sums of what is driven in the same step.

    pairs: of each W+ and W- column the difference; sides: each on its own, their codes are subtracted.
    """

    sampled: str = choice("pairs", "sides", optional=True)

    def seen(self, flow: Flow, taker: MicroOp) -> Seen:
        """Single samples of what is driven."""
        return Seen("samples", (self.driven(flow),))

    def driven(self, flow: Flow) -> Bits:
        """The input bits on the word lines."""
        drives = [o for o in flow.ops if isinstance(o, Drive) and o.step == self.step]
        if not drives:
            fail(flow, self, "no input bits are driven in this step", "add a drive at the same step")
        return input_bits(flow, drives[0], drives[0].bits)

    def measures(self, flow: Flow, machine: Machine) -> frozenset[str]:
        """Cells conduct as long as pulses last."""
        return frozenset({ONES} if machine.array.dac_pulses else ())

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """Cells between driven word lines and columns in use are read, and these columns sampled."""
        held = use.positions * (use.columns + use.unit_columns)
        return {"cell_read": use.cells_read(self.driven(flow)), "sample_hold": held}


class Fold(
    MicroOp,
    op="fold",
    resource="folder",
    takes="samples",
    makes="held sums",
    gradual=True,
    divisible=True,
    gathers="since",
    noun="analog additions",
):
    """Add all weight slices' samples and the held sum, scaled by 2**-N (or 2**N), and hold it (NNS+A).

    The first one of a conversion starts from zero.
    """

    right: int = scaling()

    def problems(self, flow: Flow, machine: Machine) -> Problems:
        """Not every machine has NNS+A."""
        if not machine.array.folds_per_step:
            yield "the machine has no analog shift-and-add", "convert and accumulate the samples"

    def powers(self) -> Iterator[int]:
        """The shift."""
        yield abs(self.right)

    def copies(self, flow: Flow, array: Array) -> int:
        """Sums that are held side by side."""
        return array.held_copies

    def rate(self, array: Array) -> float | None:
        """Additions."""
        return array.folds_per_step

    def work(self, flow: Flow, machine: Machine) -> int:
        """One for each output."""
        return outputs_of(flow, machine.array)

    def seen(self, flow: Flow, taker: MicroOp) -> Seen:
        """All that was folded since the last conversion of folds."""
        parts = [o for o in gathered(flow, taker, self) if isinstance(o, Fold)]
        found = tuple(_driven(flow, o) for o in parts)
        for part, before, here in zip(parts[1:], found, found[1:], strict=False):
            want = here[0] - before[0]
            if part.right != want:
                remedy = f"fold {'>>' if want >= 0 else '<<'}{abs(want)}"
                fail(flow, part, f"input bits {before[0]} and {here[0]} onwards differ by {want}", remedy)
        return Seen("held", found)

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """An addition and a hold for each sum."""
        return {"fold": use.positions * use.sums, "sample_hold": use.positions * use.sums}


class Buffer(
    MicroOp,
    op="buffer",
    resource="buffer-writer",
    takes="samples",
    makes="buffered sums",
    gradual=True,
    divisible=True,
    gathers="all",
    noun="buffer writes",
):
    """Write each sample to an analog cell of BITS bits, N columns higher: cells of equal weight share a column."""

    left: int = shift()
    bits: int = bits()
    cell_step: int | None = step()

    def problems(self, flow: Flow, machine: Machine) -> Problems:
        """Buffer cells have so many bits."""
        if self.bits > machine.array.buffer_bits:
            yield "the buffer cells are narrower", f"write at most {machine.array.buffer_bits} bits"

    def powers(self) -> Iterator[int]:
        """Shift and bits."""
        yield from (self.left, self.bits)

    def copies(self, flow: Flow, array: Array) -> int:
        """Positions whose columns fit the buffer arrays."""
        return max(1, array.buffer_arrays * array.columns // buffer_columns(flow, array))

    def rate(self, array: Array) -> float | None:
        """Writes."""
        return array.buffer_writes_per_step

    def work(self, flow: Flow, machine: Machine) -> int:
        """One for each column."""
        return machine.array.columns

    @property
    def cell(self) -> Conversion:
        """What a sample goes through."""
        scale = self.cell_step or 1
        return Conversion(0, (2**self.bits - 1) * scale, scale)

    def seen(self, flow: Flow, taker: MicroOp) -> Seen:
        """All that is buffered."""
        parts = [o for o in gathered(flow, taker, self) if isinstance(o, Buffer)]
        found = tuple(_driven(flow, o) for o in parts)
        cells = {o.cell for o in parts}
        if len(cells) > 1:
            fail(flow, parts[-1], "cells of one column differ", "write the same bits and step in all of them")
        for part, (lo, _) in zip(parts, found, strict=True):
            if part.left != lo - found[0][0]:
                fail(flow, part, f"the samples are of input bit {lo} onwards", f"write them with <<{lo - found[0][0]}")
        return Seen("buffered", found, cells.pop())

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """A write for each column."""
        return {"buffer_write": use.positions * use.columns}


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

    def problems(self, flow: Flow, machine: Machine) -> Problems:
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
        sums_inputs = any(isinstance(o, SumInputs) for o in flow.ops)
        return array.columns // (2 if flow.pairs else 1) + (array.unit_columns if sums_inputs else 0)

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

    def problems(self, flow: Flow, machine: Machine) -> Problems:
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
        yield InputSum(self, convert.sees(flow).bits[0], convert, self.left)

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """The unit columns are converted and added."""
        units = use.positions * use.unit_columns
        return {"adc_conversion": units, "shift_add": units}


class CountInputs(
    MicroOp, op="count-inputs", resource="input-adder", takes="inputs", makes="input sums", gathers="all"
):
    """Add bits LO..HI-1 of all inputs to the sums of inputs, in digital."""

    bits: Bits = bit_range()

    def copies(self, flow: Flow, array: Array) -> int:
        """Sums of inputs side by side."""
        return array.input_sum_copies

    def adds(self, flow: Flow) -> Iterator[Addition]:
        """The counted sum."""
        yield InputSum(self, input_bits(flow, self, self.bits))

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


# ---- what several of them ask ----


def input_bits(flow: Flow, op: MicroOp, found: Bits) -> Bits:
    """The bits if the flow's inputs have them. Raises FlowError."""
    if not found[0] < found[1] <= flow.input_bits:
        fail(flow, op, "these are not input bits", f"{op.name.split('-')[0]} bits within 0:{flow.input_bits}")
    return found


def _driven(flow: Flow, op: MicroOp) -> Bits:
    """The input bits of the samples that ``op`` takes."""
    seen = latest(flow, op, "samples").seen(flow, op)
    if seen.cell is not None:
        fail(flow, op, "the samples have been through a cell", "take them as they were read")
    return seen.bits[0]


def outputs_of(flow: Flow, array: Array) -> int:
    """Outputs that fit one crossbar side by side."""
    return array.columns // flow.columns


def buffer_columns(flow: Flow, array: Array) -> int:
    """Buffer columns that the outputs of one crossbar take."""
    return outputs_of(flow, array) * buffer_places(flow) * (2 if flow.pairs else 1)


def buffer_places(flow: Flow) -> int:
    """Buffer columns of one output: distinct weights of pairs of buffered input slice and weight slice."""
    return len(_places(flow, [_driven(flow, op) for op in flow.ops if isinstance(op, Buffer)]))


def _places(flow: Flow, slices: Iterable[Bits]) -> set[int]:
    shifts = [sum(flow.slices[:j]) for j in range(len(flow.slices))]
    return {lo + shift for lo, _ in slices for shift in shifts}
