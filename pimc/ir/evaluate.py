"""Computes every value of a graph on given inputs: slow, plain numpy, and what passes must not change.

Arithmetic comes from `pimc_isa.numerics`; host calls run in onnxruntime. Images are [batch, rows, columns, channels].
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pimc.ir.graph import Graph
from pimc.ir.ops import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Gap,
    HostCall,
    Lut,
    MaxPool,
    Mul,
    Op,
    Relay,
    window_of,
)
from pimc_isa import numerics
from pimc_isa.define import Meaning
from pimc_isa.operands import Elementwise, RowExpr, Slab, View, Window

__all__ = ["Sums", "evaluate", "from_onnx", "to_onnx"]

Array = npt.NDArray[Any]
#: i32 sums of (x - zero point) * w of a convolution: images x rows x columns x outputs, from its input and weights.
Sums = Callable[[Conv, Array, Array], Array]


def evaluate(
    graph: Graph, inputs: Mapping[str, Array], keep: bool = True, sums: Sums | None = None
) -> dict[str, Array]:
    """Return values by name (u8, images x rows x columns x channels) and model outputs by ``$NAME``.

    ``inputs`` are the model's inputs with a batch axis. With ``keep=False`` values are dropped after their last use and
    only outputs are returned. ``sums`` computes convolutions in another way, or watches them.
    """
    values: dict[str, Array] = {}
    left = {op.name: len(graph.users(op.name)) for op in graph.ops()}
    for op in graph.ops():
        if isinstance(op, HostCall):
            values |= _host(graph, op, values, inputs)
        else:
            values[op.name] = _value(op, [values[v] for v in op.inputs], graph.constants, sums or _convolve)
        for used in dict.fromkeys(op.inputs):
            left[used] -= 1
            if not keep and not left[used]:
                del values[used]
    return values


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


def _value(op: Op, x: list[Array], constants: Mapping[str, Array], dot: Sums) -> Array:
    match op:
        case Conv():
            sums = dot(op, x[0], constants[op.weights])
            bias = constants[op.bias].astype(np.int32)
            return numerics.requantise(sums, constants[op.multiplier], bias, op.y_zero, op.lo, op.hi)
        case Gap():
            sums = x[0].sum(axis=(1, 2), keepdims=True, dtype=np.int32)
            m, bias = constants[op.multiplier], constants[op.bias]
            return numerics.requantise(sums, m, bias, op.y_zero, op.lo, op.hi)
        case MaxPool():
            return np.asarray(_patches(x[0], window_of(op), op.shape).max(axis=3))
        case AvgPool():
            return _average(op, x[0])
        case Lut():
            return np.asarray(constants[op.table][x[0]])
        case Concat():
            return np.concatenate(x, axis=3)
        case Add():
            return numerics.qadd(x[0], x[1], _scales(op))
        case Mul():
            return numerics.qmul(x[0], x[1], _scales(op))
        case Relay():
            return x[0]
    raise TypeError(f"{op.kind} has no meaning here")


def _scales(op: Add | Mul) -> Elementwise:
    a, b, y = (op.a_scale, op.a_zero), (op.b_scale, op.b_zero), (op.y_scale, op.y_zero)
    return Elementwise(op.name, a, b, y, op.lo, op.hi, op.scalar_b, op.offset)


def _patches(x: Array, window: Window, shape: tuple[int, int, int]) -> Array:
    """Window contents: images x rows x columns x taps x channels."""
    padded = _padded(x, window)
    taps = [
        padded[:, ky :: window.stride[0], kx :: window.stride[1]][:, : shape[0], : shape[1]]
        for ky in range(0, window.kernel[0] * window.dilation[0], window.dilation[0])
        for kx in range(0, window.kernel[1] * window.dilation[1], window.dilation[1])
    ]
    return np.stack(taps, axis=3)


def _padded(x: Array, window: Window) -> Array:
    top, left, bottom, right = window.pads
    edges = ((0, 0), (top, bottom), (left, right), (0, 0))
    return np.pad(x, edges, constant_values=window.pad_value) if any(window.pads) else x


def _convolve(op: Conv, x: Array, w: Array) -> Array:
    """i32 sums of (x - zero point) * w, one tap at a time; float64 products of 8-bit numbers are exact."""
    window = window_of(op)
    rows, columns, outputs = op.shape
    centred = _padded(x, window).astype(np.float64) - op.x_zero
    groups, depth = op.groups, w.shape[3]
    taps = w.reshape(groups, outputs // groups, *w.shape[1:]).astype(np.float64)
    total = np.zeros((len(x), rows, columns, groups, outputs // groups))
    for ky in range(op.kernel[0]):
        for kx in range(op.kernel[1]):
            part = centred[:, ky * op.dilation[0] :: op.stride[0], kx * op.dilation[1] :: op.stride[1]]
            part = part[:, :rows, :columns].reshape(len(x), rows, columns, groups, depth)
            total += _product(part, taps[:, :, ky, kx])
    return total.reshape(len(x), rows, columns, outputs).astype(np.int32)


def _product(x: Array, w: Array) -> Array:
    """Products of images x rows x columns x groups x depth with groups x outputs x depth."""
    if x.shape[3] == 1:
        return np.asarray((x[:, :, :, 0] @ w[0].T)[:, :, :, None])
    if x.shape[4] == 1:
        return np.asarray(x * w[:, :, 0])
    return np.asarray(np.einsum("nhwgd,god->nhwgo", x, w, optimize=True))


class _Pooled:
    """The part of an interpreter that an averaging pool asks for."""

    def __init__(self, op: AvgPool, x: Array) -> None:
        self._op, self._x = op, x

    def patches(self, *_: object) -> Array:
        """Window contents."""
        return _patches(self._x, window_of(self._op), self._op.shape)

    def patches_count(self, *_: object) -> Array:
        """Taps of each window inside the tensor."""
        window = window_of(self._op)
        inside = _patches(
            np.ones((1, *self._x.shape[1:3], 1), np.float32),
            Window("count", window.kernel, window.stride, window.pads, window.dilation),
            self._op.shape,
        )
        return np.asarray(inside.sum(axis=3))


def _average(op: AvgPool, x: Array) -> Array:
    rule = (1.0, int(op.count_include_pad))
    x_scale, y_scale = (op.x_scale, op.x_zero), (op.y_scale, op.y_zero)
    scales = Elementwise(op.name, x_scale, rule, y_scale, op.lo, op.hi, offset=op.offset)
    pooled = cast(Meaning, _Pooled(op, x))
    return numerics.average(pooled, Slab("", RowExpr()), "", "", scales)


def _host(graph: Graph, op: HostCall, values: Mapping[str, Array], inputs: Mapping[str, Array]) -> dict[str, Array]:
    feeds = {}
    for tensor, place in op.feeds:
        if place.startswith("$"):
            feeds[tensor] = inputs[place[1:]]
        else:
            feeds[tensor] = to_onnx(values[place], _view(graph[place], tensor))
    results = _run(graph, op, feeds)
    found = {}
    for (tensor, place), result in zip(op.fetches, results, strict=True):
        found[place] = result if place.startswith("$") else from_onnx(result, _view(op, tensor), op.shape)
    return found


def _view(op: Op, tensor: str) -> View:
    return next(v for v in op.views if v.tensor == tensor)


def _run(graph: Graph, op: HostCall, feeds: Mapping[str, Array]) -> list[Array]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in json.loads(graph.meta.get("ort_config", "{}")).items():
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(graph.constants[op.model].tobytes(), options, providers=["CPUExecutionProvider"])
    names = [tensor for tensor, _ in op.fetches]
    fixed = session.get_inputs() and session.get_inputs()[0].shape[0] == 1
    images = len(next(iter(feeds.values()))) if feeds else 1
    if not fixed or images == 1:
        return list(session.run(names, dict(feeds)))
    parts = [session.run(names, {k: v[n : n + 1] for k, v in feeds.items()}) for n in range(images)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
