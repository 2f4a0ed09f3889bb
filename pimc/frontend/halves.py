"""Models in half precision (float16, bfloat16) as models in single precision, which the quantiser and the host take."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from pimc.frontend.admit.graphs import all_graphs

__all__ = ["widen"]

HALVES = frozenset({onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})


def widen(model: onnx.ModelProto) -> bool:
    """Make every half-precision tensor a float32 one, in place; returns whether there was any.

    Inputs and outputs become float32 too: float16 arrays are taken all the same.
    """
    changed = False
    for graph in all_graphs(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            kind = value.type.tensor_type
            if kind.elem_type in HALVES:
                kind.elem_type = onnx.TensorProto.FLOAT
                changed = True
        for tensor in graph.initializer:
            changed |= _widen_tensor(tensor)
        for node in graph.node:
            changed |= _widen_node(node)
    return changed


def _widen_tensor(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type not in HALVES:
        return False
    array = numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return True


def _widen_node(node: onnx.NodeProto) -> bool:
    """Constants in attributes, and the type that a Cast or its like makes."""
    changed = False
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            changed |= _widen_tensor(attribute.t)
        elif attribute.name in ("to", "dtype", "output_dtype") and attribute.i in HALVES:
            attribute.i = onnx.TensorProto.FLOAT
            changed = True
    return changed
