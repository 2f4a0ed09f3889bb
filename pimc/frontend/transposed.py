"""Writes ConvTranspose as a convolution and movements of data, so that its weights can stand on crossbars.

A transposed convolution with stride s makes s outputs from each position, with different taps each: its phases. All
phases are outputs of one ordinary convolution; reshapes and a transpose put them side by side, a slice cuts the edges.
In a quantised model the 8-bit weights are arranged so, and the movements come behind the quantisation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from pimc.frontend.read import opset_of
from pimc.frontend.rewrites import Rewriter
from pimc.frontend.source import DEQUANTISE, QUANTISE, Array, Source, attributes, input_at
from pimc.frontend.splits import slice_node

__all__ = ["untranspose"]

Nodes = list[onnx.NodeProto]


@dataclass(frozen=True)
class Axis:
    """One axis: length, kernel, stride, dilation, cut in front, and length of the result."""

    length: int
    kernel: int
    stride: int
    dilation: int
    front: int
    result: int

    @property
    def reach(self) -> int:
        """Positions before its own that one needs."""
        return (self.kernel - 1) * self.dilation // self.stride

    @property
    def first(self) -> int:
        """The first position that is computed."""
        return min(self.front // self.stride, self.reach)

    @property
    def last(self) -> int:
        """The last one."""
        return max((self.front + self.result - 1) // self.stride, self.length - 1)

    @property
    def pads(self) -> tuple[int, int]:
        """Padding of the convolution."""
        return self.reach - self.first, self.last - (self.length - 1)

    @property
    def start(self) -> int:
        """Where the result begins among the phases side by side."""
        return self.front - self.first * self.stride

    def tap(self, phase: int, place: int) -> int | None:
        """The tap of the transposed kernel that a phase has at a place of the convolution's; None: none."""
        number, rest = divmod((self.reach - place) * self.stride + phase, self.dilation)
        return number if not rest and 0 <= number < self.kernel else None


@dataclass(frozen=True)
class Layer:
    """A transposed convolution: its axes, groups, and outputs of a group."""

    axes: tuple[Axis, ...]
    groups: int
    outputs: int


def untranspose(model: onnx.ModelProto) -> bool:
    """Rewrite every ConvTranspose whose weights are constant, in place; returns whether there was one."""
    if not any(node.op_type == "ConvTranspose" for node in model.graph.node):
        return False
    r = Rewriter(model)
    nodes: Nodes = []
    behind: dict[str, Nodes] = {}  # movements by the 8-bit tensor they make
    for node in r.source.nodes:
        if node.op_type == "ConvTranspose":
            nodes += _rewritten(r, node, behind)
            continue
        nodes.append(node)
        if node.op_type == QUANTISE and node.output[0] in behind:
            nodes += behind.pop(node.output[0])
            node.output[0] = f"{node.output[0]}.phases"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(r.constants)
    return bool(r.constants)


def _rewritten(r: Rewriter, node: onnx.NodeProto, behind: dict[str, Nodes]) -> Nodes:
    """The convolution, with its movements unless they come ``behind`` a QuantizeLinear."""
    shape, w = r.shapes.get(node.input[0], []), _weights(r.source, node)
    if w is None or len(shape) < 3 or not all(shape[1:]) or w.ndim != len(shape) or shape[1] != w.shape[0]:
        return [node]
    axes = _axes(attributes(node), shape[2:], w.shape[2:])
    groups = int(attributes(node).get("group", 1))
    if axes is None or shape[1] % groups:
        return [node]
    layer = Layer(tuple(axes), groups, w.shape[1])
    names, nodes = _constants(r, node, layer)
    result = node.output[0]
    quantise = _quantise_behind(r.source, result)
    made = f"{result}.phases" if quantise is None else result
    pads = [a.pads[0] for a in axes] + [a.pads[1] for a in axes]
    nodes.append(
        helper.make_node(
            "Conv",
            [node.input[0], *names],
            [made],
            node.name,
            kernel_shape=[a.reach + 1 for a in axes],
            pads=pads,
            group=groups,
        )
    )
    if quantise is None:
        return [*nodes, *_side_by_side(r, made, result, layer)]
    tensor = quantise.output[0]
    behind[tensor] = _side_by_side(r, f"{tensor}.phases", tensor, layer)
    return nodes


def _weights(source: Source, node: onnx.NodeProto) -> Array | None:
    """The kernel [inputs, outputs/group, ...], in 8 bits where it is quantised."""
    maker = source.maker(node.input[1])
    if maker is not None and maker.op_type == DEQUANTISE:
        return source.constant(maker.input[0])
    return source.constant(node.input[1])


def _axes(given: dict[str, Any], lengths: Sequence[int], kernels: Sequence[int]) -> list[Axis] | None:
    """Cuts and lengths of the result (ONNX ConvTranspose, output_shape and auto_pad)."""
    rank = len(lengths)
    strides, dilations = given.get("strides", [1] * rank), given.get("dilations", [1] * rank)
    extra, pads = given.get("output_padding", [0] * rank), given.get("pads", [0] * 2 * rank)
    mode, wanted = given.get("auto_pad", "NOTSET"), given.get("output_shape")
    if mode in ("SAME_UPPER", "SAME_LOWER") and wanted is None:
        wanted = [n * s for n, s in zip(lengths, strides, strict=True)]
    axes = []
    for n, (length, kernel) in enumerate(zip(lengths, kernels, strict=True)):
        whole = strides[n] * (length - 1) + extra[n] + (kernel - 1) * dilations[n] + 1
        front, result = (0, whole) if mode == "VALID" else (pads[n], whole - pads[n] - pads[n + rank])
        if wanted is not None:
            cut = max(0, whole - wanted[-rank:][n])
            front, result = (cut // 2 if mode == "SAME_UPPER" else cut - cut // 2), wanted[-rank:][n]
        if result < 1 or front < 0:
            return None
        axes.append(Axis(length, kernel, strides[n], dilations[n], front, result))
    return axes


def _phases(w: Array, layer: Layer, fill: Array) -> Array:
    """The convolution's kernel [groups x phases x outputs, inputs/group, ...]; ``fill`` where there is no tap."""
    groups, outputs, inputs = layer.groups, layer.outputs, w.shape[0] // layer.groups
    strides, kernel = [a.stride for a in layer.axes], [a.reach + 1 for a in layer.axes]
    made = np.empty((groups, *strides, outputs, inputs, *kernel), w.dtype)
    ones = [1] * len(strides)
    made[...] = fill if fill.size == 1 else fill.reshape(groups, *ones, outputs, 1, *ones)
    grouped = w.reshape(groups, inputs, outputs, *w.shape[2:]).swapaxes(1, 2)
    for phase in itertools.product(*map(range, strides)):
        for place in itertools.product(*map(range, kernel)):
            taps = [a.tap(p, j) for a, p, j in zip(layer.axes, phase, place, strict=True)]
            found = [tap for tap in taps if tap is not None]
            if len(found) == len(taps):
                there: Any = (slice(None), *phase, slice(None), slice(None), *place)
                here: Any = (..., *found)
                made[there] = grouped[here]
    return made.reshape(groups * math.prod(strides) * outputs, inputs, *kernel)


def _spread(values: Array, layer: Layer) -> Array:
    """One value for each output, repeated for its phases in the convolution's order."""
    phases = math.prod(a.stride for a in layer.axes)
    return np.repeat(values.reshape(layer.groups, 1, -1), phases, axis=1).reshape(-1)


def _constants(r: Rewriter, node: onnx.NodeProto, layer: Layer) -> tuple[list[str], Nodes]:
    """Names of the convolution's kernel and bias, and the nodes that dequantise them where they are quantised."""
    names: list[str] = []
    nodes: Nodes = []
    for place, what in ((1, "kernel"), (2, "bias")):
        name = input_at(node, place)
        maker = r.source.maker(name) if name else None
        stem = f"{node.output[0]}.{what}"
        if maker is not None and maker.op_type == DEQUANTISE:
            nodes.append(_dequantise(r, maker, stem, layer, is_kernel=place == 1))
            names.append(stem)
        elif name:
            value = np.asarray(r.source.constant(name))
            arranged = _phases(value, layer, np.zeros((), value.dtype)) if place == 1 else _spread(value, layer)
            names.append(r.constant(stem, arranged))
    return names, nodes


def _dequantise(r: Rewriter, maker: onnx.NodeProto, stem: str, layer: Layer, *, is_kernel: bool) -> onnx.NodeProto:
    """A DequantizeLinear on the arranged constant."""
    value, (scale, zero) = np.asarray(r.source.constant(maker.input[0])), r.source.parameters(maker)
    assert scale is not None
    assert zero is not None
    arranged = _phases(value, layer, zero) if is_kernel else _spread(value, layer)
    parts = [
        r.constant(f"{stem}.stored", arranged),
        r.constant(f"{stem}.scale", scale if scale.size == 1 else _spread(scale, layer)),
        r.constant(f"{stem}.zero", zero if zero.size == 1 else _spread(zero, layer)),
    ]
    return helper.make_node(DEQUANTISE, parts, [stem], f"{stem}.dequantise", axis=0)


def _quantise_behind(source: Source, tensor: str) -> onnx.NodeProto | None:
    """The QuantizeLinear that alone reads a tensor, over a Relu or Clip; None if anybody else does."""
    while source.private(tensor):
        (node,) = source.readers(tensor)
        if node.op_type == QUANTISE:
            return node
        if node.op_type not in ("Relu", "Clip"):
            return None
        tensor = node.output[0]
    return None


def _side_by_side(r: Rewriter, source: str, result: str, layer: Layer) -> Nodes:
    """Phases as neighbours, then the part that is wanted."""
    axes, rank = layer.axes, len(layer.axes)
    counts = [a.last - a.first + 1 for a in axes]
    apart = [0, layer.groups, *(a.stride for a in axes), layer.outputs, *counts]
    order = [0, 1, 2 + rank, *(place for n in range(rank) for place in (3 + rank + n, 2 + n))]
    whole = [0, layer.groups * layer.outputs, *(c * a.stride for c, a in zip(counts, axes, strict=True))]
    names = [f"{result}.apart", f"{result}.turned", f"{result}.whole"]
    starts, ends = [a.start for a in axes], [a.start + a.result for a in axes]
    limits = starts, ends, [2 + n for n in range(rank)]
    cut, constants = slice_node(opset_of(r.source.model), names[2], result, f"{result}.cut", limits)
    r.constants += constants
    return [
        helper.make_node("Reshape", [source, _shape(r, names[0], apart)], [names[0]], names[0]),
        helper.make_node("Transpose", [names[0]], [names[1]], names[1], perm=order),
        helper.make_node("Reshape", [names[1], _shape(r, names[2], whole)], [names[2]], names[2]),
        cut,
    ]


def _shape(r: Rewriter, stem: str, dims: Sequence[int]) -> str:
    return r.constant(f"{stem}.shape", np.array(dims, np.int64))
