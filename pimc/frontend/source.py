"""An ONNX model with indexes: who makes a tensor, who reads it, which tensors are constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from pimc_isa.numerics import F32

__all__ = ["Array", "Source", "attributes", "input_at", "quantise_linear"]

Array = npt.NDArray[Any]

QUANTISE = "QuantizeLinear"
DEQUANTISE = "DequantizeLinear"


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes of a node as Python values, strings decoded."""
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in found.items()
    }


def input_at(node: onnx.NodeProto, index: int) -> str:
    """Name of an input, '' where it is left out."""
    return node.input[index] if index < len(node.input) else ""


def along(params: Array, rank: int, axis: int) -> Array:
    """Reshape per-channel scales or zero points so that they broadcast along ``axis``."""
    if params.size == 1:
        return params.reshape(())
    shape = [1] * rank
    shape[axis] = params.size
    return params.reshape(shape)


def quantise_linear(x: Array, scale: Array, zero: Array, axis: int = 1) -> Array:
    """ONNX QuantizeLinear to 8 bits as onnxruntime does it: float32 division, round half to even, saturate."""
    limits = np.iinfo(zero.dtype)
    v = np.rint(x.astype(F32) / along(scale, x.ndim, axis)) + along(zero, x.ndim, axis).astype(F32)
    return np.asarray(np.clip(v, limits.min, limits.max)).astype(zero.dtype)


class Source:
    """A model and its indexes. Nodes are numbered in file order, which ONNX requires to be topological."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.initialisers = {t.name: t for t in model.graph.initializer}
        self.producer = {name: n for n, node in enumerate(self.nodes) for name in node.output if name}
        self.consumers: dict[str, list[int]] = {}
        for n, node in enumerate(self.nodes):
            for name in node.input:
                self.consumers.setdefault(name, []).append(n)
        self.inputs = [v for v in model.graph.input if v.name not in self.initialisers]
        self.outputs = [v.name for v in model.graph.output]
        self._constants: dict[str, Array | None] = {}

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that makes a tensor; None for inputs and initialisers."""
        number = self.producer.get(tensor)
        return None if number is None else self.nodes[number]

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return [self.nodes[n] for n in self.consumers.get(tensor, [])]

    def private(self, tensor: str) -> bool:
        """Whether exactly one node reads the tensor and it is no output of the model."""
        return len(self.consumers.get(tensor, [])) == 1 and tensor not in self.outputs

    def constant(self, tensor: str) -> Array | None:
        """The value of a tensor that depends on nothing, also through Constant, Identity and quantised weights."""
        if not tensor:
            return None
        if tensor not in self._constants:
            self._constants[tensor] = self._evaluate(tensor)
        return self._constants[tensor]

    def _evaluate(self, tensor: str) -> Array | None:
        if tensor in self.initialisers:
            return numpy_helper.to_array(self.initialisers[tensor])
        node = self.maker(tensor)
        if node is None:
            return None
        if node.op_type == "Identity":
            return self._behind_identities(node)
        if node.op_type == "Constant":
            return _constant_node(node)
        if node.op_type == QUANTISE:
            return self._quantised_weights(node)
        return None

    def _behind_identities(self, node: onnx.NodeProto) -> Array | None:
        name, maker = node.input[0], self.maker(node.input[0])
        while maker is not None and maker.op_type == "Identity" and name not in self._constants:
            name, maker = maker.input[0], self.maker(maker.input[0])
        return self.constant(name)

    def _quantised_weights(self, node: onnx.NodeProto) -> Array | None:
        x = self.constant(node.input[0])
        scale, zero = self.parameters(node)
        if x is None or scale is None or zero is None:
            return None
        return quantise_linear(x, scale, zero, attributes(node).get("axis", 1))

    def parameters(self, node: onnx.NodeProto) -> tuple[Array | None, Array | None]:
        """Scale and zero point of a QuantizeLinear or DequantizeLinear; a missing zero point is 0."""
        scale = self.constant(node.input[1])
        name = input_at(node, 2)
        return scale, self.constant(name) if name else np.zeros((), self._zero_dtype(node))

    def _zero_dtype(self, node: onnx.NodeProto) -> npt.DTypeLike:
        kind = attributes(node).get("output_dtype", 0) or onnx.TensorProto.UINT8
        if node.op_type == DEQUANTISE:
            value = self.constant(node.input[0])
            kind = self._made_type(node.input[0]) if value is None else 0
            if value is not None:
                return value.dtype
        return onnx.helper.tensor_dtype_to_np_dtype(kind)

    def _made_type(self, tensor: str) -> int:
        """Element type of an 8-bit activation whose reader does not say: what its maker quantises to."""
        node = self.maker(tensor)
        if node is not None and node.op_type == QUANTISE:
            zero = self.parameters(node)[1]
            return onnx.TensorProto.UINT8 if zero is None else onnx.helper.np_dtype_to_tensor_dtype(zero.dtype)
        known = {v.name: v.type.tensor_type.elem_type for v in (*self.model.graph.input, *self.model.graph.value_info)}
        return int(known.get(tensor, onnx.TensorProto.UINT8))


def _constant_node(node: onnx.NodeProto) -> Array | None:
    value = attributes(node)
    if "value" in value:
        return numpy_helper.to_array(value["value"])
    for name, dtype in (("value_float", F32), ("value_int", np.int64), ("value_floats", F32), ("value_ints", np.int64)):
        if name in value:
            return np.asarray(value[name], dtype)
    return None
