"""Windows over a tensor: the shape they give, and what they see."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.ir.ops.base import InferError
from pimc_isa.operands import Window

__all__ = ["padded", "patches", "positions"]

Array = npt.NDArray[Any]


def positions(window: Window, size: tuple[int, int]) -> tuple[int, int]:
    """Window positions along rows and columns (ONNX Conv: floor rule). Raises InferError where none fits."""
    top, left, bottom, right = window.pads
    rows, columns = (
        (n + pad - (kernel - 1) * dilation - 1) // stride + 1
        for n, pad, kernel, dilation, stride in zip(
            size, (top + bottom, left + right), window.kernel, window.dilation, window.stride, strict=True
        )
    )
    if rows < 1 or columns < 1:
        raise InferError(f"window {window.kernel} does not fit a {size[0]}x{size[1]} input with pads {window.pads}")
    return rows, columns


def padded(x: Array, window: Window) -> Array:
    """``x`` [images, rows, columns, channels] with the window's padding."""
    top, left, bottom, right = window.pads
    edges = ((0, 0), (top, bottom), (left, right), (0, 0))
    return np.pad(x, edges, constant_values=window.pad_value) if any(window.pads) else x


def patches(x: Array, window: Window, shape: tuple[int, int, int]) -> Array:
    """Window contents: images x rows x columns x taps x channels, for a result of ``shape``."""
    whole = padded(x, window)
    taps = [
        whole[:, ky :: window.stride[0], kx :: window.stride[1]][:, : shape[0], : shape[1]]
        for ky in range(0, window.kernel[0] * window.dilation[0], window.dilation[0])
        for kx in range(0, window.kernel[1] * window.dilation[1], window.dilation[1])
    ]
    return np.stack(taps, axis=3)
