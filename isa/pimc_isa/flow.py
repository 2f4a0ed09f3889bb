"""Flows: analog micro-programs as data, their structural check, and the normal form that says what they compute.

A flow is a list of micro-ops at steps (array reads) for one window position; a new position starts every ``interval``
steps. The micro-ops are declared in ``microops``.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pimc_isa.errors import FlowError
from pimc_isa.hazards import check_latches, check_limits, check_resources, fail, latest
from pimc_isa.microops import OPS, MicroOp, OpSpec, arguments, parse_flow_lines, print_flow_lines

if TYPE_CHECKING:
    from pimc_isa.machine import Machine

__all__ = [
    "OPS",
    "Block",
    "Conversion",
    "Flow",
    "MicroOp",
    "NormalForm",
    "OpSpec",
    "check_flow",
    "flow_actions",
    "load_flow",
    "normal_form",
    "parse_flow",
    "parse_flow_lines",
    "print_flow",
    "print_flow_lines",
]


#: Bits of an input, and of a weight, that a flow may have.
MAX_BITS = 32


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
    """One conversion of a block's sum: round to multiples of ``step``, clip to ``lo``..``hi`` (in units of 1).

    Rounding is to the nearest multiple, halves up. A ``ranged`` conversion's ``lo`` and ``hi`` are codes; what a code
    stands for follows from the group (``v_max``, ``gain``).
    """

    lo: int
    hi: int
    step: int = 1
    ranged: bool = False


@dataclass(frozen=True)
class Block:
    """One block of (input slice i, weight slice j) pairs summed in analog before one conversion.

    The block's sum is ``sum 2**exponents[n] * p[pairs[n]]``; the converted value counts ``2**shift`` times. ``cell``
    is what each column sum goes through before it is added (an analog buffer cell).
    """

    pairs: tuple[tuple[int, int], ...]
    exponents: tuple[int, ...]
    shift: int
    conversion: Conversion | None
    cell: Conversion | None = None


@dataclass(frozen=True)
class NormalForm:
    """What a flow computes: input slices as bit ranges [lo, hi), weight slices as bit positions, and the blocks.

    ``unit_conversions``: how the sum of each input slice is converted (unit column); empty if the flow sums no inputs,
    and then only weights with centre 0 can use it.
    """

    input_slices: tuple[tuple[int, int], ...]
    weight_shifts: tuple[int, ...]
    blocks: tuple[Block, ...]
    unit_conversions: tuple[Conversion | None, ...] = ()


# ---- text ----

_HEADER = re.compile(
    r"\.flow\s+(?P<name>\S+)\s+input_bits=(?P<input_bits>\d+)\s+slices=(?P<slices>\d+(?:,\d+)*)"
    r"\s+step_cycles=(?P<step_cycles>\d+)\s+interval=(?P<interval>\d+)\s+latency=(?P<latency>\d+)\s*"
)


def parse_flow(text: str) -> Flow:
    """A whole flow: a ``.flow`` line with its numbers, then micro-ops. Raises FlowError."""
    lines = [line.split(";")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    match = _HEADER.fullmatch(lines[0]) if lines else None
    if match is None:
        raise FlowError(
            f"not the head of a flow: '{lines[0] if lines else ''}'\n"
            "write '.flow NAME input_bits=8 slices=2,2,2,2 step_cycles=120 interval=8 latency=14'"
        )
    slices = tuple(int(width) for width in match["slices"].split(","))
    step_cycles, interval, latency = (int(match[key]) for key in ("step_cycles", "interval", "latency"))
    ops = parse_flow_lines(lines[1:])
    return Flow(match["name"], int(match["input_bits"]), slices, step_cycles, interval, latency, ops)


def print_flow(flow: Flow) -> str:
    """The text of a flow; ``parse_flow`` gives back an equal one."""
    head = (
        f".flow {flow.name} input_bits={flow.input_bits} slices={','.join(map(str, flow.slices))}"
        f" step_cycles={flow.step_cycles} interval={flow.interval} latency={flow.latency}"
    )
    return "\n".join([head, *(f"  {line}" for line in print_flow_lines(flow.ops))]) + "\n"


def load_flow(path: str | Path) -> Flow:
    """Read a ``.flow`` file."""
    return parse_flow(Path(path).read_text(encoding="utf-8"))


def flow_actions(flow: Flow) -> Counter[str]:
    """How often one position does each micro-op, and ``driven_bits``: bits driven on each word line."""
    counts: Counter[str] = Counter(op.op for op in flow.ops)
    for op in flow.ops:
        if op.op == "drive":
            lo, hi = arguments(op, "")
            counts["driven_bits"] += int(hi) - int(lo)
    return counts


# ---- meaning ----


def _driven(flow: Flow, read: MicroOp) -> tuple[int, int]:
    """The input bits on the word lines during a read."""
    drives = [o for o in flow.ops if o.op == "drive" and o.step == read.step]
    if not drives:
        fail(flow, read, "no input bits are driven in this step", "add a drive at the same step")
    lo, hi = (int(bit) for bit in arguments(drives[0], f"flow {flow.name}: "))
    if not lo < hi <= flow.input_bits:
        fail(flow, drives[0], "these are not input bits", f"drive bits within 0:{flow.input_bits}")
    return lo, hi


def _conversion(flow: Flow, op: MicroOp) -> Conversion:
    sign, bits, step = arguments(op, f"flow {flow.name}: ")
    scale, codes = int(step or 1), 2 ** int(bits)
    if sign == "unsigned":
        return Conversion(0, (codes - 1) * scale, scale)
    return Conversion(-codes // 2 * scale, (codes // 2 - 1) * scale, scale)


def _converted(flow: Flow, op: MicroOp) -> tuple[tuple[int, int], Conversion]:
    """Which input bits an ``accumulate`` or ``sum-inputs`` adds, and how they were converted; the shift must fit."""
    convert = latest(flow, op, "codes")
    bits = _driven(flow, latest(flow, convert, "samples"))
    if int(arguments(op, f"flow {flow.name}: ")[0]) != bits[0]:
        fail(flow, op, f"the codes are of input bits {bits[0]}:{bits[1]}", f"shift them by <<{bits[0]}")
    return bits, _conversion(flow, convert)


def _refuse_gaps(flow: Flow, bits: list[tuple[int, int]], what: str) -> None:
    """Input slices must cover every input bit exactly once."""
    covered = Counter(bit for lo, hi in bits for bit in range(lo, hi))
    for bit in range(flow.input_bits):
        if covered[bit] != 1:
            raise FlowError(
                f"flow {flow.name}: {what} input bit {bit} {covered[bit]} times instead of once\n"
                "drive, read, convert and add every input bit exactly once"
            )


def _unit_conversions(flow: Flow, slices: list[tuple[int, int]]) -> tuple[Conversion, ...]:
    """How the sum of each input slice is converted, in the order of ``slices``."""
    summed = [_converted(flow, op) for op in flow.ops if op.op == "sum-inputs"]
    corrects = any(op.op == "correct" for op in flow.ops)
    if corrects != bool(summed):
        raise FlowError(f"flow {flow.name}: sum-inputs and correct need each other\nuse both or neither")
    if not summed:
        return ()
    _refuse_gaps(flow, [bits for bits, _ in summed], "sums")
    if {bits for bits, _ in summed} != set(slices):
        raise FlowError(f"flow {flow.name}: inputs are summed in other slices than dot products\nsum every conversion")
    return tuple(dict(summed)[bits] for bits in slices)


def normal_form(flow: Flow) -> NormalForm:
    """Reduce a flow to what it computes: the grid of (input slice, weight slice) pairs cut into blocks.

    Raises FlowError unless the blocks cover every input bit and weight slice exactly once with the right power of two.
    """
    if not (0 < flow.input_bits <= MAX_BITS and flow.slices and min(flow.slices) > 0 and sum(flow.slices) <= MAX_BITS):
        raise FlowError(f"flow {flow.name}: inputs and the slices of a weight must have 1 to {MAX_BITS} bits")
    for op in flow.ops:
        arguments(op, f"flow {flow.name}: ")
    added = [_converted(flow, op) for op in flow.ops if op.op == "accumulate"]
    _refuse_gaps(flow, [bits for bits, _ in added], "adds")
    units = _unit_conversions(flow, [bits for bits, _ in added])
    shifts = tuple(sum(flow.slices[:j]) for j in range(len(flow.slices)))
    blocks = tuple(
        Block(((i, j),), (0,), bits[0] + shift, conversion)
        for i, (bits, conversion) in enumerate(added)
        for j, shift in enumerate(shifts)
    )
    return NormalForm(tuple(bits for bits, _ in added), shifts, blocks, units)


# ---- legality ----


def check_flow(flow: Flow, machine: Machine) -> NormalForm:
    """Refuse a flow that this machine cannot run at its interval; otherwise return its normal form.

    Checked: arguments and limits, order of data, no latch overwritten before its use by the same or another position,
    no resource used beyond its capacity in any step (modulo the interval), stated latency. Raises FlowError.
    """
    if min(flow.interval, flow.latency, flow.step_cycles) < 1:
        raise FlowError(f"flow {flow.name}: step, interval and latency must be at least 1")
    if not any(op.op == "store" for op in flow.ops):
        raise FlowError(f"flow {flow.name}: the sums are never stored\nend with a store")
    form = normal_form(flow)
    check_limits(flow, machine)
    check_resources(flow, machine)
    for op in flow.ops:
        check_latches(flow, op)
    ends = max(op.step + OPS[op.op].steps for op in flow.ops)
    if ends != flow.latency:
        raise FlowError(f"flow {flow.name}: the last micro-op ends after {ends} steps\nwrite latency={ends}")
    return form
