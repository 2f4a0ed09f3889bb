"""Windows in plain numbers where onnx and onnxruntime do not agree on ``ceil_mode`` and ``auto_pad``.

onnx's shape inference counts windows of ``ceil_mode`` that onnxruntime's kernels leave out (those that would start in
the padding behind the map), and onnxruntime's QLinearConv takes no ``auto_pad`` with dilation.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

from pimc.frontend.admit.sizes import skeleton
from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.window import Sliding, sliding
from pimc.frontend.source import attributes

__all__ = ["explicit_windows", "shapes_of"]

_POOLS = frozenset({"MaxPool", "AveragePool", "QLinearAveragePool"})
_WINDOWS = _POOLS | {"Conv", "QLinearConv"}
_REPLACED = frozenset({"ceil_mode", "auto_pad", "pads"})


def explicit_windows(model: onnx.ModelProto) -> bool:
    """Write such windows of a model out, in place, input shapes being known; returns whether anything changed."""
    seen: set[str] = set()
    changed = False
    while True:
        implicit = [n for n in model.graph.node if n.output[0] not in seen and _is_implicit(n)]
        if not implicit:
            return changed
        shapes = shapes_of(model)
        for node in implicit:
            seen.add(node.output[0])
            expected = shapes.get(node.output[0], [])[2:]
            if _write_out(node, shapes.get(node.input[0], []), _kernel(node, shapes), expected):
                changed = True
                break  # shapes behind it were inferred wrongly


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes of all tensors for one image, 0 for what is not known; weights are not copied."""
    graph = onnx.shape_inference.infer_shapes(skeleton(model), data_prop=True).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def _is_implicit(node: onnx.NodeProto) -> bool:
    if node.op_type not in _WINDOWS:
        return False
    given = attributes(node)
    if node.op_type in _POOLS and given.get("ceil_mode", 0):
        return not given.get("count_include_pad", 0)
    return _is_same(given) and any(d != 1 for d in given.get("dilations", ()))


def _is_same(given: dict[str, Any]) -> bool:
    return given.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")


def _kernel(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> tuple[int, ...]:
    given = attributes(node)
    if "kernel_shape" in given:
        return tuple(given["kernel_shape"])
    weights = shapes.get(node.input[3 if node.op_type == "QLinearConv" else 1], [])
    return tuple(weights[2:])


def _write_out(node: onnx.NodeProto, shape: list[int], kernel: tuple[int, ...], expected: list[int]) -> bool:
    """Give a node explicit padding unless its result has the expected size anyway; whether it did."""
    given = attributes(node)
    if len(shape) != 4 or not all(shape[2:]):
        return False
    try:
        window = sliding(given, kernel, shape[2], shape[3])
    except NotOnChipError:
        return False
    if not _is_allowed(node, window) or (list(window.size) == expected and not _is_same(given)):
        return False
    kept = [a for a in node.attribute if a.name not in _REPLACED]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("pads", list(window.pads))])
    return True


def _is_allowed(node: onnx.NodeProto, window: Sliding) -> bool:
    """Onnxruntime's pools take no padding as wide as the kernel."""
    return node.op_type not in _POOLS or all(p < window.kernel[n % 2] for n, p in enumerate(window.pads))
