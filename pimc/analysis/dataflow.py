"""Analog dataflows and their precisions: what happens between input register and partial sum.

The parameters are those of Neural-PIM's section 3:

* A (ISAAC): every column sum of every input slice is converted, codes are added in digital;
* B (CASCADE): column sums are written to analog buffer cells, and buffer columns are converted once at the end;
* C (Neural-PIM): column sums are added in analog, over weight slices and input slices, and converted once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log2

from pimc_isa.errors import FlowError
from pimc_isa.machine import Machine

__all__ = ["ENCODINGS", "KINDS", "Dataflow", "lossless", "on_machine"]

KINDS = ("A", "B", "C")
#: Columns hold codes as they are, codes flipped where their sum is large, or W+ and W-: pairs whose difference is read,
#: or sides that are converted on their own.
ENCODINGS = ("plain", "flipped", "pairs", "sides")


@dataclass(frozen=True)
class Dataflow:
    """A dataflow and its precisions, in bits: inputs P_I, weights P_W, cells P_R, DACs P_D, outputs P_O.

    A weight is cut into slices as wide as its cells, an input into slices as wide as the DACs, low bits first; or as
    ``weight_slicing`` and ``input_slicing`` say: widths, high bits first as papers write them ((4, 2, 2) is 4-2-2).

    ``encoding`` is one of `ENCODINGS`. ``converter_bits`` and ``buffer_bits`` (cells of B) default to what the paper's
    equations ask for, buffer cells at most what the machine has. ``ranged``: the end code of a conversion stands for a
    full scale that each layer chooses. ``summed_columns``: so many low buffer columns of B are added by their weight in
    front of one conversion, rounded to what its bits can hold; the others are converted one by one. ``count_inputs``:
    sums of inputs (for the centre of codes) are counted in digital instead of converted from a unit column.
    ``centred``: pairs of columns hold weights without their mean, too, which is corrected with the sum of inputs.
    """

    kind: str
    input_bits: int = 8
    weight_bits: int = 8
    cell_bits: int = 1
    dac_bits: int = 1
    output_bits: int = 8
    encoding: str = "flipped"
    converter_bits: int | None = None
    buffer_bits: int | None = None
    ranged: bool = False
    summed_columns: int = 1
    count_inputs: bool = True
    centred: bool = False
    weight_slicing: tuple[int, ...] = ()
    input_slicing: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be. Raises FlowError."""
        if self.kind not in KINDS or self.encoding not in ENCODINGS:
            raise FlowError(f"dataflow {self.kind!r} with {self.encoding!r} columns does not exist\nuse A, B or C")
        if self.kind != "A" and self.encoding == "sides":
            raise FlowError(f"dataflow {self.kind} adds before it converts\nuse pairs of columns instead of sides")
        bits = (self.input_bits, self.weight_bits, self.cell_bits, self.dac_bits, self.output_bits, self.summed_columns)
        if min(bits) < 1:
            raise FlowError(f"dataflow {self.kind}: every precision must be at least 1 bit, not {bits}")
        self._judge("weights", self.weight_slicing, self.weight_bits)
        self._judge("inputs", self.input_slicing, self.input_bits)

    def _judge(self, what: str, slicing: tuple[int, ...], bits: int) -> None:
        if slicing and (min(slicing) < 1 or sum(slicing) != bits):
            widths = "-".join(map(str, slicing))
            remedy = "write the widths of the slices, high bits first, as (4, 2, 2)"
            raise FlowError(f"dataflow {self.kind}: slices {widths} do not make up {what} of {bits} bits\n{remedy}")

    @property
    def input_slices(self) -> tuple[tuple[int, int], ...]:
        """Bit ranges [lo, hi) of an input, low bits first: C_I of them."""
        widths = self.input_slicing[::-1] or _cut(self.input_bits, self.dac_bits)
        return tuple((sum(widths[:n]), sum(widths[: n + 1])) for n in range(len(widths)))

    @property
    def slices(self) -> tuple[int, ...]:
        """Widths of the slices of a weight, low bits first: C_W of them."""
        return self.weight_slicing[::-1] or _cut(self.weight_bits, self.cell_bits)

    @property
    def widest(self) -> tuple[int, int]:
        """Bits that a cell holds and that a DAC drives, at most."""
        return max(self.weight_slicing, default=self.cell_bits), max(self.input_slicing, default=self.dac_bits)

    @property
    def bipolar(self) -> bool:
        """Whether an output has two columns for each slice."""
        return self.encoding in ("pairs", "sides")

    @property
    def corrected(self) -> bool:
        """Whether codes have a centre, and the sum of inputs times it is added."""
        return self.centred or not self.bipolar

    @property
    def places(self) -> tuple[int, ...]:
        """Weights of the buffer columns of one output, once for each pair of slices that has it."""
        starts = [sum(self.slices[:j]) for j in range(len(self.slices))]
        return tuple(sorted(lo + start for lo, _ in self.input_slices for start in starts))

    def column_top(self, rows: int) -> int:
        """The largest sum of one column."""
        cell, driven = self.widest
        top = rows * ((1 << cell) - 1) * ((1 << driven) - 1)
        return top // 2 if self.encoding == "flipped" else top

    def column_bits(self, rows: int) -> int:
        """Bits of one column sum (equation 2); flipped columns save one, differences of pairs need a sign."""
        cell, driven = self.widest
        bits = cell + driven - (0 if cell > 1 and driven > 1 else 1) + ceil(log2(rows))
        return bits + {"plain": 0, "flipped": -1, "pairs": 1, "sides": 0}[self.encoding]

    def conversion_bits(self, rows: int) -> int:
        """Bits of the converters: given, or by equations 2 (A), 3 (B), 4 (C)."""
        if self.converter_bits is not None:
            return self.converter_bits
        if self.kind == "C":
            return self.output_bits
        return self.column_bits(rows) + (ceil(log2(len(self.input_slices))) if self.kind == "B" else 0)


def _cut(bits: int, width: int) -> tuple[int, ...]:
    """Slices of one width, low bits first; the last may be narrower."""
    return tuple(min(width, bits - at) for at in range(0, bits, width))


def on_machine(dataflow: Dataflow, machine: Machine) -> Dataflow:
    """The dataflow with the precisions of a machine: cells, DACs, converters, summing amplifiers."""
    array = machine.array
    return replace(
        dataflow,
        cell_bits=array.cell_bits,
        dac_bits=array.dac_bits,
        converter_bits=array.converter_bits,
        summed_columns=array.summed_columns if dataflow.kind == "B" else 1,
    )


def lossless(dataflow: Dataflow, rows: int) -> Dataflow:
    """The same dataflow with converters and buffer cells wide enough for every input and weight: nothing is lost.

    A: the converters of equation 2 are. B: cells of a whole column sum, converters of the largest buffer column, with a
    sign. C: converters of the largest dot product of ``rows`` rows, with a sign.
    """
    top = dataflow.column_top(rows)
    if dataflow.kind == "A":
        return replace(dataflow, converter_bits=None, ranged=False)
    if dataflow.kind == "B":
        deepest = min(len(dataflow.input_slices), len(dataflow.slices))
        bits = (deepest * top).bit_length() + 1
        return replace(dataflow, buffer_bits=top.bit_length(), converter_bits=bits, ranged=False, summed_columns=1)
    most = rows * ((1 << dataflow.input_bits) - 1) * ((1 << dataflow.weight_bits) - 1)
    return replace(dataflow, converter_bits=most.bit_length() + 1, ranged=False)
