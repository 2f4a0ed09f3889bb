"""What a micro-operation is: its class declares all that is known of it, and registers by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, dataclass_transform

from pimc_isa.errors import FlowError
from pimc_isa.flow.fields import forms_of, pattern_of, usage_of

if TYPE_CHECKING:
    from pimc_isa.flow.adds import Addition
    from pimc_isa.flow.flow import Flow
    from pimc_isa.flow.forms import Seen
    from pimc_isa.flow.use import Use
    from pimc_isa.machine import Array, Machine

__all__ = ["OPS", "MicroOp", "micro_op", "parse_flow_lines", "print_flow_lines"]

_DIGITS = 9
_NUMBER = re.compile(r"\d+")
_STEPS = re.compile(r"steps=([1-9]\d*)")

_OPS: dict[str, type[MicroOp]] = {}
OPS: Mapping[str, type[MicroOp]] = MappingProxyType(_OPS)
"""Micro-operations by name."""


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class MicroOp:
    """Base of all micro-operations: the ``step`` (counted from 0) at which it starts, and its arguments as fields.

    Class keywords: ``op`` (its name), the ``resource`` it occupies, the latch it ``takes`` from (several with ``|``: of
    what they hold, the latest) and the latch it ``makes``: at the end of its last step, or, if it is ``gradual``, bit
    by bit from its first step on, so that what it replaces is lost at once. One that is ``divisible`` may take
    several ``steps``, where a resource is shared or slow. ``gathers``: what it makes is added to what is there: 'all'
    that one position makes, or what came 'since' the value was taken last; '' replaces it. ``noun``: what it does, in
    plural, where the resource does more than one at a time.
    """

    name: ClassVar[str]
    resource: ClassVar[str]
    takes: ClassVar[str]
    makes: ClassVar[str]
    gradual: ClassVar[bool]
    divisible: ClassVar[bool]
    gathers: ClassVar[str]
    noun: ClassVar[str]
    step: int
    steps: int = field(default=1, kw_only=True)

    def __init_subclass__(
        cls,
        *,
        op: str,
        resource: str,
        takes: str = "",
        makes: str = "",
        gradual: bool = False,
        divisible: bool = False,
        gathers: str = "",
        noun: str = "",
    ) -> None:
        """Make the subclass a frozen dataclass and register it; a name used twice is an error."""
        if not cls.__dict__.get("__doc__"):
            raise TypeError(f"micro-operation {op} has no docstring")
        if op in _OPS:
            raise TypeError(f"micro-operation {op}: the name is already taken")
        cls.name, cls.resource, cls.takes, cls.makes = op, resource, takes, makes
        cls.gradual, cls.divisible, cls.gathers, cls.noun = gradual, divisible, gathers, noun
        dataclass(frozen=True)(cls)
        _OPS[op] = cls

    # ---- text ----

    @property
    def op(self) -> str:
        """Its name."""
        return self.name

    @cached_property
    def args(self) -> tuple[str, ...]:
        """Its arguments as they are written."""
        words: list[str] = []
        for name, form in forms_of(type(self)).items():
            value = getattr(self, name)
            if value not in (None, ""):
                words += form.write(value).split()
        return (*words, f"steps={self.steps}") if self.steps > 1 else tuple(words)

    @property
    def end(self) -> int:
        """The first step after it."""
        return self.step + self.steps

    def text(self) -> str:
        """``@STEP OP ARG ...``, which ``parse_flow_lines`` reads back."""
        return " ".join((f"@{self.step}", self.name, *self.args))

    @classmethod
    def usage(cls) -> str:
        """Its arguments, as they are to be written."""
        return f"{usage_of(cls)}{' [steps=STEPS]' if cls.divisible else ''}".strip()

    # ---- what it finds, leaves and computes ----

    def taken(self, flow: Flow) -> tuple[str, ...]:
        """The latches that it takes from, each as ``takes`` names them."""
        return (self.takes,) if self.takes else ()

    def made(self) -> tuple[str, ...]:
        """The latches that it fills."""
        return (self.makes,) if self.makes else ()

    def seen(self, flow: Flow, taker: MicroOp) -> Seen:
        """What a conversion of what it makes sees. Raises FlowError."""
        raise FlowError(f"flow {flow.name}, {self.text()}: the {self.makes} cannot be converted", self)

    def adds(self, flow: Flow) -> Iterator[Addition]:
        """What it adds to the normal form. Raises FlowError."""
        yield from ()

    # ---- what the checks ask ----

    def problems(self, flow: Flow, machine: Machine) -> Iterator[tuple[str, str]]:
        """What of it this machine's parts are too small for, and the remedy."""
        yield from ()

    def powers(self) -> Iterator[int]:
        """Its bits and shifts, of which powers of two are made."""
        yield from ()

    def copies(self, flow: Flow, array: Array) -> int:
        """How many positions' values the latch that it makes holds side by side."""
        return 1

    def rate(self, array: Array) -> float | None:
        """What its resource does in a step of an array read; None: one micro-op at a time, whatever its size."""
        return None

    def work(self, flow: Flow, machine: Machine) -> int:
        """What it is for one crossbar in full use, in what ``rate`` counts."""
        return 1

    # ---- what it costs ----

    def measures(self, flow: Flow, machine: Machine) -> frozenset[str]:
        """What of data its actions depend on: `ONES` of the inputs, `FLAGS` of guarded conversions."""
        return frozenset()

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """What is booked for it, over all positions of a burst."""
        return {}


def micro_op(step: int, name: str, args: Iterable[str] = ()) -> MicroOp:
    """A micro-operation from its name and its arguments in text form. Raises FlowError."""
    words = tuple(args)
    cls = OPS.get(name)
    if cls is None:
        raise FlowError(f"no micro-op is called '{name}'\nuse one of: {', '.join(OPS)}")
    timed = _STEPS.fullmatch(words[-1]) if cls.divisible and words else None
    match = pattern_of(cls).fullmatch("".join(f" {word}" for word in (words[:-1] if timed else words)))
    if any(len(number) > _DIGITS for word in words for number in _NUMBER.findall(word)):
        match = None  # no step, bit or shift has so many digits
    if match is None:
        shown = " ".join((f"@{step}", name, *words))
        raise FlowError(f"'{shown}' has wrong arguments\nwrite '@{step} {name} {cls.usage()}'".rstrip())
    values = {key: forms_of(cls)[key].read(text) for key, text in match.groupdict().items() if text is not None}
    return cls(step, **values, steps=int(timed[1]) if timed else 1)


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
        ops.append(micro_op(int(match[1]), match[2], match[3].split()))
    return tuple(ops)


def print_flow_lines(ops: Iterable[MicroOp]) -> list[str]:
    """One line for each micro-op."""
    return [op.text() for op in ops]
