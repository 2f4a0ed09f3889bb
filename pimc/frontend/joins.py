"""Joins of float operators in a row that keep the function: two nodes become one that can be quantised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper

from pimc.frontend.moving import fill_of, is_filled
from pimc.frontend.rewrites import F32, Rewriter
from pimc.frontend.source import Array, Source, attributes, input_at

__all__ = ["join"]


def join(model: onnx.ModelProto) -> None:
    """Apply all joins, in place; every size but the batch must be known."""
    for rule in (_matmul_add, _gemm_normalisation, _pad_pool):
        _apply(model, rule)


def _apply(
    model: onnx.ModelProto, rule: Callable[[Rewriter, onnx.NodeProto], tuple[onnx.NodeProto, int] | None]
) -> None:
    """Replace each node for which ``rule`` has a joined one, and drop the node before it."""
    r = Rewriter(model)
    source, removed = r.source, set()
    for number, node in enumerate(source.nodes):
        found = rule(r, node)
        if found is not None:
            source.nodes[number] = found[0]
            removed.add(found[1])
    nodes = [node for n, node in enumerate(source.nodes) if n not in removed]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(r.constants)


def _matmul_add(r: Rewriter, node: onnx.NodeProto) -> tuple[onnx.NodeProto, int] | None:
    """MatMul of a vector with a constant matrix and the addition of a constant are one Gemm."""
    source = r.source
    for product, bias in _product_and_bias(source, node) if node.op_type == "Add" else ():
        n = source.producer[product]
        matmul = source.nodes[n]
        weights = source.constant(matmul.input[1])
        shape = r.shapes.get(matmul.input[0], [])
        if weights is None or weights.ndim != 2 or len(shape) != 2 or not _is_row(bias, weights.shape[1]):
            continue
        flat = r.constant(f"{node.output[0]}.bias", np.broadcast_to(bias.reshape(-1), weights.shape[1:]))
        return helper.make_node("Gemm", [*matmul.input, flat], node.output, matmul.name), n
    return None


def _is_row(bias: Array, outputs: int) -> bool:
    """Whether a constant adds one number to each output: a scalar or a row."""
    return bias.size == 1 or (bias.size == outputs and bias.shape[-1] == outputs)


def _product_and_bias(source: Source, node: onnx.NodeProto) -> Iterator[tuple[str, Array]]:
    for product, other in (node.input[:2], node.input[1::-1]):
        maker, bias = source.maker(product), source.constant(other)
        if maker is not None and maker.op_type == "MatMul" and bias is not None and source.private(product):
            yield product, bias


def _gemm_normalisation(r: Rewriter, node: onnx.NodeProto) -> tuple[onnx.NodeProto, int] | None:
    """A Gemm takes in the normalisation of its outputs."""
    before = r.source.maker(node.input[0]) if node.op_type == "BatchNormalization" else None
    if before is None or before.op_type not in ("Gemm", "MatMul") or not r.source.private(node.input[0]):
        return None
    given = attributes(before)
    weights, values = r.source.constant(before.input[1]), r.known(node)
    bias = r.source.constant(before.input[2]) if input_at(before, 2) else np.zeros(())
    if weights is None or weights.ndim != 2 or values is None or bias is None:
        return None
    if len(r.shapes.get(before.input[0], [])) != 2 or given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0:
        return None
    scale, shift, mean, variance = (v.astype(np.float64) for v in values)
    factor = scale / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    along = factor[:, None] if given.get("transB", 0) else factor
    stem = node.output[0]
    inputs = [
        before.input[0],
        r.constant(f"{stem}.weights", (weights * along).astype(F32)),
        r.constant(f"{stem}.bias", ((bias.reshape(-1) - mean) * factor + shift).astype(F32)),
    ]
    joined = helper.make_node("Gemm", inputs, node.output[:1], before.name, transB=given.get("transB", 0))
    return joined, r.source.producer[node.input[0]]


def _pad_pool(r: Rewriter, node: onnx.NodeProto) -> tuple[onnx.NodeProto, int] | None:
    """Zeros around a map that a pool reads: padding of an average that counts them, or of a maximum above 0."""
    pad = r.source.maker(node.input[0]) if node.op_type in ("MaxPool", "AveragePool") else None
    if pad is None or pad.op_type != "Pad" or not r.source.private(node.input[0]):
        return None
    around, given = _zeros_around(r, pad), attributes(node)
    kernel = given["kernel_shape"]
    if around is None or any(given.get("pads", ())) or given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID", ""):
        return None
    if any(p >= kernel[n % 2] for n, p in enumerate(around)) or given.get("ceil_mode", 0):
        return None
    fields: dict[str, Any] = {**given, "pads": around, "auto_pad": "NOTSET"}
    if node.op_type == "AveragePool":
        fields["count_include_pad"] = 1
    elif not _never_negative(r.source, pad.input[0]):
        return None
    joined = helper.make_node(node.op_type, [pad.input[0], *node.input[1:]], node.output, node.name, **fields)
    return joined, r.source.producer[node.input[0]]


def _zeros_around(r: Rewriter, pad: onnx.NodeProto) -> list[int] | None:
    """Top, left, bottom, right of a Pad with zeros on rows and columns alone; None for any other."""
    given = attributes(pad)
    pads = given.get("pads") if "pads" in given else r.source.constant(input_at(pad, 1))
    if pads is None or len(pads) != 8 or input_at(pad, 3) or not is_filled(pad) or fill_of(r.source, pad) != 0:
        return None
    n0, c0, top, left, n1, c1, bottom, right = (int(p) for p in pads)
    return None if any((n0, c0, n1, c1)) or min(top, left, bottom, right) < 0 else [top, left, bottom, right]


def _never_negative(source: Source, tensor: str) -> bool:
    node = source.maker(tensor)
    if node is None:
        return False
    if node.op_type == "Clip":
        low = attributes(node).get("min") if len(node.input) == 1 else source.constant(input_at(node, 1))
        return low is not None and float(np.reshape(low, -1)[0]) >= 0
    return node.op_type in ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs")
