"""Small tensors written out in assembly: ``.tensor q.bias i32[2] = 5,-3``."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from pimc_isa.binary.tensorfile import CODES, DTYPES
from pimc_isa.text.values import Style, Token, WrongValue, float_text

__all__ = ["TENSOR_DTYPE", "TENSOR_VALUES", "make_tensor"]

_DIGITS = 40
_DIMENSIONS = 8
_SHORT = {name: code.lower() for name, code in CODES.items()}
_LONG = {code.lower(): name for code, name in DTYPES.items()}


def _read_dtype(tokens: Sequence[Token]) -> str:
    name = tokens[0].text if len(tokens) == 1 else ""
    if name not in _LONG:
        raise WrongValue(f"an element type: {', '.join(_LONG)}")
    return _LONG[name]


def _show_values(array: np.ndarray) -> str:
    flat = array.reshape(-1)
    numbers = map(float_text, flat) if array.dtype.kind == "f" else map(str, map(int, flat))
    return ",".join(numbers) or "none"


def _read_values(tokens: Sequence[Token]) -> list[float | int] | str:
    """The numbers; many of them stay a text until their type is known."""
    try:
        if [token.kind for token in tokens] == ["NUMBERS"]:
            return tokens[0].text
        if [token.text for token in tokens] == ["none"]:
            return []
        return [_whole(t.text) if t.kind == "INT" else float(t.text) for t in tokens]
    except ValueError:
        raise WrongValue("numbers with commas between them") from None


TENSOR_DTYPE = Style(lambda name: _SHORT[name], _read_dtype)
TENSOR_VALUES = Style(_show_values, _read_values)


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError
    return int(text)


def make_tensor(dtype: str, shape: tuple[int, ...], values: list[float] | str) -> np.ndarray:
    """The array; WrongValue if the numbers are too many, too few or do not fit the type."""
    size, kind = prod(shape), np.dtype(dtype)
    if len(shape) > _DIMENSIONS:
        raise WrongValue(f"at most {_DIMENSIONS} dimensions")
    count = values.count(",") + 1 if isinstance(values, str) else len(values)
    if count != size:
        raise WrongValue(f"{size} numbers for {list(shape)} (there are {count})")
    try:
        with np.errstate(over="ignore"):
            return _array(kind, values).reshape(shape)
    except (OverflowError, ValueError):
        raise WrongValue(f"numbers that fit {dtype}") from None


def _array(kind: np.dtype[Any], values: list[float] | str) -> np.ndarray:
    if isinstance(values, str) and kind.kind != "b" and (kind.kind == "f" or kind.itemsize < 8):
        return _many(values, kind)
    numbers = [_number(n) for n in values.split(",")] if isinstance(values, str) else values
    if kind.kind != "f" and not all(isinstance(value, int) for value in numbers):
        raise WrongValue(f"whole numbers for {kind.name}")
    return np.array(numbers, kind)


def _number(text: str) -> float | int:
    text = text.strip()
    return _whole(text) if text.lstrip("-").isdigit() else float(text)


def _many(text: str, kind: np.dtype[Any]) -> np.ndarray:
    """Many numbers at once, read as float64 or int64 and then rounded or checked."""
    wide = np.fromstring(text, np.float64 if kind.kind == "f" else np.int64, sep=",")
    if kind.kind != "f" and wide.size and not np.iinfo(kind).min <= wide.min() <= wide.max() <= np.iinfo(kind).max:
        raise OverflowError
    if wide.size != text.count(",") + 1:
        raise ValueError
    return wide.astype(kind)
