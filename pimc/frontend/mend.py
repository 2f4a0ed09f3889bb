"""Mends what a model may have and other tools trip over; its function stays the same.

* Node names that are given twice, which onnxruntime refuses.
* Operators that onnxruntime's optimiser joined (FusedConv, FusedGemm): apart again.
* Slopes per channel of PRelu before opset 7, which broadcast along the second axis.
* Operators in channels-last layout (``channels_last`` of QLinearConv and pools, as onnxruntime's optimiser writes
  them): channels first between two transposes.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper

from pimc.frontend.admit.sizes import skeleton
from pimc.frontend.read import opset_of
from pimc.frontend.source import attributes, input_at

__all__ = ["mend"]

#: From this operator set on constants broadcast as numpy's do.
BROADCASTS_SINCE = 7

#: Operators of onnxruntime with the attribute, and the axes of their maps.
_CHANNELS_LAST = frozenset({"QLinearConv", "QLinearAveragePool", "QLinearGlobalAveragePool"})


#: Activations that may be joined to an operator, with their parameters in order.
_ACTIVATIONS = {
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
}


def mend(model: onnx.ModelProto) -> bool:
    """Mend a model in place; returns whether anything changed."""
    renamed = _name_apart(model) | _shape_slopes(model)
    nodes = [new for node in model.graph.node for split in _split(node) for new in _turned(split)]
    if all(a is b for a, b in zip(nodes, model.graph.node, strict=False)):
        return renamed
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return True


def _name_apart(model: onnx.ModelProto) -> bool:
    """Number the nodes whose name another one has already."""
    seen = {node.name for node in model.graph.node}
    taken: set[str] = set()
    changed = False
    for node in model.graph.node:
        if node.name and node.name in taken:
            stem, n = node.name, 2
            while f"{stem}.{n}" in seen:
                n += 1
            node.name = f"{stem}.{n}"
            seen.add(node.name)
            changed = True
        taken.add(node.name)
    return changed


def _shape_slopes(model: onnx.ModelProto) -> bool:
    """Give slopes per channel of old PRelu nodes the axes that newer operator sets broadcast along."""
    if opset_of(model) >= BROADCASTS_SINCE or not any(node.op_type == "PRelu" for node in model.graph.node):
        return False
    constants = {t.name: t for t in model.graph.initializer}
    ranks = _ranks(model)
    changed = False
    for node in model.graph.node:
        slope, rank = constants.get(input_at(node, 1)), ranks.get(input_at(node, 0), 0)
        if node.op_type == "PRelu" and slope is not None and len(slope.dims) == 1 and slope.dims[0] > 1 and rank > 2:
            slope.dims.extend([1] * (rank - 2))
            for value in [v for v in model.graph.input if v.name == slope.name]:
                model.graph.input.remove(value)
            changed = True
    return changed


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    try:
        graph = onnx.shape_inference.infer_shapes(skeleton(model)).graph
    except Exception:  # said better where the model is admitted
        return {}
    return {v.name: len(v.type.tensor_type.shape.dim) for v in (*graph.input, *graph.value_info)}


def _split(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The node, or the operators that it joins."""
    given = attributes(node)
    activation, fused = str(given.get("activation", "")), node.op_type in ("FusedConv", "FusedGemm")
    if not fused or (activation and activation not in _ACTIVATIONS):
        yield node
        return
    names = _ACTIVATIONS.get(activation, ())
    params = {key: given[f"activation_{key}"] for key in names if f"activation_{key}" in given}
    params |= dict(zip(names, given.get("activation_params", ()), strict=False))
    own = {key: value for key, value in given.items() if not key.startswith("activation")}
    stem, result = node.name or node.output[0], node.output[0]
    added = node.input[3] if len(node.input) > 3 else ""
    steps = [(node.op_type.removeprefix("Fused"), [name for name in node.input[:3] if name], own)]
    steps += [("Add", [added], {})] if added else []
    steps += [(activation, [], params)] if activation else []
    for n, (op, inputs, fields) in enumerate(steps):
        last = n == len(steps) - 1
        if n:
            inputs = [f"{result}.{n - 1}", *inputs]
        out, name = (result, stem) if last else (f"{result}.{n}", f"{stem}.{n}")
        yield helper.make_node(op, inputs, [out], name, **fields)


def _turned(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The node, or the same with channels first between two transposes; other ranks than four are left alone."""
    if node.op_type not in _CHANNELS_LAST or not attributes(node).get("channels_last", 0) or not _has_map(node):
        yield node
        return
    stem = node.name or node.output[0]
    first, result = f"{node.output[0]}.first", f"{node.output[0]}.result"
    yield helper.make_node("Transpose", [node.input[0]], [first], f"{stem}.in", perm=[0, 3, 1, 2])
    turned = onnx.NodeProto()
    turned.CopyFrom(node)
    turned.input[0], turned.output[0] = first, result
    kept = [a for a in node.attribute if a.name != "channels_last"]
    del turned.attribute[:]
    turned.attribute.extend(kept)
    if node.op_type == "QLinearConv":
        turned.domain = ""  # without the attribute it is ONNX's own
    yield turned
    yield helper.make_node("Transpose", [result], [node.output[0]], f"{stem}.out", perm=[0, 2, 3, 1])


def _has_map(node: onnx.NodeProto) -> bool:
    """Whether the operator works on rows and columns; a global one does not say, and is taken to."""
    return len(attributes(node).get("kernel_shape", (1, 1))) == 2
