"""Result types of ops, computed from their inputs and constants only: the verifier's independent opinion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pimc.ir.ops import Add, AvgPool, Concat, Conv, Gap, Lut, MaxPool, Mul, Op, Relay, TensorType

__all__ = ["InferError", "infer", "infer_type"]

Array = np.ndarray
Shape = tuple[int, int, int]


class InferError(ValueError):
    """Inputs that the op cannot take."""


def infer_type(op: Op, inputs: Sequence[TensorType], constants: Mapping[str, Array]) -> TensorType | None:
    """Return the type of ``op``'s result; ``None`` where it cannot be inferred (host calls). Raises InferError."""
    shapes = [t.shape for t in inputs]
    for t in inputs:
        if t.dtype != "u8":
            raise InferError(f"reads {t.dtype}, ops of this level read u8")
    shape = infer(op, shapes, constants)
    return None if shape is None else TensorType("u8", shape)


def infer(op: Op, shapes: Sequence[Shape], constants: Mapping[str, Array]) -> Shape | None:
    """As `infer_type`, for shapes alone."""
    match op:
        case Conv():
            return _conv(op, _single(shapes), constants)
        case MaxPool() | AvgPool():
            rows, columns, channels = _single(shapes)
            return (*_windows(op, (rows, columns)), channels)
        case Gap():
            return (1, 1, _single(shapes)[2])
        case Lut() | Relay():
            return _single(shapes)
        case Add() | Mul():
            return _broadcast(*_pair(shapes))
        case Concat():
            return _concat(shapes)
    return None


def _single(shapes: Sequence[Shape]) -> Shape:
    if len(shapes) != 1:
        raise InferError(f"takes one input, has {len(shapes)}")
    return shapes[0]


def _pair(shapes: Sequence[Shape]) -> tuple[Shape, Shape]:
    if len(shapes) != 2:
        raise InferError(f"takes two inputs, has {len(shapes)}")
    return shapes[0], shapes[1]


def _broadcast(a: Shape, b: Shape) -> Shape:
    """Equal shapes, or a second operand of one row and column (a value per channel), or of one element."""
    if b not in (a, (1, 1, a[2]), (1, 1, 1)):
        raise InferError(f"operands {a} and {b} do not match: the second must be equal, or one row and column")
    return a


def _concat(shapes: Sequence[Shape]) -> Shape:
    if not shapes:
        raise InferError("has no inputs")
    if len({s[:2] for s in shapes}) != 1:
        raise InferError(f"inputs differ in rows or columns: {', '.join(map(str, shapes))}")
    return (*shapes[0][:2], sum(s[2] for s in shapes))


def _windows(op: Conv | MaxPool | AvgPool, size: tuple[int, int]) -> tuple[int, int]:
    """Window positions along rows and columns (ONNX Conv: floor rule)."""
    top, left, bottom, right = op.pads
    rows, columns = (
        (n + pad - (kernel - 1) * dilation - 1) // stride + 1
        for n, pad, kernel, dilation, stride in zip(
            size, (top + bottom, left + right), op.kernel, op.dilation, op.stride, strict=True
        )
    )
    if rows < 1 or columns < 1:
        raise InferError(f"window {op.kernel} does not fit a {size[0]}x{size[1]} input with pads {op.pads}")
    return rows, columns


def _conv(op: Conv, shape: Shape, constants: Mapping[str, Array]) -> Shape:
    weights = constants[op.weights]
    if weights.ndim != 4:
        raise InferError(f"weights @{op.weights} have {weights.ndim} axes, not O, kh, kw, I/groups")
    outputs, kh, kw, depth = weights.shape
    if (kh, kw) != tuple(op.kernel):
        raise InferError(f"kernel {op.kernel} against weights of {kh}x{kw}")
    if depth * op.groups != shape[2] or outputs % op.groups:
        raise InferError(f"weights {weights.shape} in {op.groups} groups do not fit {shape[2]} input channels")
    return (*_windows(op, shape[:2]), outputs)
