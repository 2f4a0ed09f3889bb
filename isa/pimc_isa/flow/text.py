"""The text form of flows (.flow files)."""

from __future__ import annotations

import re
from pathlib import Path

from pimc_isa.errors import FlowError
from pimc_isa.flow.flow import Flow
from pimc_isa.flow.microops import parse_flow_lines, print_flow_lines

__all__ = ["load_flow", "parse_flow", "print_flow"]

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
