"""Gives every layer weights of its own, where onnxruntime cannot share them.

With session.x64quantprecision onnxruntime stores int8 weights anew as uint8, under a name made from the old one, for
every layer that reads them: a constant that two layers read is then made twice, and the session fails. Copies under
other names compute the same; no activation is renamed.
"""

from __future__ import annotations

import onnx

from pimc.frontend.rules import RULES
from pimc.frontend.source import DEQUANTISE

__all__ = ["unshare_weights"]

_FLOAT_LAYERS = ("Conv", "Gemm", "MatMul")


def unshare_weights(model: onnx.ModelProto) -> bool:
    """Copy shared int8 weights and their zero points, in place; returns whether any were shared."""
    small = {t.name: t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8}
    if not small:
        return False
    copied = _own_dequantisers(model, small)
    seen: set[str] = set()
    for node in model.graph.node:
        for place in _weight_inputs(node):
            name = node.input[place] if place < len(node.input) else ""
            if name not in small:
                continue
            if name in seen:
                node.input[place] = _copy(model, small[name], node, place)
                copied = True
            seen.add(name)
    return copied


def _weight_inputs(node: onnx.NodeProto) -> tuple[int, ...]:
    """Places of weights and their zero point among a node's inputs."""
    rule = RULES.get(node.op_type)
    if node.op_type == DEQUANTISE:
        return (0, 2)
    return (3, 5) if rule is not None and rule.form and rule.weighted else ()


def _copy(model: onnx.ModelProto, tensor: onnx.TensorProto, node: onnx.NodeProto, place: int) -> str:
    name = f"{tensor.name}.{node.name or node.output[0]}.{place}"
    copy = model.graph.initializer.add()
    copy.CopyFrom(tensor)
    copy.name = name
    return name


def _own_dequantisers(model: onnx.ModelProto, small: dict[str, onnx.TensorProto]) -> bool:
    """Give every layer its own DequantizeLinear of weights; returns whether one was shared."""
    makers = {n.output[0]: n for n in model.graph.node if n.op_type == DEQUANTISE and n.input[0] in small}
    seen: set[str] = set()
    before: dict[int, onnx.NodeProto] = {}
    for number, node in enumerate(model.graph.node):
        name = node.input[1] if node.op_type in _FLOAT_LAYERS else ""
        if name not in makers:
            continue
        if name in seen:
            own = onnx.NodeProto()
            own.CopyFrom(makers[name])
            own.output[0] = f"{name}.{node.name or node.output[0]}"
            own.name = f"{own.name}.{node.name}" if own.name else ""
            node.input[1] = own.output[0]
            before[number] = own
        seen.add(name)
    if not before:
        return False
    nodes = list(model.graph.node)
    ordered = [n for number, node in enumerate(nodes) for n in ([before[number], node] if number in before else [node])]
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    return True
