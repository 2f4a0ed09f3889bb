"""A flow file judged by itself: every error with its file and line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pimc_isa.errors import FlowError
from pimc_isa.flow.check import check_flow
from pimc_isa.flow.flow import Flow
from pimc_isa.flow.forms import NormalForm
from pimc_isa.flow.microops import MicroOp, parse_flow_lines
from pimc_isa.flow.text import parse_flow

if TYPE_CHECKING:
    from pimc_isa.machine import Machine

__all__ = ["judge_flow_file"]


def judge_flow_file(path: str | Path, machine: Machine) -> tuple[Flow, NormalForm]:
    """Read a ``.flow`` file and judge whether a machine can run it; returns it and what it computes.

    Raises FlowError, whose message begins with the file and the line, and OSError.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    lines = {n: line.split(";")[0].strip() for n, line in enumerate(text.splitlines(), 1)}
    written = [n for n, line in lines.items() if line]
    for n in written[1:]:
        _placed(f"{path}:{n}", lambda n=n: parse_flow_lines([lines[n]]))
    flow = _placed(f"{path}:{written[0] if written else 1}", lambda: parse_flow(text))
    try:
        return flow, check_flow(flow, machine)
    except FlowError as error:
        at = [n for n, op in zip(written[1:], flow.ops, strict=True) if op == error.op]
        where = f"{path}:{at[0]}" if isinstance(error.op, MicroOp) and at else f"{path}"
        raise FlowError(f"{where}: {error}", error.op) from None


def _placed(where: str, read: object) -> Flow:
    """What ``read`` gives; its error begins with the place."""
    assert callable(read)
    try:
        return read()  # type: ignore[no-any-return]
    except FlowError as error:
        raise FlowError(f"{where}: {error}") from None
