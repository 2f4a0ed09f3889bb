"""Stored values and the ONNX tensors they hold: order of axes, and int8 stored as unsigned."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pimc_isa.operands import View

__all__ = ["from_onnx", "to_onnx"]

Array = npt.NDArray[Any]


def to_onnx(value: Array, view: View) -> Array:
    """A stored value as the ONNX tensor that ``view`` names, with its batch axis."""
    moved = value.transpose(0, 3, 1, 2) if view.order == "CHW" else value
    shaped = moved.reshape(len(value), *view.shape)
    return (shaped.astype(np.int16) - view.offset).astype(np.int8) if view.offset else shaped


def from_onnx(tensor: Array, view: View, shape: tuple[int, int, int]) -> Array:
    """The inverse of `to_onnx`: images x rows x columns x channels as stored."""
    rows, columns, channels = shape
    stored = (tensor.astype(np.int16) + view.offset).astype(np.uint8)
    if view.order == "HWC":
        return stored.reshape(-1, rows, columns, channels)
    return np.ascontiguousarray(stored.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1))
