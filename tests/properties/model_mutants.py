"""Mutants of small quantised models: one to three changes of attributes, tensors, names, edges, nodes or bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.differential.frontend_models import Net

__all__ = ["BASES", "mutant"]

Rng = np.random.Generator


def _layers(qdq: bool) -> bytes:
    net = Net(1, qdq=qdq)
    y = net.conv(net.input(3, 8, 7), 4, (3, 3), pads=[1, 1, 1, 1], per_channel=False)
    y = net.max_pool(y, (2, 2), strides=[2, 2])
    y = net.conv(y, 4, (3, 3), groups=4, pads=[1, 1, 1, 1])
    y = net.relabel("Flatten", net.global_average(y), (1, 4), axis=1)
    net.output(net.gemm(y, 5))
    return bytes(net.model().SerializeToString())


def _branches(qdq: bool) -> bytes:
    net = Net(2, qdq=qdq)
    x = net.input(4, 6, 6)
    a = net.conv(x, 4, (1, 1))
    b = net.conv(x, 4, (3, 3), pads=[1, 1, 1, 1], bias=False)
    y = net.concat(net.binary("Add", a, b), a)
    y = net.average_pool(y, (2, 2), strides=[2, 2])
    net.output(net.conv(net.unary("LeakyRelu", y, alpha=0.1), 3, (2, 2), strides=[2, 2]))
    return bytes(net.model().SerializeToString())


BASES: Sequence[Callable[[], bytes]] = (
    lambda: _layers(False),
    lambda: _layers(True),
    lambda: _branches(False),
    lambda: _branches(True),
)
"""Builders of the models that are changed: QOperator and QDQ form of two networks."""


@cache
def _base(number: int) -> bytes:
    return BASES[number]()


INTEGERS = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 4, 5, 7, 255, 2**16, 2**31, 2**40, 2**62)
FLOATS = (0.0, -0.0, -1.0, 1e-45, 1e-38, 1e-3, 0.5, 1.0, 1e10, 3e38, np.inf, -np.inf, np.nan)
OPS = (
    *("Relu", "Identity", "Add", "Mul", "Conv", "Gemm", "MatMul", "MaxPool", "AveragePool", "Concat", "Flatten"),
    *("Reshape", "Transpose", "Sigmoid", "Softmax", "Shape", "Cast", "QuantizeLinear", "DequantizeLinear", "Nothing"),
    *(
        "QLinearConv",
        "QLinearAdd",
        "QLinearMul",
        "QLinearConcat",
        "QLinearSigmoid",
        "QLinearMatMul",
        "GlobalAveragePool",
    ),
    *("Squeeze", "Unsqueeze", "Pad", "Clip", "Resize", "Tile", "Expand", "Slice", "Gather", "Split", "ReduceMean"),
)
TYPES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 17, 21, 99)
NAMES = ("", "x", "a\nb", "\x1b[2J", "é", "n" * 2000, "nowhere")


def mutant(seed: int) -> bytes:
    """The model of a seed; equal seeds give equal bytes."""
    rng = np.random.default_rng(seed)
    data = _base(int(rng.integers(len(BASES))))
    if rng.random() < 0.06:
        return _damaged(rng, data)
    model = onnx.ModelProto.FromString(data)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        CHANGES[int(rng.integers(len(CHANGES)))](rng, model)
    return bytes(model.SerializeToString())


def _damaged(rng: Rng, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
    return bytes(changed)


def _pick(rng: Rng, items: Any) -> Any:
    return items[int(rng.integers(len(items)))] if len(items) else None


def _attribute(rng: Rng, model: onnx.ModelProto) -> None:
    """Another value of an attribute."""
    node = _pick(rng, [n for n in model.graph.node if n.attribute])
    if node is None:
        return
    a = _pick(rng, node.attribute)
    if a.type == onnx.AttributeProto.INTS and a.ints and rng.random() < 0.8:
        a.ints[int(rng.integers(len(a.ints)))] = int(_pick(rng, INTEGERS))
    elif a.type == onnx.AttributeProto.INTS:
        del a.ints[int(rng.integers(len(a.ints) + 1)) :]
    elif a.type == onnx.AttributeProto.INT:
        a.i = int(_pick(rng, INTEGERS))
    elif a.type == onnx.AttributeProto.FLOAT:
        a.f = float(_pick(rng, FLOATS))


def _new_attribute(rng: Rng, model: onnx.ModelProto) -> None:
    """An attribute that was left to its default, or one too many."""
    name, value = _pick(
        rng,
        [
            *(("strides", [int(rng.integers(0, 4)), 2]), ("dilations", [int(rng.integers(0, 4)), 2])),
            *(("group", int(rng.integers(0, 5))), ("ceil_mode", 1), ("auto_pad", "SAME_UPPER"), ("auto_pad", "x")),
            *(
                ("pads", [int(p) for p in rng.integers(-1, 4, 4)]),
                ("kernel_shape", [int(k) for k in rng.integers(0, 4, 2)]),
            ),
            *(("axis", int(rng.integers(-5, 6))), ("count_include_pad", 1), ("to", int(rng.integers(0, 20)))),
            *(("perm", [0, 2, 3, 1]), ("alpha", float(_pick(rng, FLOATS))), ("transB", 1), ("storage_order", 1)),
        ],
    )
    node = _pick(rng, model.graph.node)
    for a in [a for a in node.attribute if a.name == name]:
        node.attribute.remove(a)
    node.attribute.append(helper.make_attribute(name, value))


def _dropped_attribute(rng: Rng, model: onnx.ModelProto) -> None:
    node = _pick(rng, [n for n in model.graph.node if n.attribute])
    if node is not None:
        del node.attribute[int(rng.integers(len(node.attribute)))]


def _values(rng: Rng, model: onnx.ModelProto) -> None:
    """Other values of an initialiser."""
    t = _pick(rng, model.graph.initializer)
    try:
        array = numpy_helper.to_array(t).copy()
    except (ValueError, TypeError, KeyError, AttributeError):
        return
    if not array.size or array.dtype.kind not in "iuf":
        return
    flat = array.reshape(-1)
    chosen: Any = slice(None) if rng.random() < 0.3 else int(rng.integers(flat.size))
    if array.dtype.kind == "f":
        flat[chosen] = (
            np.float32(_pick(rng, FLOATS)) if rng.random() < 0.5 else flat[chosen] * np.float32(rng.uniform(0.1, 9))
        )
    else:
        limits = np.iinfo(array.dtype)
        flat[chosen] = _pick(rng, (limits.min, limits.max, 0, 1))
    t.CopyFrom(numpy_helper.from_array(array, t.name))


def _kind(rng: Rng, model: onnx.ModelProto) -> None:
    """An initialiser of another type, converted or only declared so."""
    t = _pick(rng, model.graph.initializer)
    if rng.random() < 0.5:
        t.data_type = int(_pick(rng, TYPES))
        return
    try:
        with np.errstate(all="ignore"):
            array = numpy_helper.to_array(t).astype(_pick(rng, ("f4", "f8", "i1", "u1", "i4", "i8", "f2", "u2")))
    except (ValueError, TypeError, KeyError, AttributeError):
        return
    t.CopyFrom(numpy_helper.from_array(array, t.name))


def _dims(rng: Rng, model: onnx.ModelProto) -> None:
    """Other dims of an initialiser, with or without its elements."""
    t = _pick(rng, model.graph.initializer)
    if rng.random() < 0.5 and t.dims:
        t.dims[int(rng.integers(len(t.dims)))] = int(_pick(rng, INTEGERS))
        return
    shape = tuple(int(d) for d in rng.integers(0, 5, int(rng.integers(0, 6))))
    dtype = _pick(rng, (np.float32, np.int8, np.uint8, np.int32, np.int64))
    t.CopyFrom(numpy_helper.from_array(rng.integers(0, 4, shape).astype(dtype), t.name))


def _transposed(rng: Rng, model: onnx.ModelProto) -> None:
    t = _pick(rng, [t for t in model.graph.initializer if len(t.dims) > 1])
    if t is not None:
        t.dims[:] = [t.dims[int(n)] for n in rng.permutation(len(t.dims))]


def _input_shape(rng: Rng, model: onnx.ModelProto) -> None:
    """Another input size or type, or an output's."""
    value = _pick(rng, [*model.graph.input, *model.graph.output])
    dims = value.type.tensor_type.shape.dim
    if rng.random() < 0.3:
        value.type.tensor_type.elem_type = int(_pick(rng, TYPES))
    elif dims:
        dims[int(rng.integers(len(dims)))].dim_value = (
            int(_pick(rng, INTEGERS)) if rng.random() < 0.5 else int(rng.integers(1, 12))
        )


def _edge(rng: Rng, model: onnx.ModelProto) -> None:
    """An input of a node reads another tensor."""
    node = _pick(rng, [n for n in model.graph.node if n.input])
    if node is None:
        return
    names = [name for n in model.graph.node for name in (*n.input, *n.output)] or list(NAMES)
    node.input[int(rng.integers(len(node.input)))] = _pick(rng, names if rng.random() < 0.9 else NAMES)


def _name(rng: Rng, model: onnx.ModelProto) -> None:
    node = _pick(rng, model.graph.node)
    if rng.random() < 0.5:
        node.name = _pick(rng, NAMES)
    elif node.output:
        node.output[0] = _pick(rng, NAMES)


def _op(rng: Rng, model: onnx.ModelProto) -> None:
    node = _pick(rng, model.graph.node)
    node.op_type = _pick(rng, OPS)
    if rng.random() < 0.3:
        node.domain = _pick(rng, ("", "com.microsoft", "ai.onnx.ml", "local"))


def _arity(rng: Rng, model: onnx.ModelProto) -> None:
    node = _pick(rng, [n for n in model.graph.node if n.input])
    if node is None:
        return
    if rng.random() < 0.7:
        del node.input[int(rng.integers(len(node.input)))]
    else:
        node.input.append(_pick(rng, node.input))


def _removed(rng: Rng, model: onnx.ModelProto) -> None:
    """A node less; its readers read what it read, or dangle."""
    number = int(rng.integers(len(model.graph.node)))
    node = model.graph.node[number]
    if rng.random() < 0.7 and node.input and node.output:
        for other in model.graph.node:
            other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]
    if len(model.graph.node) > 1:
        del model.graph.node[number]


def _duplicated(rng: Rng, model: onnx.ModelProto) -> None:
    copy = onnx.NodeProto()
    copy.CopyFrom(_pick(rng, model.graph.node))
    if rng.random() < 0.8 and copy.output:
        copy.output[0] += ".again"
    model.graph.node.append(copy)


def _inserted(rng: Rng, model: onnx.ModelProto) -> None:
    """An element-wise or relabelling node between two others."""
    node = _pick(rng, [n for n in model.graph.node if n.input])
    if node is None:
        return
    op = _pick(rng, ("Identity", "Relu", "Sigmoid", "Neg", "Transpose", "Abs", "Dropout"))
    made = helper.make_node(op, [node.input[0]], [f"{node.input[0]}.{op}"], f"extra_{op}")
    place = list(model.graph.node).index(node)
    node.input[0] = made.output[0]
    nodes = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], made, *nodes[place:]])


def _reordered(rng: Rng, model: onnx.ModelProto) -> None:
    nodes = [model.graph.node[int(n)] for n in rng.permutation(len(model.graph.node))]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _version(rng: Rng, model: onnx.ModelProto) -> None:
    if rng.random() < 0.3:
        model.ir_version = int(_pick(rng, INTEGERS))
    elif model.opset_import:
        model.opset_import[0].version = int(_pick(rng, (0, 1, 9, 10, 13, 17, 21, 26, 27, 999, 2**40)))


def _output(rng: Rng, model: onnx.ModelProto) -> None:
    """Another tensor as an output."""
    names = [name for n in model.graph.node for name in (*n.output, *n.input) if name] or ["x"]
    made = helper.make_tensor_value_info(
        _pick(rng, names), int(_pick(rng, (TensorProto.FLOAT, TensorProto.UINT8))), None
    )
    if rng.random() < 0.5:
        del model.graph.output[:]
    model.graph.output.append(made)


CHANGES = (
    *(_attribute, _attribute, _new_attribute, _new_attribute, _dropped_attribute),
    *(_values, _values, _values, _kind, _dims, _transposed, _input_shape),
    *(_edge, _name, _op, _arity, _removed, _duplicated, _inserted, _reordered, _version, _output),
)
