"""A model without an axis of images as one with: the axis is carried through what does not mind it.

Matrix products with constants and element-wise operators work on tensors with an axis more; everything else is given
its tensors as they were, between reshapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pimc.frontend.admit.sizes import skeleton
from pimc.frontend.by_row import BROADCAST, UNARY
from pimc.frontend.shapes import model_inputs
from pimc.frontend.source import Array, Source, attributes, input_at

__all__ = ["raised"]

Nodes = list[onnx.NodeProto]


def raised(model: onnx.ModelProto, outputs: Mapping[str, Sequence[int]]) -> Nodes:
    """Return the nodes of the model with an axis in front of inputs and outputs; adds constants to the model.

    ``outputs`` are the shapes of the outputs without it.
    """
    work = _Raiser(model)
    for node in list(model.graph.node):
        work.take(node)
    for name, dims in outputs.items():
        work.give(name, dims)
    return work.nodes


class _Raiser:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.source = model, Source(model)
        graph = onnx.shape_inference.infer_shapes(skeleton(model), data_prop=True).graph
        typed = [*graph.input, *graph.value_info, *graph.output]
        self.shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in typed}
        self.nodes: Nodes = []
        self.high = {v.name for v in model_inputs(model)}  # tensors with the axis, under their own names
        self.low: dict[str, str] = {}  # names of tensors without it

    def take(self, node: onnx.NodeProto) -> None:
        """Add a node, with the axis or without."""
        moving = [name for name in node.input if name in self.high or name in self.low]
        if moving and all(name in self.high for name in moving) and self._is_known(node) and self._lift(node):
            self.high.update(name for name in node.output if name)
            return
        names = {name: self._without(name) for name in _read(node) if name in self.high or name in self.low}
        names |= {name: f"{name}.alone" for name in node.output if name}
        _rename(node, names)
        self.low |= {name.removesuffix(".alone"): name for name in node.output if name}
        self.nodes.append(node)

    def give(self, name: str, dims: Sequence[int]) -> None:
        """Make an output with the axis."""
        if name in self.high:
            return
        self.nodes.append(self._reshape(self.low.get(name, name), name, [1, *dims]))

    def _is_known(self, node: onnx.NodeProto) -> bool:
        """Whether the sizes of what a node reads and makes are known."""
        return all(all(self.shapes.get(name, [0])) for name in (*node.output, *node.input) if name in self.high)

    def _without(self, name: str) -> str:
        if name not in self.low:
            self.low[name] = f"{name}.alone"
            self.nodes.append(self._reshape(name, self.low[name], self.shapes[name]))
        return self.low[name]

    def _lift(self, node: onnx.NodeProto) -> bool:
        if node.op_type in UNARY and node.op_type != "Cast":
            self.nodes.append(node)
            return True
        if node.op_type in BROADCAST:
            return self._broadcast(node)
        if node.op_type == "MatMul":
            return self._matmul(node)
        if node.op_type == "QLinearMatMul":
            return self._quantised_matmul(node)
        return node.op_type == "Gemm" and self._gemm(node)

    def _broadcast(self, node: onnx.NodeProto) -> bool:
        ranks = {name: len(self.shapes[name]) for name in node.input if name in self.high}
        constants = [self.source.constant(name) for name in node.input if name not in self.high]
        if len(set(ranks.values())) != 1 or any(c is None or c.ndim > max(ranks.values()) for c in constants):
            return False
        self.nodes.append(node)
        return True

    def _matmul(self, node: onnx.NodeProto) -> bool:
        w = self.source.constant(node.input[1])
        if w is None or node.input[0] not in self.high:
            return False
        shape = self.shapes[node.input[0]]
        self._product(node, node.input[0], shape, node.input[1], w, node.output[0])
        return True

    def _quantised_matmul(self, node: onnx.NodeProto) -> bool:
        w = self.source.constant(node.input[3])
        if w is None or not 2 <= w.ndim <= len(self.shapes.get(node.input[0], [])):
            return False
        self.nodes.append(node)
        return True

    def _product(self, node: onnx.NodeProto, x: str, shape: Sequence[int], weights: str, w: Array, result: str) -> None:
        """A product with constants on the right; a constant of more axes makes more of the other factor's."""
        more = max(0, w.ndim - max(2, len(shape)))
        if w.ndim > 2 and (more or len(shape) < 2):
            rows = [1] if len(shape) < 2 else []
            x = self._reshaped(x, f"{result}.factor", [1, *[1] * (w.ndim - len(shape) - len(rows)), *rows, *shape])
        if w.ndim > 2 and len(shape) < 2:
            made = f"{result}.rows"
            self.nodes.append(helper.make_node("MatMul", [x, weights], [made], node.name))
            self.nodes.append(self._reshape(made, result, [1, *self.shapes[node.output[0]]]))
            return
        self.nodes.append(helper.make_node("MatMul", [x, weights], [result], node.name))

    def _gemm(self, node: onnx.NodeProto) -> bool:
        """Transpose, product, sum; the factors go into the constants."""
        given, w = attributes(node), self.source.constant(node.input[1])
        has_bias = bool(input_at(node, 2))
        bias = self.source.constant(node.input[2]) if has_bias else None
        if w is None or w.dtype != np.float32 or (has_bias and bias is None) or node.input[0] not in self.high:
            return False
        x, shape, stem = node.input[0], list(self.shapes[node.input[0]]), node.output[0]
        if given.get("transA", 0):
            self.nodes.append(helper.make_node("Transpose", [x], [f"{stem}.turned"], f"{stem}.turned", perm=[0, 2, 1]))
            x, shape = f"{stem}.turned", shape[::-1]
        w = (w.T if given.get("transB", 0) else w) * np.float32(given.get("alpha", 1.0))
        weights = self._constant(f"{stem}.weights", w)
        self._product(node, x, shape, weights, w, f"{stem}.product" if has_bias else stem)
        if bias is not None:
            added = self._constant(f"{stem}.bias", bias * np.float32(given.get("beta", 1.0)))
            self.nodes.append(helper.make_node("Add", [f"{stem}.product", added], [stem], f"{stem}.sum"))
        return True

    def _constant(self, name: str, value: Array) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _reshaped(self, source: str, result: str, dims: Sequence[int]) -> str:
        self.nodes.append(self._reshape(source, result, dims))
        return result

    def _reshape(self, source: str, result: str, dims: Sequence[int]) -> onnx.NodeProto:
        shape = self._constant(f"{result}.dims", np.array(dims, np.int64))
        return helper.make_node("Reshape", [source, shape], [result], f"{result}.axis")


def _read(node: onnx.NodeProto) -> list[str]:
    """Tensors that a node and the graphs in it read."""
    found = list(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            found += [name for inner in graph.node for name in _read(inner)]
    return [name for name in found if name]


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Rename what a node and the graphs in it read and make."""
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                _rename(inner, names)
