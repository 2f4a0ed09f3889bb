"""How values are written in assembly: each style prints a value and reads it back from tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimc_isa.errors import ProgramError, shown

__all__ = [
    "BOOL",
    "CORNERS",
    "FLOAT",
    "INT",
    "INTS",
    "NAME",
    "PLACE",
    "RANGE",
    "SCALE",
    "SHAPE",
    "TEXT",
    "Style",
    "Token",
    "WrongValue",
    "dims",
    "float_text",
    "quoted",
    "unquoted",
    "whole",
]

_DIGITS = 18
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True)
class Token:
    """A word of the text: terminal of the grammar, text, and column (from 0)."""

    kind: str
    text: str
    column: int


class WrongValue(Exception):  # noqa: N818  (never leaves the assembler)
    """A value of the wrong form: says what was expected."""


@dataclass(frozen=True)
class Style:
    """One way to write a value; ``read`` gets one token, or several where the value is a list with commas."""

    show: Callable[[Any], str]
    read: Callable[[Sequence[Token]], Any]


def quoted(name: str) -> str:
    """A name as it stands, or in quotes where it has other characters."""
    return name if _PLAIN.fullmatch(name) else _text(name)


def unquoted(text: str) -> str:
    """The name behind a NAME or STRING token; ValueError if it is no text."""
    name = str(json.loads(text)) if text.startswith('"') else str(text)
    if not name.isascii():
        name.encode()  # lone surrogates are no text
    return name


def whole(text: str) -> int:
    """A whole number; WrongValue if it has more digits than any number of a program."""
    if len(text) > _DIGITS:
        raise WrongValue(f"a whole number of at most {_DIGITS} digits")
    return int(text)


def _text(value: str) -> str:
    """In quotes; what a terminal would act on is escaped, as JSON does it."""
    text = json.dumps(value, ensure_ascii=False)
    return text if shown(text) == text else "".join(c if shown(c) == c else json.dumps(c)[1:-1] for c in text)


def _one(tokens: Sequence[Token], kinds: tuple[str, ...], what: str) -> str:
    if len(tokens) != 1 or tokens[0].kind not in kinds:
        raise WrongValue(what)
    return tokens[0].text


def _read_name(tokens: Sequence[Token]) -> str:
    return _string(_one(tokens, ("NAME", "STRING"), "a name"))


def _read_text(tokens: Sequence[Token]) -> str:
    """Numbers do as well: isa=1.0."""
    return _string(_one(tokens, ("NAME", "STRING", "INT", "FLOAT"), 'a "text"'))


def _string(text: str) -> str:
    try:
        return unquoted(text)
    except ValueError:
        raise WrongValue("a string in the form of JSON") from None


def _read_place(tokens: Sequence[Token]) -> str:
    text = _one(tokens, ("NAME", "STRING", "PLACE"), "a buffer, or $NAME for an input or output of the program")
    return "$" + _string(text[1:]) if text.startswith("$") else _string(text)


def _show_place(place: str) -> str:
    return "$" + quoted(place[1:]) if place.startswith("$") else quoted(place)


def _read_int(tokens: Sequence[Token]) -> int:
    return whole(_one(tokens, ("INT",), "a whole number"))


def _read_float(tokens: Sequence[Token]) -> float:
    return _number(_one(tokens, ("INT", "FLOAT", "NAME"), "a number"))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise WrongValue("a number") from None
    if not np.isfinite(value):
        raise WrongValue("a finite number")
    return value


def _read_bool(tokens: Sequence[Token]) -> bool:
    text = _one(tokens, ("NAME",), "true or false")
    if text not in ("true", "false"):
        raise WrongValue("true or false")
    return text == "true"


def dims(count: int) -> Style:
    """``count`` sizes: 28x56x64."""
    what = "sizes like " + "x".join(["28", "56", "64"][:count])

    def read(tokens: Sequence[Token]) -> tuple[int, ...]:
        sizes = tuple(whole(n) for n in _one(tokens, ("DIMS",), what).split("x"))
        if len(sizes) != count:
            raise WrongValue(what)
        return sizes

    return Style(_join("x"), read)


def _read_shape(tokens: Sequence[Token]) -> tuple[int, ...]:
    inner = _one(tokens, ("SHAPE",), "a shape like [3x224x224]")[1:-1]
    return tuple(whole(n) for n in inner.split("x")) if inner else ()


def _read_range(tokens: Sequence[Token]) -> tuple[int, ...]:
    return tuple(whole(n) for n in _one(tokens, ("RANGE",), "a range like 0:64").split(":"))


def _read_ints(tokens: Sequence[Token]) -> tuple[int, ...]:
    if [token.text for token in tokens] == ["none"]:
        return ()
    return tuple(_read_int([token]) for token in tokens)


def _read_corners(tokens: Sequence[Token]) -> tuple[int, ...]:
    if len(tokens) != 4:
        raise WrongValue("four numbers: top,left,bottom,right")
    return _read_ints(tokens)


def _read_scale(tokens: Sequence[Token]) -> tuple[float, int]:
    if len(tokens) != 2:
        raise WrongValue("a scale and a zero point, like 0.05,128")
    with np.errstate(over="ignore"):
        return float(np.float32(_read_float(tokens[:1]))), _read_int(tokens[1:])


def _show_scale(pair: tuple[float, int]) -> str:
    with np.errstate(over="ignore"):
        exact = np.float32(pair[0])
    if float(exact) != pair[0]:
        raise ProgramError(f"the scale {pair[0]!r} is not a float32 value: round it with numpy.float32 first")
    return f"{float_text(exact)},{pair[1]}"


def float_text(value: np.floating[Any]) -> str:
    """The shortest decimal that reads back as this value (read as float64, then rounded to its type)."""
    short = str(value)
    return short if type(value)(float(short)) == value else repr(float(value))


def _join(separator: str) -> Callable[[Sequence[int]], str]:
    return lambda numbers: separator.join(map(str, numbers))


NAME = Style(quoted, _read_name)
TEXT = Style(_text, _read_text)
PLACE = Style(_show_place, _read_place)
INT = Style(str, _read_int)
FLOAT = Style(lambda x: repr(float(x)), _read_float)
BOOL = Style(lambda x: "true" if x else "false", _read_bool)
SHAPE = Style(lambda shape: f"[{_join('x')(shape)}]", _read_shape)
RANGE = Style(_join(":"), _read_range)
INTS = Style(lambda numbers: _join(",")(numbers) or "none", _read_ints)
CORNERS = Style(_join(","), _read_corners)
SCALE = Style(_show_scale, _read_scale)
