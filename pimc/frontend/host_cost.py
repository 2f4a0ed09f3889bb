"""How many operations the host does in a call: a named assumption, operator by operator, for one image.

An operation is an addition, a multiplication, a comparison or a table look-up. What only renames bytes costs nothing,
what moves them one operation an element; functions such as exp are counted as four.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import onnx

from pimc.frontend.source import attributes
from pimc.ir.graph import Graph
from pimc.ir.ops import HostCall

__all__ = ["count_operations", "operations_of"]

FREE = frozenset(["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape", "Constant", "Dropout", "Size"])
FUNCTION = 4
PER_ELEMENT: Mapping[str, int] = {
    **dict.fromkeys(["Exp", "Log", "Sigmoid", "Tanh", "Erf", "Sqrt", "Pow", "Sin", "Cos", "Reciprocal"], FUNCTION),
    **dict.fromkeys(["Softplus", "Elu", "Selu", "Celu", "Gelu", "Mish", "HardSwish", "Swish"], FUNCTION + 2),
    **dict.fromkeys(["Softmax", "LogSoftmax"], FUNCTION + 3),  # maximum, difference, exp, sum, division
    **dict.fromkeys(["LayerNormalization", "InstanceNormalization", "LpNormalization"], FUNCTION + 4),
    **dict.fromkeys(["QuantizeLinear", "DequantizeLinear"], 1),
    "BatchNormalization": 2,
    "Resize": 8,
}
"""Operations for an element of the result; one where an operator is not named."""


def count_operations(graph: Graph) -> None:
    """Note in every host call of a graph how many operations it does, in place."""
    for op in list(graph.of(HostCall)):
        model = onnx.load_model_from_string(graph.constants[op.model].tobytes())
        graph.update(replace(op, operations=operations_of(model)))


def operations_of(model: onnx.ModelProto) -> int:
    """Return the operations of a model for one image; what has no shape counts as one element."""
    work = onnx.ModelProto()
    work.CopyFrom(model)
    for value in work.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.dim_value:
                dim.dim_value = 1
    for value in work.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(work, data_prop=True).graph
    except Exception:  # operators onnx does not know: onnxruntime runs them all the same
        graph = work.graph
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in _typed(graph)}
    shapes |= {t.name: list(t.dims) for t in graph.initializer}
    return sum(_cost(node, shapes) for node in graph.node)


def _typed(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    return [*graph.input, *graph.value_info, *graph.output]


def _cost(node: onnx.NodeProto, shapes: Mapping[str, list[int]]) -> int:
    if node.op_type in FREE:
        return 0
    made = math.prod(shapes.get(node.output[0], [1]))
    read = [shapes.get(name, [1]) for name in node.input if name]
    if node.op_type in ("Conv", "ConvTranspose") and len(read) > 1:
        return 2 * made * math.prod(read[1][1:])
    if node.op_type in ("Gemm", "MatMul") and read[0]:
        return 2 * made * read[0][-1]
    if node.op_type.endswith("Pool") and not node.op_type.startswith("Global"):
        return made * int(math.prod(attributes(node).get("kernel_shape", [1])))
    if node.op_type.startswith(("Global", "Reduce", "Arg", "TopK", "NonMax")):
        return max([made, *(math.prod(shape) for shape in read)])
    return made * PER_ELEMENT.get(node.op_type, 1)
