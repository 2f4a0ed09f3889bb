"""Works around gaps of onnxruntime's QOperator quantiser, before and after it runs; the function stays the same.

* It quantises a global average only behind a quantised operator, but a windowed one always: global averages go in as
  windows over the whole map and come out as QLinearGlobalAveragePool.
* It drops a Relu or Clip whose input other nodes read too, though their ranges differ, and a Clip whose limits leave
  out 0, which no range of an 8-bit tensor does: such a one is kept in float.
* It leaves MaxPool and movements of data behind float operators in float: quantisation moves in front of them.
* It gives the result of a movement a range of its own: it keeps that of what is moved, so that nothing is computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from pimc.frontend.admit.quantised import with_known_shapes
from pimc.frontend.moving import is_filled, is_movement
from pimc.frontend.source import DEQUANTISE, QUANTISE, Source, attributes

__all__ = ["after_quantiser", "before_quantiser", "kept_in_float", "out_of_range", "widen_averages"]

STEPS = 32
"""Of a global average's result, at most so many to the change that one step of one element makes."""

FACTORS = (2.0**-32, 256.0)
"""Of input scale over result scale and count, what onnxruntime's global average takes."""

_KEPT = frozenset({"MaxPool", "Dropout", "Identity"})
"""Operators other than movements that give back values they were given."""


def before_quantiser(model: onnx.ModelProto) -> None:
    """Turn global averages into windowed ones, in place; shapes must be inferred."""
    shapes = _shapes(model)
    for node in model.graph.node:
        shape = shapes.get(node.input[0], []) if node.input else []
        if node.op_type == "GlobalAveragePool" and len(shape) == 4 and all(shape[2:]):
            node.op_type = "AveragePool"
            node.attribute.append(helper.make_attribute("kernel_shape", shape[2:]))


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def kept_in_float(model: onnx.ModelProto) -> list[str]:
    """Names of nodes that the quantiser must leave alone.

    Element-wise nodes before the first layer (normalisation of pixels) stay on the host; so do limits on a tensor that
    is also read without them, until they become tables.
    """
    source = Source(model)
    behind: set[str] = set()
    kept = []
    for node in source.nodes:
        if node.op_type in ("Conv", "Gemm", "MatMul") or any(name in behind for name in node.input):
            behind.update(node.output)
        elif node.op_type in ("Add", "Mul"):
            kept.append(node.name)
        if node.op_type == "AveragePool" and not _is_quantisable(node):
            kept.append(node.name)
        limits = node.op_type in ("Relu", "Clip")
        if limits and (not source.private(node.input[0]) or _leaves_out_zero(source, node)):
            kept.append(node.name)
    return kept


def _is_quantisable(node: onnx.NodeProto) -> bool:
    """Whether onnxruntime has the 8-bit form of an average: not with dilation."""
    return all(d == 1 for d in attributes(node).get("dilations", ()))


def _leaves_out_zero(source: Source, node: onnx.NodeProto) -> bool:
    """Whether a Clip has limits on one side of 0: ranges of 8-bit tensors hold 0, so they do not limit as it does."""
    values = [source.constant(name) for name in node.input[1:]] if node.op_type == "Clip" else []
    lo, hi = (np.inf if v is None else float(v.reshape(-1)[0]) for v in [*values, None, None][:2])
    return (np.isfinite(lo) and lo > 0) or (np.isfinite(hi) and hi < 0)


def after_quantiser(model: onnx.ModelProto, shapes: onnx.ModelProto) -> None:
    """Undo `before_quantiser` and move quantisation up, in place. ``shapes`` is the float model with shapes."""
    known = _shapes(shapes)
    for node in model.graph.node:
        if node.op_type in ("QLinearAveragePool", "AveragePool") and _whole_map(node, known):
            _make_global(node)
    _keep_scales(model)
    while _move_one(model):
        pass


def _whole_map(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> bool:
    shape = shapes.get(node.input[0].removesuffix("_quantized"), [])
    given = attributes(node)
    return list(given["kernel_shape"]) == shape[2:] and not any(given.get("pads", ()))


def _make_global(node: onnx.NodeProto) -> None:
    quantised = node.op_type == "QLinearAveragePool"
    node.op_type = "QLinearGlobalAveragePool" if quantised else "GlobalAveragePool"
    del node.attribute[:]
    if quantised:
        node.attribute.append(helper.make_attribute("channels_last", 0))


def widen_averages(model: onnx.ModelProto, ranges: Any) -> None:
    """Give averages over whole maps that hardly vary a range which onnxruntime's kernel can work with, in place.

    ``ranges`` are the quantiser's, by tensor.
    """
    source = Source(model)
    shapes = _shapes(model)
    for node in source.nodes:
        x, y = (node.input[0], node.output[0]) if node.input else ("", "")
        shape = shapes.get(x, [])
        whole = node.op_type == "AveragePool" and list(attributes(node)["kernel_shape"]) == shape[2:]
        if not whole or x not in ranges or y not in ranges:
            continue
        widest, origin = _width(ranges[x]), source.maker(x)
        while origin is not None and is_movement(origin) and origin.input[0] in ranges:
            widest = max(widest, _width(ranges[origin.input[0]]))
            origin = source.maker(origin.input[0])
        least = widest / (shape[2] * shape[3] * STEPS)
        if _width(ranges[y]) < least:
            lowest = np.minimum(ranges[y].lowest, np.float32(0))
            ranges[y].highest = np.asarray(lowest + np.float32(least), np.float32)


def _width(found: Any) -> float:
    """How far a range reaches that is made to hold 0."""
    low, high = (float(np.asarray(end).reshape(-1)[0]) for end in found.range_value)
    return max(0.0, high) - min(0.0, low)


def out_of_range(model: onnx.ModelProto) -> set[str]:
    """Names (as before the quantiser) of global averages whose factor onnxruntime's kernel refuses."""
    source = Source(model)
    shapes = _shapes(onnx.shape_inference.infer_shapes(with_known_shapes(model), data_prop=True))
    found = set()
    for node in source.nodes:
        if node.op_type != "QLinearGlobalAveragePool":
            continue
        x, y, shape = source.constant(node.input[1]), source.constant(node.input[3]), shapes.get(node.input[0], [])
        if x is None or y is None or len(shape) != 4:
            continue
        factor = float(x.reshape(-1)[0]) / (float(y.reshape(-1)[0]) * shape[2] * shape[3])
        if not FACTORS[0] <= factor < FACTORS[1]:
            found.add(node.name.removesuffix("_quant"))
    return found


def _gives_back(node: onnx.NodeProto) -> bool:
    """Whether a node's results are values of its first input, so that quantising before it does no harm."""
    return node.op_type in _KEPT or _rearranges(node)


def _rearranges(node: onnx.NodeProto) -> bool:
    """Whether a node moves elements of one tensor and adds none."""
    return is_movement(node) and node.op_type != "Concat" and not is_filled(node)


def _keep_scales(model: onnx.ModelProto) -> None:
    """Give results of movements between DequantizeLinear and QuantizeLinear the scale of what is moved, in place."""
    source = Source(model)
    parameters = {t.name: t for t in model.graph.initializer}
    for node in source.nodes:
        before = source.maker(node.input[0]) if node.op_type == QUANTISE else None
        if before is None or not _rearranges(before):
            continue
        origin = source.maker(before.input[0])
        if origin is None or origin.op_type != DEQUANTISE:
            continue
        for old, new in zip(node.input[1:], origin.input[1:], strict=False):
            if old in parameters and new in parameters:
                name = parameters[old].name
                parameters[old].CopyFrom(parameters[new])
                parameters[old].name = name


def _move_one(model: onnx.ModelProto) -> bool:
    """Move one QuantizeLinear from behind a movable float node to its front; whether there was one."""
    source = Source(model)
    for number, node in enumerate(source.nodes):
        before = source.maker(node.input[0]) if node.op_type == QUANTISE else None
        if before is None or not _gives_back(before) or not source.private(node.input[0]):
            continue
        if not _behind_dequantise(source, before.input[0]):
            continue
        moved = f"{before.input[0]}_before_{before.output[0]}_quantized"
        up = helper.make_node(QUANTISE, [before.input[0], *node.input[1:]], [moved], node.name)
        down = onnx.NodeProto()
        down.CopyFrom(before)
        down.input[0], down.output[0] = moved, node.output[0]
        place = source.producer[node.input[0]]
        nodes = [n for i, n in enumerate(source.nodes) if i != number]
        nodes[place : place + 1] = [up, down]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        return True
    return False


def _behind_dequantise(source: Source, tensor: str) -> bool:
    """Whether a tensor comes from 8-bit tensors, not from the model's inputs in float."""
    pending = [tensor]
    while pending:
        node = source.maker(pending.pop())
        if node is None:
            continue
        if node.op_type == "DequantizeLinear":
            return True
        pending.extend(node.input)
    return False
