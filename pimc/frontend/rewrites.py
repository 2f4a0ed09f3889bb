"""Rewrites of float models that keep their function and leave fewer kinds of operators to quantise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pimc.frontend.admit.sizes import skeleton
from pimc.frontend.source import Array, Source, attributes

__all__ = ["Rewriter", "rewrite"]

Nodes = list[onnx.NodeProto]
F32 = np.float32


class Rewriter:
    """A model with shapes, and the nodes and constants that replace parts of it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.source = Source(model)
        inferred = onnx.shape_inference.infer_shapes(skeleton(model), data_prop=True).graph
        self.shapes = {
            v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in (*inferred.value_info, *inferred.input, *inferred.output)
        }
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: Array) -> str:
        """Add a constant; returns its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def known(self, node: onnx.NodeProto, first: int = 1) -> list[Array] | None:
        """Constant inputs from ``first`` on; None unless all are."""
        values = [self.source.constant(name) for name in node.input[first:]]
        return None if any(v is None for v in values) else [v for v in values if v is not None]


def rewrite(model: onnx.ModelProto) -> None:
    """Apply all rewrites, in place; every size but the batch must be known."""
    r = Rewriter(model)
    nodes = [new for node in r.source.nodes for new in _rewritten(r, node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(r.constants)
    _drop_unused(model)


def _rewritten(r: Rewriter, node: onnx.NodeProto) -> Nodes:
    rule = _RULES.get(node.op_type)
    found = None if rule is None else rule(r, node)
    return [node] if found is None else found


def _sum(r: Rewriter, node: onnx.NodeProto) -> Nodes | None:
    """Sum of n is n - 1 additions."""
    if len(node.input) == 1:
        return [helper.make_node("Identity", node.input, node.output, node.name)]
    nodes, left = [], node.input[0]
    for n, right in enumerate(node.input[1:], 1):
        last = n == len(node.input) - 1
        result = node.output[0] if last else f"{node.output[0]}.{n}"
        nodes.append(helper.make_node("Add", [left, right], [result], node.name if last else f"{node.name}.{n}"))
        left = result
    return nodes


def _average_pool(r: Rewriter, node: onnx.NodeProto) -> Nodes | None:
    """An average over the whole map is a global one."""
    given, shape = attributes(node), r.shapes.get(node.input[0], [])
    whole = len(shape) == 4 and list(given["kernel_shape"]) == shape[2:]
    if not whole or any(given.get("pads", ())) or given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    return [helper.make_node("GlobalAveragePool", node.input, node.output, node.name)]


def _reduce_mean(r: Rewriter, node: onnx.NodeProto) -> Nodes | None:
    """A mean over rows and columns is a global average, flattened where the axes are dropped."""
    given, shape = attributes(node), r.shapes.get(node.input[0], [])
    axes = given.get("axes")
    if axes is None and len(node.input) > 1:
        values = r.known(node)
        axes = values[0].tolist() if values else None
    if len(shape) != 4 or axes is None or sorted(a % 4 for a in axes) != [2, 3]:
        return None
    if given.get("keepdims", 1):
        return [helper.make_node("GlobalAveragePool", node.input[:1], node.output, node.name)]
    middle = f"{node.output[0]}.kept"
    return [
        helper.make_node("GlobalAveragePool", node.input[:1], [middle], node.name),
        helper.make_node("Flatten", [middle], node.output, f"{node.name}.flatten", axis=1),
    ]


def _global_max(r: Rewriter, node: onnx.NodeProto) -> Nodes | None:
    shape = r.shapes.get(node.input[0], [])
    if len(shape) != 4 or not all(shape[2:]):
        return None
    return [helper.make_node("MaxPool", node.input, node.output, node.name, kernel_shape=shape[2:])]


def _batch_normalisation(r: Rewriter, node: onnx.NodeProto) -> Nodes | None:
    """A normalisation that no convolution could take in is a 1x1 depthwise convolution."""
    values, shape = r.known(node), r.shapes.get(node.input[0], [])
    if values is None or len(shape) != 4:
        return None
    scale, shift, mean, variance = (v.astype(np.float64) for v in values)
    factor = scale / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    return _depthwise(r, node, node.input[0], factor, shift - mean * factor)


def _affine(r: Rewriter, node: onnx.NodeProto) -> Nodes | None:
    """Adding or multiplying a constant per channel behind a layer is a 1x1 depthwise convolution."""
    fixed = [n for n in (0, 1) if r.source.constant(node.input[n]) is not None]
    if len(fixed) != 1 or (fixed[0] == 0 and node.op_type in ("Sub", "Div")):
        return None
    moving = node.input[1 - fixed[0]]
    shape, value = r.shapes.get(moving, []), r.source.constant(node.input[fixed[0]])
    if value is None or len(shape) != 4 or value.size == 1 or value.shape[-3:] != (shape[1], 1, 1):
        return None
    if not _behind_layer(r.source, moving):
        return None
    constant = value.reshape(-1).astype(np.float64)
    if node.op_type in ("Mul", "Div"):
        return _depthwise(r, node, moving, constant if node.op_type == "Mul" else 1 / constant, None)
    return _depthwise(r, node, moving, np.ones_like(constant), constant if node.op_type == "Add" else -constant)


def _behind_layer(source: Source, tensor: str) -> bool:
    """Whether a convolution or matrix product comes before a tensor."""
    pending, seen = [tensor], set()
    while pending:
        node = source.maker(pending.pop())
        if node is None or node.output[0] in seen:
            continue
        if node.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose"):
            return True
        seen.add(node.output[0])
        pending.extend(node.input)
    return False


def _depthwise(r: Rewriter, node: onnx.NodeProto, x: str, factor: Array, shift: Array | None) -> Nodes:
    stem = node.output[0]
    inputs = [x, r.constant(f"{stem}.factor", factor.astype(F32).reshape(-1, 1, 1, 1))]
    if shift is not None:
        inputs.append(r.constant(f"{stem}.shift", shift.astype(F32)))
    return [helper.make_node("Conv", inputs, node.output[:1], node.name, kernel_shape=[1, 1], group=factor.size)]


def _remove(r: Rewriter, node: onnx.NodeProto) -> Nodes | None:
    """Dropout does nothing at inference."""
    if any(r.source.consumers.get(name) for name in node.output[1:]):
        return None
    return [helper.make_node("Identity", node.input[:1], node.output[:1], node.name)]


def _gemm(r: Rewriter, node: onnx.NodeProto) -> Nodes | None:
    """Factors go into constant weights and bias; a bias is one number per output, whatever axes it had."""
    given = attributes(node)
    weights = r.source.constant(node.input[1])
    has_bias = len(node.input) > 2 and bool(node.input[2])
    bias = r.source.constant(node.input[2]) if has_bias else None
    if weights is None or weights.ndim != 2:
        return None
    if has_bias and bias is None:
        return _gemm_and_sum(r, node)
    alpha, beta = given.pop("alpha", 1.0), given.pop("beta", 1.0)
    outputs = weights.shape[0 if given.get("transB", 0) else 1]
    if bias is not None and bias.size not in (1, outputs):
        return None
    if alpha == 1.0 and (bias is None or (beta == 1.0 and bias.shape == (outputs,))):
        return None
    stem, inputs = node.output[0], list(node.input[:2])
    if alpha != 1.0:
        inputs[1] = r.constant(f"{stem}.weights", (weights.astype(np.float64) * alpha).astype(F32))
    if bias is not None:
        spread = np.broadcast_to(bias.reshape(-1).astype(np.float64) * beta, (outputs,))
        inputs.append(r.constant(f"{stem}.bias", spread.astype(F32)))
    return [helper.make_node("Gemm", inputs, node.output, node.name, **given)]


def _gemm_and_sum(r: Rewriter, node: onnx.NodeProto) -> Nodes | None:
    """An addend that changes from image to image is added behind the product."""
    given, stem = attributes(node), node.output[0]
    beta, added = given.pop("beta", 1.0), node.input[2]
    product = helper.make_node("Gemm", node.input[:2], [f"{stem}.product"], node.name, **given)
    nodes = _gemm(r, product) or [product]
    if beta != 1.0:
        factor = r.constant(f"{stem}.beta", np.array(beta, F32))
        nodes.append(helper.make_node("Mul", [added, factor], [f"{stem}.addend"], f"{node.name}.factor"))
        added = f"{stem}.addend"
    return [*nodes, helper.make_node("Add", [f"{stem}.product", added], node.output, f"{node.name}.sum")]


def _matmul(r: Rewriter, node: onnx.NodeProto) -> Nodes | None:
    """A constant factor of more than two axes: one product side by side, or one for each part of the other factor."""
    w, shape = r.source.constant(node.input[1]), r.shapes.get(node.input[0], [])
    if w is None or w.ndim == 2 or len(shape) < 2 or not all(shape[1:]):
        return None
    stem = node.output[0]
    if w.ndim == 1:
        column = r.constant(f"{stem}.column", w.reshape(-1, 1))
        target = r.constant(f"{stem}.dims", np.array([0, *shape[1:-1]], np.int64))
        return [
            helper.make_node("MatMul", [node.input[0], column], [f"{stem}.products"], node.name),
            helper.make_node("Reshape", [f"{stem}.products", target], node.output, f"{stem}.flat"),
        ]
    rows, k, outputs = shape[-2], w.shape[-2], w.shape[-1]
    outer = [1] * (w.ndim - len(shape)) + shape[:-2]
    parts = [1] * (len(outer) - w.ndim + 2) + list(w.shape[:-2])
    count = int(np.prod(parts[1:], dtype=np.int64))
    if parts[0] != 1 or len(outer) < 1 or (outer[1:] != parts[1:] and any(n != 1 for n in outer[1:])):
        return None
    made = r.constant(f"{stem}.made", np.array([0, rows, count, outputs], np.int64))
    target = r.constant(f"{stem}.dims", np.array([0, *parts[1:], rows, outputs], np.int64))
    behind = [
        helper.make_node("Reshape", [f"{stem}.products", made], [f"{stem}.parts"], f"{stem}.parts"),
        helper.make_node("Transpose", [f"{stem}.parts"], [f"{stem}.turned"], f"{stem}.turned", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [f"{stem}.turned", target], node.output, f"{stem}.result"),
    ]
    stacked = w.reshape(count, k, outputs)
    if any(n != 1 for n in outer[1:]):
        return [*_grouped(r, node, stacked, rows), *behind]
    wide = r.constant(f"{stem}.wide", stacked.transpose(1, 0, 2).reshape(k, count * outputs))
    given = r.constant(f"{stem}.given", np.array([0, rows, k], np.int64))
    return [
        helper.make_node("Reshape", [node.input[0], given], [f"{stem}.rows"], f"{stem}.rows"),
        helper.make_node("MatMul", [f"{stem}.rows", wide], [f"{stem}.products"], node.name),
        *behind,
    ]


def _grouped(r: Rewriter, node: onnx.NodeProto, w: Array, rows: int) -> Nodes:
    """Products of parts x rows x k with parts x k x outputs, as a convolution in groups; rows x parts x outputs."""
    (count, k, outputs), stem = w.shape, node.output[0]
    kernel = r.constant(f"{stem}.kernel", w.transpose(0, 2, 1).reshape(count * outputs, k, 1, 1))
    apart = r.constant(f"{stem}.apart", np.array([0, count, rows, k], np.int64))
    maps = r.constant(f"{stem}.maps", np.array([0, count * k, rows, 1], np.int64))
    flat = r.constant(f"{stem}.flat", np.array([0, count * outputs, rows], np.int64))
    return [
        helper.make_node("Reshape", [node.input[0], apart], [f"{stem}.a"], f"{stem}.a"),
        helper.make_node("Transpose", [f"{stem}.a"], [f"{stem}.b"], f"{stem}.b", perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", [f"{stem}.b", maps], [f"{stem}.c"], f"{stem}.c"),
        helper.make_node("Conv", [f"{stem}.c", kernel], [f"{stem}.d"], node.name, kernel_shape=[1, 1], group=count),
        helper.make_node("Reshape", [f"{stem}.d", flat], [f"{stem}.e"], f"{stem}.e"),
        helper.make_node("Transpose", [f"{stem}.e"], [f"{stem}.products"], f"{stem}.f", perm=[0, 2, 1]),
    ]


_RULES: dict[str, Callable[[Rewriter, onnx.NodeProto], Nodes | None]] = {
    "Sum": _sum,
    "AveragePool": _average_pool,
    "ReduceMean": _reduce_mean,
    "GlobalMaxPool": _global_max,
    "BatchNormalization": _batch_normalisation,
    "Add": _affine,
    "Sub": _affine,
    "Mul": _affine,
    "Div": _affine,
    "Dropout": _remove,
    "Gemm": _gemm,
    "MatMul": _matmul,
}


def _drop_unused(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input} | {v.name for v in model.graph.output}
    kept = [t for t in model.graph.initializer if t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
