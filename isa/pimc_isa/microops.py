"""Micro-operations of flows, declared once: what each occupies, takes and makes; text form and arguments follow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pimc_isa.errors import FlowError

__all__ = ["OPS", "MicroOp", "OpSpec", "arguments", "parse_flow_lines", "print_flow_lines"]


@dataclass(frozen=True)
class OpSpec:
    """How a micro-op is declared: the ``resource`` it occupies for ``steps`` steps, its arguments, what it does.

    ``takes`` is the latch it reads; it holds what an earlier step put there. ``makes`` is the latch it writes at the
    end of its step. ``args`` is a regular expression for the arguments joined by blanks; ``usage`` shows them.
    """

    resource: str
    takes: str
    makes: str
    doc: str
    usage: str = ""
    args: str = ""
    steps: int = 1


_CONVERT = r"(unsigned|signed) ([1-9]\d*)(?: step=([1-9]\d*))?"
_SHIFT = r"<<(\d+)"

OPS: Mapping[str, OpSpec] = {
    "load": OpSpec("memory", "", "inputs", "copy the position's inputs from the tile's memory to the input registers"),
    "drive": OpSpec(
        "dac", "inputs", "", "put bits LO..HI-1 of every input onto the word lines", "LO:HI", r"(\d+):(\d+)"
    ),
    "read": OpSpec("array", "", "samples", "sample the column sums of what is driven in the same step"),
    "convert": OpSpec(
        "converter",
        "samples",
        "codes",
        "convert every sample: round to STEP, clip to BITS bits",
        "unsigned|signed BITS [step=STEP]",
        _CONVERT,
    ),
    "accumulate": OpSpec(
        "shift-adder",
        "codes",
        "sums",
        "add codes, shifted by N and by their weight slice, to the partial sums",
        "<<N",
        _SHIFT,
    ),
    "sum-inputs": OpSpec(
        "input-adder",
        "codes",
        "input sums",
        "add the unit columns' codes, shifted by N, to the sums of inputs",
        "<<N",
        _SHIFT,
    ),
    "merge": OpSpec("tile-adder", "sums", "totals", "add the partial sums of all row blocks in the tile"),
    "correct": OpSpec("corrector", "input sums", "", "add centre x sum of inputs to every partial sum as it is merged"),
    "activate": OpSpec(
        "function-unit", "totals", "results", "pass the activation unit (requantisation is an instruction)"
    ),
    "store": OpSpec("memory", "totals|results", "", "write the position's sums to the tile's memory"),
}


@dataclass(frozen=True)
class MicroOp:
    """One micro-operation: the step (counted from 0) it starts at, its name, and its arguments in text form."""

    step: int
    op: str
    args: tuple[str, ...] = ()

    def text(self) -> str:
        """``@STEP OP ARG ...``, which ``parse_flow_lines`` reads back."""
        return " ".join((f"@{self.step}", self.op, *self.args))


_LINE = re.compile(r"@(\d+)\s+(\S+)((?:\s+\S+)*)\s*")


def parse_flow_lines(lines: Iterable[str]) -> tuple[MicroOp, ...]:
    """Micro-ops from lines ``@STEP OP ARG ...``; ``;`` starts a comment, blank lines are skipped. Raises FlowError."""
    ops = []
    for line in lines:
        text = line.split(";")[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise FlowError(f"not a micro-op: '{text}'\nwrite '@STEP OP ARGUMENTS', for example '@1 drive 0:1'")
        op = MicroOp(int(match[1]), match[2], tuple(match[3].split()))
        arguments(op, "")
        ops.append(op)
    return tuple(ops)


def print_flow_lines(ops: Iterable[MicroOp]) -> list[str]:
    """One line for each micro-op."""
    return [op.text() for op in ops]


def arguments(op: MicroOp, where: str) -> tuple[str, ...]:
    """The argument values of a micro-op (optional ones empty), by its declaration."""
    spec = OPS.get(op.op)
    if spec is None:
        raise FlowError(f"{where}no micro-op is called '{op.op}'\nuse one of: {', '.join(OPS)}")
    match = re.fullmatch(spec.args, " ".join(op.args))
    if match is None:
        raise FlowError(f"{where}'{op.text()}' has wrong arguments\nwrite '@{op.step} {op.op} {spec.usage}'".rstrip())
    return tuple(value or "" for value in match.groups())
