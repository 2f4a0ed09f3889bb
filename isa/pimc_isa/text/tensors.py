"""Small tensors written out in assembly: ``.tensor q.bias i32[2] = 5,-3``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pimc_isa.binary.tensorfile import CODES, DTYPES
from pimc_isa.text.values import Style, Token, WrongValue, float_text

__all__ = ["TENSOR_DTYPE", "TENSOR_VALUES", "make_tensor"]

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


def _read_values(tokens: Sequence[Token]) -> list[float | int]:
    try:
        if [token.text for token in tokens] == ["none"]:
            return []
        return [int(t.text) if t.kind == "INT" else float(t.text) for t in tokens]
    except ValueError:
        raise WrongValue("numbers with commas between them") from None


TENSOR_DTYPE = Style(lambda name: _SHORT[name], _read_dtype)
TENSOR_VALUES = Style(_show_values, _read_values)


def make_tensor(dtype: str, shape: tuple[int, ...], values: list[float]) -> np.ndarray:
    """The array; WrongValue if the numbers are too many, too few or do not fit the type."""
    size = int(np.prod(shape, dtype=np.int64))
    if len(values) != size:
        raise WrongValue(f"{size} numbers for {list(shape)} (there are {len(values)})")
    if np.dtype(dtype).kind != "f" and not all(isinstance(value, int) for value in values):
        raise WrongValue(f"whole numbers for {dtype}")
    try:
        return np.array(values, dtype).reshape(shape)
    except (OverflowError, ValueError):
        raise WrongValue(f"numbers that fit {dtype}") from None
