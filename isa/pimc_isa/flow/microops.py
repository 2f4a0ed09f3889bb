"""Micro-operations of flows, declared once: what each occupies, takes and makes; text form and arguments follow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from pimc_isa.errors import FlowError

__all__ = ["OPS", "MicroOp", "OpSpec", "arguments", "parse_flow_lines", "print_flow_lines"]


@dataclass(frozen=True)
class OpSpec:
    """How a micro-op is declared: the ``resource`` it occupies, its arguments, what it does.

    ``takes`` is the latch it reads; it holds what an earlier step put there. ``makes`` is the latch it writes: at the
    end of its last step, or, if it is ``gradual``, little by little from its first step on, so that what it replaces is
    lost at once. ``args`` is a regular expression for the arguments joined by blanks; ``usage`` shows them. An op that
    is ``divisible`` may take several steps (``steps=N``) where a resource is shared or slow.
    """

    resource: str
    takes: str
    makes: str
    doc: str
    usage: str = ""
    args: str = ""
    gradual: bool = False
    divisible: bool = False


_CONVERT = r"(unsigned|signed) ([1-9]\d*)(?: step=([1-9]\d*)| (ranged))?(?: columns=(\d+):(\d+)( summed)?)?"
_SHIFT = r"<<(\d+)"
_DIGITS = 9
_NUMBER = re.compile(r"\d+")
_STEPS = re.compile(r"steps=([1-9]\d*)")

OPS: Mapping[str, OpSpec] = {
    "load": OpSpec("memory", "", "inputs", "copy the position's inputs from the tile's memory to the input registers"),
    "drive": OpSpec(
        "dac", "inputs", "", "put bits LO..HI-1 of every input onto the word lines", "LO:HI", r"(\d+):(\d+)"
    ),
    "read": OpSpec(
        "array",
        "",
        "samples",
        "sample the column sums of what is driven in the same step; pairs: of each W+ and W- column the difference; "
        "sides: each on its own, their codes are subtracted",
        "[pairs|sides]",
        r"(pairs|sides)?",
    ),
    "fold": OpSpec(
        "folder",
        "samples",
        "held sums",
        "add all weight slices' samples and the held sum, scaled by 2**-N (or 2**N), and hold it (NNS+A); "
        "the first one of a conversion starts from zero",
        ">>N|<<N [steps=STEPS]",
        r"(>>|<<)(\d+)",
        gradual=True,
        divisible=True,
    ),
    "buffer": OpSpec(
        "buffer-writer",
        "samples",
        "buffered sums",
        "write each sample to an analog cell of BITS bits, N columns higher: cells of equal weight share a column",
        "<<N BITS [step=STEP] [steps=STEPS]",
        r"<<(\d+) ([1-9]\d*)(?: step=([1-9]\d*))?",
        gradual=True,
        divisible=True,
    ),
    "convert": OpSpec(
        "converter",
        "samples|held sums|buffered sums",
        "codes",
        "convert every sample, held sum or buffer column: round to STEP, clip to BITS bits; ranged: the end code "
        "stands for the group's full scale; columns: only these buffer columns, each, or summed: added by their weight",
        "unsigned|signed BITS [step=STEP|ranged] [columns=LO:HI [summed]] [steps=STEPS]",
        _CONVERT,
        divisible=True,
    ),
    "accumulate": OpSpec(
        "shift-adder",
        "codes",
        "sums",
        "add codes, shifted by N and by their weight slice or buffer column, to the partial sums",
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
    "count-inputs": OpSpec(
        "input-adder",
        "inputs",
        "input sums",
        "add bits LO..HI-1 of all inputs to the sums of inputs, in digital",
        "LO:HI",
        r"(\d+):(\d+)",
    ),
    "merge": OpSpec("tile-adder", "sums|codes", "totals", "add the partial sums of all row blocks in the tile"),
    "correct": OpSpec("corrector", "input sums", "", "add centre x sum of inputs to every partial sum as it is merged"),
    "scale": OpSpec(
        "multiplier", "totals", "scaled", "multiply every total of ranged codes by what one code stands for"
    ),
    "activate": OpSpec(
        "function-unit", "totals|scaled", "results", "pass the activation unit (requantisation is an instruction)"
    ),
    "store": OpSpec("memory", "totals|scaled|results", "", "write the position's sums to the tile's memory"),
}


@dataclass(frozen=True)
class MicroOp:
    """One micro-operation: the step (counted from 0) it starts at, its name, and its arguments in text form."""

    step: int
    op: str
    args: tuple[str, ...] = ()

    @cached_property
    def steps(self) -> int:
        """Steps it takes."""
        match = _STEPS.fullmatch(self.args[-1]) if self.args else None
        return int(match[1]) if match else 1

    @cached_property
    def end(self) -> int:
        """The first step after it."""
        return self.step + self.steps

    @property
    def spec(self) -> OpSpec:
        """Its declaration."""
        return OPS[self.op]

    def text(self) -> str:
        """``@STEP OP ARG ...``, which ``parse_flow_lines`` reads back."""
        return " ".join((f"@{self.step}", self.op, *self.args))


_LINE = re.compile(r"@(\d{1,9})\s+(\S+)((?:\s+\S+)*)\s*")


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
    timed = spec.divisible and bool(op.args) and _STEPS.fullmatch(op.args[-1]) is not None
    match = re.fullmatch(spec.args, " ".join(op.args[:-1] if timed else op.args))
    if any(len(number) > _DIGITS for arg in op.args for number in _NUMBER.findall(arg)):
        match = None  # no step, bit or shift has so many digits
    if match is None:
        raise FlowError(f"{where}'{op.text()}' has wrong arguments\nwrite '@{op.step} {op.op} {spec.usage}'".rstrip())
    return tuple(value or "" for value in match.groups())
