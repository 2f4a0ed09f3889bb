"""Shapes of onnxruntime's own quantised operators, which onnx's inference does not know: those of the plain ones."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

__all__ = ["with_known_shapes"]

#: The plain operator, and which inputs of the quantised one are its own.
_PLAIN: Mapping[str, tuple[str, slice]] = {
    "QLinearAdd": ("Add", slice(0, 4, 3)),
    "QLinearMul": ("Mul", slice(0, 4, 3)),
    "QLinearSigmoid": ("Identity", slice(0, 1)),
    "QLinearLeakyRelu": ("Identity", slice(0, 1)),
    "QLinearSoftmax": ("Identity", slice(0, 1)),
    "QLinearAveragePool": ("AveragePool", slice(0, 1)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", slice(0, 1)),
    "QLinearConcat": ("Concat", slice(2, None, 3)),
    "QGemm": ("Gemm", slice(0, 4, 3)),
}
#: Attributes that the plain operators do not have.
_OWN = frozenset({"channels_last", "opset"})


def with_known_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for shape inference alone, with plain operators; the model itself where it has no others."""
    if not any(node.op_type in _PLAIN for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type not in _PLAIN or any(a.name == "channels_last" and a.i for a in node.attribute):
            continue
        kind, chosen = _PLAIN[node.op_type]
        inputs, kept = list(node.input)[chosen], [a for a in node.attribute if a.name not in _OWN]
        if kind == "Identity":
            kept = []
        del node.input[:], node.attribute[:]
        node.op_type, node.domain = kind, ""
        node.input.extend(inputs)
        node.attribute.extend(kept)
    return copy
