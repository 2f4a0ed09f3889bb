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
from pimc_isa.forms import Block, Conversion, NormalForm
from pimc_isa.hazards import check_latches, check_limits, check_resources
from pimc_isa.meaning import MAX_BITS, normal_form
from pimc_isa.microops import OPS, MicroOp, OpSpec, arguments, parse_flow_lines, print_flow_lines

if TYPE_CHECKING:
    from pimc_isa.machine import Machine

__all__ = [
    "MAX_BITS",
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
    def pairs(self) -> bool:
        """Whether reads sample differences of two columns (W+ and W-)."""
        return any(op.op == "read" and op.args == ("pairs",) for op in self.ops)

    @property
    def bipolar(self) -> bool:
        """Whether reads want two columns (W+ and W-) for each slice, so that weights must be bipolar."""
        return self.pairs or any(op.op == "read" and op.args == ("sides",) for op in self.ops)

    @property
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
        check_latches(flow, op, machine)
    ends = max(op.end for op in flow.ops)
    if ends != flow.latency:
        raise FlowError(f"flow {flow.name}: the last micro-op ends after {ends} steps\nwrite latency={ends}")
    return form
