"""Arguments of micro-operations: how each kind is written, read, and shown in usage lines."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = [
    "Columns",
    "Form",
    "Rounding",
    "bit_range",
    "bits",
    "choice",
    "columns",
    "forms_of",
    "pattern_of",
    "rounding",
    "scaling",
    "shift",
    "step",
    "usage_of",
]

_KEY = "form"


@dataclass(frozen=True)
class Form:
    """How one argument is written: a regular expression without groups, what it stands for, and back."""

    usage: str
    pattern: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    optional: bool = False


@dataclass(frozen=True)
class Rounding:
    """Codes stand for multiples of ``step``, or for parts of the group's full scale (``ranged``)."""

    step: int = 1
    ranged: bool = False


@dataclass(frozen=True)
class Columns:
    """Buffer columns ``lo`` to ``hi`` - 1, each converted, or ``summed``: added by their weight first."""

    lo: int
    hi: int
    summed: bool = False


def _field(form: Form, **default: Any) -> Any:
    return dataclasses.field(metadata={_KEY: form}, **default)


def bit_range() -> Any:
    """LO:HI, input bits LO to HI - 1."""
    return _field(Form("LO:HI", r"\d+:\d+", _pair, lambda v: f"{v[0]}:{v[1]}"))


def shift() -> Any:
    """<<N, times 2**N."""
    return _field(Form("<<N", r"<<\d+", lambda text: int(text[2:]), lambda v: f"<<{v}"))


def scaling() -> Any:
    """>>N or <<N: the power of two that what is held is divided by; below 0 it is multiplied."""

    def read(text: str) -> int:
        return int(text[2:]) if text[0] == ">" else -int(text[2:])

    return _field(Form(">>N|<<N", r"(?:>>|<<)\d+", read, lambda v: f">>{v}" if v >= 0 else f"<<{-v}"))


def bits() -> Any:
    """A number of bits."""
    return _field(Form("BITS", r"[1-9]\d*", int, str))


def step() -> Any:
    """step=STEP, the least difference of two codes; 1 if it is left out."""
    return _field(Form("step=STEP", r"step=[1-9]\d*", _value, lambda v: f"step={v}", True), default=None)


def choice(*words: str, optional: bool = False) -> Any:
    """One of some words; '' if it is left out."""
    form = Form("|".join(words), "|".join(words), str, str, optional)
    return _field(form, default="") if optional else _field(form)


def rounding() -> Any:
    """step=STEP or ranged; None if both are left out."""

    def read(text: str) -> Rounding:
        return Rounding(1, True) if text == "ranged" else Rounding(_value(text))

    def write(value: Rounding) -> str:
        return "ranged" if value.ranged else f"step={value.step}"

    return _field(Form("step=STEP|ranged", r"step=[1-9]\d*|ranged", read, write, True), default=None)


def columns() -> Any:
    """columns=LO:HI, and summed; None if they are left out."""

    def read(text: str) -> Columns:
        span, _, summed = text.removeprefix("columns=").partition(" ")
        return Columns(*_pair(span), bool(summed))

    def write(value: Columns) -> str:
        return f"columns={value.lo}:{value.hi}" + (" summed" if value.summed else "")

    pattern = r"columns=\d+:\d+(?: summed)?"
    return _field(Form("columns=LO:HI [summed]", pattern, read, write, True), default=None)


def _pair(text: str) -> tuple[int, int]:
    low, high = text.split(":")
    return int(low), int(high)


def _value(text: str) -> int:
    return int(text.partition("=")[2])


def forms_of(cls: type) -> dict[str, Form]:
    """The arguments of a micro-operation's class, in the order in which they are written."""
    return _forms_of(cls)


def pattern_of(cls: type) -> re.Pattern[str]:
    """What the arguments together, each behind a blank, look like."""
    return _pattern_of(cls)


@cache
def _forms_of(cls: Any) -> dict[str, Form]:
    return {f.name: f.metadata[_KEY] for f in dataclasses.fields(cls) if _KEY in f.metadata}


@cache
def _pattern_of(cls: Any) -> re.Pattern[str]:
    parts = []
    for name, form in forms_of(cls).items():
        part = f" (?P<{name}>{form.pattern})"
        parts.append(f"(?:{part})?" if form.optional else part)
    return re.compile("".join(parts))


def usage_of(cls: type) -> str:
    """The arguments as they are shown where one is wrong."""
    return " ".join(f"[{form.usage}]" if form.optional else form.usage for form in forms_of(cls).values())
