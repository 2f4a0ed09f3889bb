"""Attributes and weights of convolutions and pools: numbers that kernels divide by, allocate by, or trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from pimc.frontend.admit.graphs import label
from pimc.frontend.errors import FrontendError
from pimc.frontend.source import attributes

__all__ = ["admit_operators"]

Shapes = Mapping[str, Sequence[int]]

_WEIGHTS = {"Conv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3}
_BIAS = {"Conv": 2, "ConvTranspose": 2, "QLinearConv": 8}
_POOLS = ("MaxPool", "AveragePool", "LpPool", "QLinearAveragePool")
_LEAST = {"strides": 1, "dilations": 1, "kernel_shape": 1, "pads": 0, "output_padding": 0}
_LARGEST = 1 << 20
_AUTO_PAD = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "")


def admit_operators(graph: onnx.GraphProto, shapes: Shapes, where: str) -> None:
    """Raise FrontendError for windows and weights that cannot be; ``shapes`` are those that are known."""
    for node in graph.node:
        if node.op_type in _WEIGHTS or node.op_type in _POOLS:
            reason = _window(node) or _weights(node, shapes)
            if reason:
                raise FrontendError(f"{where}: {label(node)}: {reason}.")


def _window(node: onnx.NodeProto) -> str:
    given = attributes(node)
    for name, least in _LEAST.items():
        values = given.get(name, ())
        if not isinstance(values, list | tuple) or any(not isinstance(v, int) for v in values):
            return f"{name} is no list of whole numbers"
        if any(not least <= v <= _LARGEST for v in values):
            return f"{name} {list(values)[:8]} must be between {least} and {_LARGEST:,}"
    if node.op_type in _POOLS and not given.get("kernel_shape"):
        return "it has no kernel_shape"
    if given.get("auto_pad", "NOTSET") not in _AUTO_PAD:
        return f"auto_pad {str(given['auto_pad'])[:40]!r} is none of {', '.join(filter(None, _AUTO_PAD))}"
    group = given.get("group", 1)
    return "" if isinstance(group, int) and group >= 1 else f"group {group} must be 1 or more"


def _weights(node: onnx.NodeProto, shapes: Shapes) -> str:
    """Why weights do not fit; '' if they do, or if too little is known."""
    if node.op_type not in _WEIGHTS or node.op_type == "ConvTranspose":
        return ""
    place = _WEIGHTS[node.op_type]
    dims = shapes.get(node.input[place]) if place < len(node.input) else None
    if dims is None:
        return ""
    given = attributes(node)
    group, kernel = int(given.get("group", 1)), given.get("kernel_shape")
    if len(dims) < 3 or 0 in dims:
        return f"weights of shape {list(dims)}; needed are outputs x inputs x rows x columns, none zero"
    if dims[0] % group:
        return f"{dims[0]} outputs do not divide by group {group}"
    if kernel and list(kernel) != list(dims[2:]):
        return f"kernel_shape {list(kernel)} differs from that of the weights, {list(dims[2:])}"
    channels = shapes.get(node.input[0], ())
    if len(channels) > 1 and channels[1] > 0 and channels[1] != dims[1] * group:
        return f"weights {list(dims)} in {group} groups read {dims[1] * group} channels, its input has {channels[1]}"
    bias = shapes.get(node.input[_BIAS[node.op_type]]) if len(node.input) > _BIAS.get(node.op_type, 99) else None
    if bias is not None and list(bias) != [dims[0]]:
        return f"a bias of shape {list(bias)} for {dims[0]} outputs"
    return ""
