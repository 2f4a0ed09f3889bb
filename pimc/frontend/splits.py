"""Writes Split as Slices: one form of taking a part of a tensor is enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pimc.frontend.admit.limits import MAX_ELEMENTS
from pimc.frontend.admit.sizes import skeleton
from pimc.frontend.read import opset_of
from pimc.frontend.source import attributes, input_at

__all__ = ["slice_node", "split_to_slices"]

#: From this operator set on Slice takes its limits as inputs.
INPUTS_SINCE = 10


def split_to_slices(model: onnx.ModelProto) -> bool:
    """Replace every Split whose parts are known, in place; returns whether there was one."""
    if not any(node.op_type == "Split" for node in model.graph.node):
        return False
    shapes = _shapes(model)
    constants = {t.name: t for t in model.graph.initializer}
    nodes, changed = [], False
    for node in model.graph.node:
        sizes = _sizes(node, shapes, constants) if node.op_type == "Split" else None
        if sizes is None or len(sizes) != len(node.output) or not all(0 <= n < MAX_ELEMENTS for n in sizes):
            nodes.append(node)
            continue
        nodes += _slices(model, node, sizes, len(shapes.get(node.input[0], [])))
        changed = True
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return changed


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    try:
        graph = onnx.shape_inference.infer_shapes(skeleton(model), data_prop=True).graph
    except Exception:  # said better where the model is admitted
        return {}
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.value_info)}


def _sizes(
    node: onnx.NodeProto, shapes: dict[str, list[int]], constants: dict[str, onnx.TensorProto]
) -> list[int] | None:
    """The lengths of the parts; None where they are not known."""
    given = attributes(node)
    if "split" in given:
        return [int(n) for n in given["split"]]
    name = input_at(node, 1)
    if name:
        return [int(n) for n in numpy_helper.to_array(constants[name]).reshape(-1)] if name in constants else None
    shape, axis = shapes.get(node.input[0], []), int(given.get("axis", 0))
    if not -len(shape) <= axis < len(shape) or not shape[axis]:
        return None
    whole, parts = shape[axis], len(node.output)
    each = -(-whole // parts)
    return [min(each, whole - n * each) for n in range(parts)]


def _slices(model: onnx.ModelProto, node: onnx.NodeProto, sizes: Sequence[int], rank: int) -> list[onnx.NodeProto]:
    axis = int(attributes(node).get("axis", 0))
    axis = axis % rank if rank else axis
    ends = np.cumsum(sizes)
    made = []
    for n, name in enumerate(node.output):
        if not name:
            continue
        first, last = int(ends[n]) - sizes[n], int(ends[n])
        label = f"{node.name or node.output[0]}.{n}"
        cut = slice_node(opset_of(model), node.input[0], name, label, ([first], [last], [axis]))
        made.append(cut[0])
        model.graph.initializer.extend(cut[1])
    return made


def slice_node(
    opset: int, source: str, result: str, label: str, limits: tuple[Sequence[int], Sequence[int], Sequence[int]]
) -> tuple[onnx.NodeProto, list[onnx.TensorProto]]:
    """A Slice from starts to ends of axes, and the constants it reads."""
    names = ("starts", "ends", "axes")
    if opset < INPUTS_SINCE:
        starts, ends, axes = (list(values) for values in limits)
        return helper.make_node("Slice", [source], [result], label, starts=starts, ends=ends, axes=axes), []
    constants = [
        numpy_helper.from_array(np.array(values, np.int64), f"{label}.{what}")
        for what, values in zip(names, limits, strict=True)
    ]
    return helper.make_node("Slice", [source, *(t.name for t in constants)], [result], label), constants
