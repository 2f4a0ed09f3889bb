"""Size of a float ONNX network: parameters and multiply-accumulates, counted from the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pimc_isa.errors import PimcError

if TYPE_CHECKING:
    import onnx

__all__ = ["UnknownShapeError", "macs", "parameters", "with_input_shape"]

LEARNED = {
    "Conv": slice(1, 3),
    "ConvTranspose": slice(1, 3),
    "Gemm": slice(1, 3),
    "MatMul": slice(0, 2),
    "BatchNormalization": slice(1, 3),
}
"""Inputs that training learns, by op type: not the running statistics of a normalisation."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class UnknownShapeError(PimcError):
    """A network whose multiply-accumulates cannot be counted because a size is left open."""


def parameters(model: onnx.ModelProto) -> int:
    """Count the learned numbers: weights and biases of layers, scale and shift of normalisations."""
    sizes = {name: math.prod(dims) for name, dims in _constants(model.graph).items()}
    learned = {name for node in model.graph.node for name in node.input[LEARNED.get(node.op_type, slice(0))]}
    return sum(sizes[name] for name in learned if name in sizes)


def macs(model: onnx.ModelProto) -> int:
    """Count the multiply-accumulates of Conv, ConvTranspose, Gemm and MatMul by stored weights.

    Raises UnknownShapeError where shape inference leaves a size open; `with_input_shape` fixes the input.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    typed = (*inferred.value_info, *inferred.output)
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in typed}
    weights = _constants(inferred)
    return sum(_node_macs(node, shapes, weights) for node in inferred.node if node.op_type in WEIGHTED)


def _constants(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Return the shape of every stored tensor: initialisers and the values of Constant nodes."""
    stored = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]
    return stored | {node.output[0]: list(node.attribute[0].t.dims) for node in nodes}


def _node_macs(node: onnx.NodeProto, shapes: dict[str, list[int]], weights: dict[str, list[int]]) -> int:
    outputs = shapes.get(node.output[0], [])
    if not all(outputs) or not outputs:
        raise UnknownShapeError(f"{node.op_type} {node.name!r}: output shape {outputs} is not fully known.")
    if node.input[1] not in weights:
        return 0
    if node.op_type == "Conv":
        return math.prod(outputs) * math.prod(weights[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        return math.prod(shapes[node.input[0]]) * math.prod(weights[node.input[1]][1:])
    return math.prod(outputs) * math.prod(weights[node.input[1]]) // outputs[-1]


def with_input_shape(model: onnx.ModelProto, shape: Sequence[int]) -> onnx.ModelProto:
    """Return a copy whose first input has exactly `shape`; recorded shapes of other tensors are dropped."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    dimensions = fixed.graph.input[0].type.tensor_type.shape
    dimensions.ClearField("dim")
    for size in shape:
        dimensions.dim.add().dim_value = size
    del fixed.graph.value_info[:]
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    return fixed
