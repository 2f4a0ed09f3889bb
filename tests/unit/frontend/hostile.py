"""Models that no sensible tool writes, by name: each must be refused in one to three lines, or compile.

Small files that would take much: memory, time, or the stack. The first group is for the reader of bytes, the others are
models that parse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.differential.frontend_models import Net
from tests.unit.frontend.float_models import conv_model, float_model, random

__all__ = ["HOSTILE", "field", "quantised_net"]

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node


def varint(n: int) -> bytes:
    """A number as protobuf writes it."""
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number: int, body: bytes) -> bytes:
    """A protobuf field that holds bytes or a message."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def wire(graph: bytes) -> bytes:
    """A model of IR 9 and opset 17 around the bytes of a graph."""
    return b"\x08\x09" + field(7, graph) + field(8, b"\x10\x11")


def quantised_net(*, qdq: bool = False) -> onnx.ModelProto:
    """Convolution, pool, dense layer."""
    net = Net(1, qdq=qdq)
    y = net.conv(net.input(3, 6, 5), 4, (3, 3), per_channel=False)
    y = net.max_pool(y, (2, 2))
    net.output(net.conv(y, 5, (1, 1)))
    return net.model()


def quantised(change: Callable[[onnx.GraphProto, onnx.NodeProto], None], op: str = "QLinearConv") -> bytes:
    """The quantised net with its first node of a kind changed."""
    model = quantised_net(qdq=not op.startswith("QLinear"))
    change(model.graph, next(n for n in model.graph.node if n.op_type == op))
    return bytes(model.SerializeToString())


def constant(graph: onnx.GraphProto, name: str) -> Any:
    """An initialiser by name."""
    return next(t for t in graph.initializer if t.name == name)


def with_input(index: int, value: Any) -> Callable[[onnx.GraphProto, onnx.NodeProto], None]:
    """A change that gives the node another constant as an input."""

    def change(graph: onnx.GraphProto, n: onnx.NodeProto) -> None:
        constant(graph, n.input[index]).CopyFrom(numpy_helper.from_array(np.asarray(value), n.input[index]))

    return change


def with_attribute(name: str, value: Any) -> Callable[[onnx.GraphProto, onnx.NodeProto], None]:
    """A change that sets an attribute of the node."""

    def change(graph: onnx.GraphProto, n: onnx.NodeProto) -> None:
        for a in [a for a in n.attribute if a.name == name]:
            n.attribute.remove(a)
        n.attribute.append(helper.make_attribute(name, value))

    return change


def floats(nodes: Sequence[onnx.NodeProto], shape: Any = (1, 3, 8, 8), opset: int = 17, **constants: Any) -> bytes:
    """A float model from x to y; ``w`` is there for convolutions."""
    weights = {"w": random(4, 3, 3, 3)} | {k: np.asarray(v) for k, v in constants.items()}
    return bytes(float_model(nodes, weights, shape, opset=opset).SerializeToString())


def conv_then(*nodes: onnx.NodeProto, **constants: Any) -> bytes:
    """A convolution from x to c, and nodes from there to y."""
    return floats([node("Conv", ["x", "w"], ["c"], "conv"), *nodes], **constants)


def conv_with(**attributes: Any) -> bytes:
    """One convolution with these attributes."""
    return floats([node("Conv", ["x", "w"], ["y"], "conv", **attributes)])


def pool_with(op: str = "MaxPool", **attributes: Any) -> bytes:
    """A pool with these attributes behind a convolution."""
    return conv_then(node(op, ["c"], ["y"], "pool", **({"kernel_shape": [2, 2]} | attributes)))


def chain(op: str, length: int, *more: str, **attributes: Any) -> bytes:
    """Many equal nodes one behind another."""
    nodes = [node(op, [f"t{n}", *more], [f"t{n + 1}"], f"n{n}", **attributes) for n in range(length)]
    nodes = [node("Conv", ["x", "w"], ["t0"], "conv"), *nodes, node("Relu", [f"t{length}"], ["y"], "last")]
    return floats(nodes, k=random(4, 4, 1, 1), one=np.float32(1))


def fan(length: int) -> bytes:
    """Many readers of one tensor, all read by one Concat."""
    nodes = [node("Relu", ["c"], [f"r{n}"], f"n{n}") for n in range(length)]
    return conv_then(*nodes, node("Concat", [f"r{n}" for n in range(length)], ["y"], "cat", axis=1))


def doubling(op: str, length: int) -> bytes:
    """Each node reads the one before it twice: a walk without memory takes 2**length steps."""
    given: dict[str, Any] = {"axis": 0} if op == "Concat" else {}
    nodes = [node(op, [f"t{n}"] * 2, [f"t{n + 1}"], f"n{n}", **given) for n in range(length)]
    target = node("Reshape", ["c", f"t{length}"], ["y"], "reshape")
    return conv_then(*nodes, target, t0=np.array([1, -1], np.int64))


def quantised_doubling(length: int) -> bytes:
    """The same in a quantised model, where the front end evaluates integers itself."""
    model = quantised_net()
    graph = model.graph
    nodes = [node("Mul", [f"i{n}"] * 2, [f"i{n + 1}"], f"mul{n}") for n in range(length)]
    q = graph.node[2].output[0] if graph.node[2].output[0] else ""
    nodes.append(node("Reshape", [q, f"i{length}"], ["reshaped"], "reshape"))
    nodes.append(node("DequantizeLinear", ["reshaped", *graph.node[1].input[1:3]], ["more"], "dq"))
    graph.node.extend(nodes)
    graph.initializer.append(numpy_helper.from_array(np.array([1, -1], np.int64), "i0"))
    graph.output.append(helper.make_tensor_value_info("more", FLOAT, None))
    return bytes(model.SerializeToString())


def nested(depth: int, op: str = "If") -> bytes:
    """Subgraphs in subgraphs."""
    inner = field(1, field(2, b"y0") + field(4, b"Constant")) + field(12, field(1, b"y0"))
    for n in range(1, depth):
        attribute = field(5, field(1, b"then_branch") + field(6, inner) + b"\xa0\x01\x05")
        inner = field(1, field(1, b"c") + field(2, b"y%d" % n) + field(4, op.encode()) + attribute) + field(2, b"g")
        inner += field(12, field(1, b"y%d" % n))
    return wire(inner)


def nested_small(depth: int) -> bytes:
    """Subgraphs as deep as protobuf allows, whole and valid."""
    graph = helper.make_graph(
        [node("Identity", ["x"], ["y0"])], "g0", [], [helper.make_tensor_value_info("y0", FLOAT, None)]
    )
    for n in range(1, depth):
        name = f"y{n}" if n < depth - 1 else "y"
        made = node("If", ["cond"], [name], f"if{n}", then_branch=graph, else_branch=graph if n < 3 else None)
        if n >= 3:
            made.attribute.append(helper.make_attribute("else_branch", _leaf(n)))
        graph = helper.make_graph([made], f"g{n}", [], [helper.make_tensor_value_info(name, FLOAT, None)])
    model = float_model(list(graph.node), {"cond": np.array(True)})
    return bytes(model.SerializeToString())


def _leaf(n: int) -> onnx.GraphProto:
    return helper.make_graph(
        [node("Identity", ["x"], [f"e{n}"])], f"e{n}", [], [helper.make_tensor_value_info(f"e{n}", FLOAT, None)]
    )


def functions(calls: Mapping[str, Sequence[str]]) -> bytes:
    """A model that calls the function f0; each function calls others by name."""
    model = float_model([node("f0", ["x"], ["y"], domain="local")], {}, (1, 3, 8, 8))
    model.opset_import.append(helper.make_opsetid("local", 1))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    for name, called in calls.items():
        body = [node(c, [f"t{n}"], [f"t{n + 1}"], domain="local" if c in calls else "") for n, c in enumerate(called)]
        model.functions.append(helper.make_function("local", name, ["t0"], [f"t{len(called)}"], body, opsets))
    return bytes(model.SerializeToString())


def external(location: str, **more: str) -> bytes:
    """Weights in another file."""
    model = conv_model(shape=(1, 3, 8, 8))
    t = model.graph.initializer[0]
    t.ClearField("raw_data")
    t.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        t.external_data.add(key=key, value=value)
    return bytes(model.SerializeToString())


def weights_of(dims: Sequence[int], raw: bytes = b"", kind: int = FLOAT) -> bytes:
    """A convolution whose weights claim dims."""
    model = conv_model(shape=(1, 3, 8, 8))
    t = model.graph.initializer[0]
    t.ClearField("dims")
    t.dims.extend(dims)
    t.data_type = kind
    t.raw_data = raw
    return bytes(model.SerializeToString())


def changed(change: Callable[[onnx.ModelProto], Any]) -> bytes:
    """The one-convolution model after a change."""
    model = conv_model(shape=(1, 3, 8, 8))
    change(model)
    return bytes(model.SerializeToString())


def bytes_in(old: bytes, new: bytes) -> bytes:
    """The one-convolution model with bytes of the file replaced."""
    return bytes(conv_model(shape=(1, 3, 8, 8)).SerializeToString().replace(old, new))


def named(name: str) -> bytes:
    """The one-convolution model with another name of its node and weights."""

    def change(model: onnx.ModelProto) -> None:
        n = model.graph.node[0]
        n.name = n.input[1] = model.graph.initializer[0].name = name

    return changed(change)


def const(name: str, value: Any) -> onnx.NodeProto:
    """A Constant node."""
    return node("Constant", [], [name], f"const_{name}", value=numpy_helper.from_array(np.asarray(value), name))


def big(op: str, *inputs: str, **constants: Any) -> bytes:
    """Something huge added to a convolution's result."""
    attributes = {k: constants.pop(k) for k in [k for k in constants if k.startswith("a_")]}
    made = node(op, inputs, ["huge"], "huge", **{k[2:]: v for k, v in attributes.items()})
    return conv_then(made, node("Add", ["c", "huge"], ["y"], "add"), **constants)


def hidden_size(op: str, *inputs: str, **constants: Any) -> bytes:
    """As `big`, with the size computed where shape inference does not look: through Exp and Cast."""
    attributes = {k: constants.pop(k) for k in [k for k in constants if k.startswith("a_")]}
    nodes = [
        node("Exp", ["log"], ["exp"], "exp"),
        node("Cast", ["exp"], ["size"], "cast", to=INT64),
        node(op, inputs, ["huge"], "huge", **{k[2:]: v for k, v in attributes.items()}),
        node("ReduceMax", ["huge"], ["m"], "max", keepdims=0),
        node("Cast", ["m"], ["f"], "cast2", to=FLOAT),
        node("Add", ["c", "f"], ["y"], "add"),
    ]
    return conv_then(*nodes, log=np.full(1, 24, np.float32), **constants)


def i64(*values: int) -> Any:
    """A shape."""
    return np.array(values, np.int64)


def info(name: str, shape: Any, kind: int = FLOAT) -> onnx.ValueInfoProto:
    """A tensor's type."""
    return helper.make_tensor_value_info(name, kind, shape)


def _no_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def _sequence_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", FLOAT, (1, 3, 8, 8)))


def _duplicated(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def _twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def _same_node_names() -> bytes:
    return floats([node("Conv", ["x", "w"], ["c"], "same"), node("Relu", ["c"], ["y"], "same")])


def _cycle() -> bytes:
    return floats([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["a"], ["y"])])


def _loop() -> bytes:
    body = helper.make_graph(
        [node("Identity", ["ci"], ["co"]), node("Concat", ["v", "v"], ["vo"], axis=0)],
        "body",
        [info("i", [], INT64), info("ci", [], TensorProto.BOOL), info("v", None)],
        [info("co", [], TensorProto.BOOL), info("vo", None)],
    )
    nodes = [node("Loop", ["trips", "cond", "w"], ["l"], "loop", body=body), node("Conv", ["x", "l"], ["y"], "conv")]
    return floats(nodes, trips=np.int64(40), cond=np.array(True))


def _endless() -> bytes:
    body = helper.make_graph(
        [node("Identity", ["ci"], ["co"]), node("Identity", ["v"], ["vo"])],
        "body",
        [info("i", [], INT64), info("ci", [], TensorProto.BOOL), info("v", None)],
        [info("co", [], TensorProto.BOOL), info("vo", None)],
    )
    nodes = [node("Loop", ["trips", "cond", "w"], ["l"], "loop", body=body), node("Conv", ["x", "l"], ["y"], "conv")]
    return floats(nodes, trips=np.int64(2**62), cond=np.array(True))


def _opset(*versions: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid("", v) for v in versions)

    return change


def _ir(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.ir_version = version

    return change


ONE = np.ones((), np.float32)
NAN, INF = np.float32("nan"), np.float32("inf")
MILLION = 1_000_000

HOSTILE: Mapping[str, Callable[[], bytes]] = MappingProxyType(
    {
        # bytes
        "empty file": lambda: b"",
        "text": lambda: b"this is no model\n" * 10,
        "five million empty nodes": lambda: wire(b"\x0a\x00" * 5 * MILLION),
        "five million empty initialisers": lambda: wire(b"\x2a\x00" * 5 * MILLION),
        "five million empty inputs": lambda: wire(b"\x5a\x00" * 5 * MILLION),
        "five million attributes": lambda: wire(field(1, b"\x2a\x00" * 5 * MILLION)),
        "five million input names": lambda: wire(field(1, b"\x0a\x00" * 5 * MILLION + field(4, b"Sum"))),
        "five million opsets": lambda: conv_model().SerializeToString() + b"\x42\x00" * 5 * MILLION,
        "five million properties": lambda: conv_model().SerializeToString() + b"\x72\x00" * 5 * MILLION,
        "five million functions": lambda: conv_model().SerializeToString() + b"\xca\x01\x00" * 3 * MILLION,
        "500 deep": lambda: nested(500),
        "90 deep": lambda: nested(30),
        "deep loops": lambda: nested(300, "Loop"),
        "unknown fields": lambda: conv_model(shape=(1, 3, 8, 8)).SerializeToString() + b"\xa3\x06" * 50_000,
        "groups unclosed": lambda: b"\x08\x09" + b"\x3b" * 5 * MILLION,
        "name not utf-8": lambda: bytes_in(b"conv", b"\xff\xfe\xfd\xfc"),
        "surrogate in a name": lambda: bytes_in(b"conv", b"\xed\xa0\x80v"),
        "tensor name not utf-8": lambda: conv_with().replace(b"\x01w", b"\x01\xff"),
        "op type not utf-8": lambda: bytes_in(b"Conv", b"\xff\xfe\xfd\xfc"),
        # names
        "control characters": lambda: named("a\x1b[31mb"),
        "new lines": lambda: named("a\nb\nc\nd\ne"),
        "nul": lambda: named("a\0b"),
        "long name": lambda: named("n" * 9 * MILLION),
        "empty tensor names": lambda: named(""),
        # sizes
        "input of 2**31 rows": lambda: floats([node("Conv", ["x", "w"], ["y"])], (1, 3, 2**31, 8)),
        "input of 2**20 x 2**20": lambda: floats([node("Conv", ["x", "w"], ["y"])], (1, 3, 2**20, 2**20)),
        "input of 2**62": lambda: floats([node("Conv", ["x", "w"], ["y"])], (1, 3, 2**62, 2**62)),
        "a hundred dimensions": lambda: floats([node("Relu", ["x"], ["y"])], (1,) * 100_000),
        "input of no rows": lambda: floats([node("Conv", ["x", "w"], ["y"])], (1, 3, 0, 8)),
        "negative input": lambda: floats([node("Conv", ["x", "w"], ["y"])], (1, 3, -8, 8)),
        "quantised input of 2**31 rows": lambda: quantised(
            lambda g, n: g.input[0].CopyFrom(info(g.input[0].name, (1, 3, 2**31, 5)))
        ),
        "weights of 2**40": lambda: weights_of([2**40, 3, 3, 3]),
        "weights of 2**62 x 2**62": lambda: weights_of([2**62, 2**62, 3, 3]),
        "negative weights": lambda: weights_of([-4, -3, 3, 3], b"\0" * 432),
        "no weights": lambda: weights_of([0, 3, 3, 3]),
        "weights without columns": lambda: weights_of([4, 3, 0, 3]),
        "short weights": lambda: weights_of([4, 3, 3, 3], b"\0" * 100),
        "long weights": lambda: weights_of([4, 3, 3, 3], b"\0" * 1000),
        "odd weights": lambda: weights_of([4, 3, 3, 3], b"\0" * 431),
        "string weights": lambda: weights_of([4, 3, 3, 3], b"\0" * 432, TensorProto.STRING),
        "weights of no type": lambda: weights_of([4, 3, 3, 3], b"\0" * 432, 0),
        "weights of type 99": lambda: weights_of([4, 3, 3, 3], b"\0" * 432, 99),
        "complex weights": lambda: weights_of([4, 3, 3, 3], b"\0" * 864, TensorProto.COMPLEX64),
        "double weights": lambda: weights_of([4, 3, 3, 3], b"\0" * 864, TensorProto.DOUBLE),
        "wrong rank": lambda: weights_of([4, 27], b"\0" * 432),
        "ConstantOfShape of 2**40": lambda: big("ConstantOfShape", "s", s=i64(2**20, 2**20)),
        "ConstantOfShape of 2**32": lambda: big("ConstantOfShape", "s", s=i64(2**16, 2**16)),
        "ConstantOfShape of -1": lambda: big("ConstantOfShape", "s", s=i64(-1, 4)),
        "Expand to 10**9": lambda: big("Expand", "one", "s", one=ONE.reshape(1), s=i64(1000, 1000, 1000)),
        "Expand a map": lambda: big("Expand", "c", "s", s=i64(10**9, 4, 6, 6)),
        "Tile by 10**9": lambda: big("Tile", "c", "s", s=i64(1, 10**9, 1, 1)),
        "Tile a constant": lambda: big("Tile", "one", "s", one=ONE.reshape(1), s=i64(2 * 10**9)),
        "Pad by 2**31": lambda: big("Pad", "c", "p", p=i64(0, 0, 2**31, 0, 0, 0, 0, 0)),
        "Pad by -2**31": lambda: big("Pad", "c", "p", p=i64(0, 0, -(2**31), 0, 0, 0, 0, 0)),
        "Resize by 10**9": lambda: big(
            "Resize", "c", "", "f", f=np.array([1, 1, 1e9, 1], np.float32), a_mode="nearest"
        ),
        "Resize by NaN": lambda: big("Resize", "c", "", "f", f=np.array([1, 1, NAN, 1], np.float32), a_mode="nearest"),
        "Resize by -1": lambda: big("Resize", "c", "", "f", f=np.array([1, 1, -1, 1], np.float32), a_mode="nearest"),
        "Resize to 2**30": lambda: big("Resize", "c", "", "", "s", s=i64(1, 4, 2**30, 6), a_mode="nearest"),
        "Range of 10**12": lambda: big("Range", "a", "b", "d", a=np.float32(0), b=np.float32(1e12), d=np.float32(1)),
        "Range by 0": lambda: big("Range", "a", "b", "d", a=np.float32(0), b=np.float32(9), d=np.float32(0)),
        "EyeLike": lambda: big("EyeLike", "e", e=np.zeros((1, 1), np.float32)),
        "OneHot of 2**40": lambda: big(
            "OneHot", "i", "d", "v", i=i64(1, 2), d=np.int64(2**40), v=np.array([0, 1], np.float32)
        ),
        "RandomNormal of 2**40": lambda: big("RandomNormal", a_shape=[2**20, 2**20]),
        "outer sum": lambda: big(
            "Add", "r", "t", r=np.zeros((500_000, 1), np.float32), t=np.zeros((1, 500_000), np.float32)
        ),
        "outer product": lambda: big(
            "MatMul", "r", "t", r=np.zeros((500_000, 1), np.float32), t=np.zeros((1, 500_000), np.float32)
        ),
        "hidden ConstantOfShape": lambda: hidden_size("ConstantOfShape", "size"),
        "hidden Expand": lambda: hidden_size("Expand", "one", "size", one=ONE.reshape(1)),
        "hidden Tile": lambda: hidden_size("Tile", "one", "size", one=ONE.reshape(1)),
        "hidden Range": lambda: hidden_size("Range", "a", "b", "d", a=np.int64(0), b=np.int64(2**36), d=np.int64(1)),
        "Concat doubling 60 times": lambda: doubling("Concat", 60),
        "Mul doubling 60 times": lambda: doubling("Mul", 60),
        "quantised doubling": lambda: quantised_doubling(60),
        "loop that doubles": _loop,
        "loop without end": _endless,
        "pads of 2**31": lambda: conv_with(pads=[2**31] * 4),
        "pads of 2**20": lambda: conv_with(pads=[2**20] * 4),
        "pads of 2**15": lambda: conv_with(pads=[2**15] * 4),
        "ConvTranspose stride 2**20": lambda: floats(
            [node("ConvTranspose", ["x", "t"], ["y"], strides=[2**20] * 2)], t=random(3, 4, 3, 3)
        ),
        # attributes
        "stride 0": lambda: conv_with(strides=[0, 0]),
        "stride -1": lambda: conv_with(strides=[-1, 1]),
        "stride 2**62": lambda: conv_with(strides=[2**62, 1]),
        "three strides": lambda: conv_with(strides=[1, 1, 1]),
        "dilation 0": lambda: conv_with(dilations=[0, 1]),
        "dilation 2**62": lambda: conv_with(dilations=[2**62, 1]),
        "negative pads": lambda: conv_with(pads=[-1, -1, -1, -1]),
        "three pads": lambda: conv_with(pads=[1, 1, 1]),
        "group 0": lambda: conv_with(group=0),
        "group -1": lambda: conv_with(group=-1),
        "group 2 of 3": lambda: conv_with(group=2),
        "kernel shape that differs": lambda: conv_with(kernel_shape=[5, 5]),
        "kernel shape of 0": lambda: conv_with(kernel_shape=[0, 0]),
        "auto_pad nonsense": lambda: conv_with(auto_pad="SIDEWAYS"),
        "auto_pad a number": lambda: conv_with(auto_pad=3),
        "strides a string": lambda: conv_with(strides="ab"),
        "kernel too large": lambda: floats([node("Conv", ["x", "k"], ["y"])], k=random(4, 3, 9, 9)),
        "bias too short": lambda: floats([node("Conv", ["x", "w", "b"], ["y"])], b=random(2)),
        "bias empty": lambda: floats([node("Conv", ["x", "w", "b"], ["y"])], b=random(0)),
        "bias of rank 2": lambda: floats([node("Conv", ["x", "w", "b"], ["y"])], b=random(1, 4)),
        "bias NaN": lambda: floats([node("Conv", ["x", "w", "b"], ["y"])], b=np.array([NAN, 0, 0, 0], np.float32)),
        "weights NaN": lambda: floats([node("Conv", ["x", "v"], ["y"])], v=np.full((4, 3, 3, 3), NAN, np.float32)),
        "weights infinite": lambda: floats([node("Conv", ["x", "v"], ["y"])], v=np.full((4, 3, 3, 3), INF, np.float32)),
        "weights 3e38": lambda: floats([node("Conv", ["x", "v"], ["y"])], v=np.full((4, 3, 3, 3), 3e38, np.float32)),
        "weights 1e-42": lambda: floats([node("Conv", ["x", "v"], ["y"])], v=np.full((4, 3, 3, 3), 1e-42, np.float32)),
        "weights 0": lambda: floats([node("Conv", ["x", "v"], ["y"])], v=np.zeros((4, 3, 3, 3), np.float32)),
        "int weights": lambda: floats([node("Conv", ["x", "v"], ["y"])], v=np.zeros((4, 3, 3, 3), np.int32)),
        "variance -1": lambda: conv_then(
            node("BatchNormalization", ["c", "k", "k", "k", "v"], ["y"]), k=random(4), v=np.full(4, -1, np.float32)
        ),
        "pool stride 0": lambda: pool_with(strides=[0, 0]),
        "pool kernel 0": lambda: pool_with(kernel_shape=[0, 0]),
        "pool kernel -1": lambda: pool_with(kernel_shape=[-1, 2]),
        "pool kernel 2**62": lambda: pool_with(kernel_shape=[2**62, 2]),
        "pool kernel of one axis": lambda: pool_with(kernel_shape=[2]),
        "pool without kernel": lambda: conv_then(node("MaxPool", ["c"], ["y"])),
        "pool dilation 0": lambda: pool_with(dilations=[0, 0]),
        "pool pads negative": lambda: pool_with(pads=[-1, 0, 0, 0]),
        "pool pads larger than the kernel": lambda: pool_with(pads=[7, 7, 7, 7]),
        "average stride 0": lambda: pool_with("AveragePool", strides=[0, 0]),
        "average pads negative": lambda: pool_with("AveragePool", pads=[-1, 0, 0, 0]),
        "average without kernel": lambda: conv_then(node("AveragePool", ["c"], ["y"])),
        "lp pool": lambda: pool_with("LpPool", strides=[0, 0]),
        "LRN of size 0": lambda: conv_then(node("LRN", ["c"], ["y"], size=0)),
        "concat axis 9": lambda: conv_then(node("Concat", ["c", "c"], ["y"], axis=9)),
        "concat of nothing": lambda: conv_then(node("Concat", [], ["y"], axis=1)),
        "concat of two sizes": lambda: conv_then(node("Concat", ["c", "x"], ["y"], axis=0)),
        "reshape contradiction": lambda: conv_then(node("Reshape", ["c", "s"], ["y"]), s=i64(1, 7)),
        "reshape two unknown": lambda: conv_then(node("Reshape", ["c", "s"], ["y"]), s=i64(-1, -1)),
        "reshape to -2": lambda: conv_then(node("Reshape", ["c", "s"], ["y"]), s=i64(-2, 5)),
        "reshape to 2**62": lambda: conv_then(node("Reshape", ["c", "s"], ["y"]), s=i64(2**62, 4)),
        "reshape too many zeros": lambda: conv_then(node("Reshape", ["c", "s"], ["y"]), s=i64(*[0] * 9)),
        "reshape by floats": lambda: conv_then(node("Reshape", ["c", "s"], ["y"]), s=np.array([1, -1], np.float32)),
        "reshape by a scalar": lambda: conv_then(node("Reshape", ["c", "s"], ["y"]), s=np.int64(4)),
        "transpose twice the same": lambda: conv_then(node("Transpose", ["c"], ["y"], perm=[0, 0, 1, 2])),
        "transpose out of range": lambda: conv_then(node("Transpose", ["c"], ["y"], perm=[0, 7, 1, 2])),
        "squeeze nothing there": lambda: conv_then(node("Squeeze", ["c", "s"], ["y"]), s=i64(9)),
        "unsqueeze twice": lambda: conv_then(node("Unsqueeze", ["c", "s"], ["y"]), s=i64(1, 1)),
        "flatten at 77": lambda: conv_then(node("Flatten", ["c"], ["y"], axis=77)),
        "softmax at 77": lambda: conv_then(node("Softmax", ["c"], ["y"], axis=77)),
        "gemm of a map": lambda: conv_then(node("Gemm", ["c", "g"], ["y"]), g=random(4, 4)),
        "matmul that does not fit": lambda: conv_then(node("MatMul", ["c", "g"], ["y"]), g=random(5, 4)),
        "gather out of range": lambda: conv_then(node("Gather", ["c", "i"], ["y"], axis=1), i=i64(99)),
        "add that does not fit": lambda: conv_then(node("Add", ["c", "x"], ["y"])),
        "Cast to type 99": lambda: conv_then(node("Cast", ["c"], ["y"], to=99)),
        "Slice of steps 0": lambda: conv_then(
            node("Slice", ["c", "z", "e", "ax", "z"], ["y"]), z=i64(0), e=i64(3), ax=i64(2)
        ),
        "Split of nothing": lambda: conv_then(node("Split", ["c", "s"], ["y", "y2"], axis=1), s=i64(0, 4)),
        "huge attribute": lambda: conv_with(note=list(range(MILLION))),
        "huge string attribute": lambda: conv_with(note="n" * 9 * MILLION),
        # graphs
        "no nodes": lambda: float_model([], {}).SerializeToString(),
        "output is input": lambda: changed(lambda m: m.graph.output[0].CopyFrom(info("x", (1, 3, 8, 8)))),
        "no outputs": lambda: changed(_no_outputs),
        "no inputs": lambda: changed(lambda m: m.graph.input.pop()),
        "dangling input": lambda: floats([node("Conv", ["nowhere", "w"], ["y"])]),
        "dangling output": lambda: changed(lambda m: m.graph.output.append(info("nowhere", None))),
        "output twice": lambda: changed(lambda m: m.graph.output.append(m.graph.output[0])),
        "input twice": lambda: changed(lambda m: m.graph.input.append(m.graph.input[0])),
        "output is an initialiser": lambda: changed(lambda m: m.graph.output.append(info("w", (4, 3, 3, 3)))),
        "tensor twice": lambda: changed(_duplicated),
        "initialiser twice": lambda: changed(_twice),
        "node names twice": _same_node_names,
        "cycle": _cycle,
        "sequence input": lambda: changed(_sequence_input),
        "string input": lambda: changed(
            lambda m: m.graph.input[0].CopyFrom(info("x", (1, 3, 8, 8), TensorProto.STRING))
        ),
        "input of type 99": lambda: changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 99)),
        "double input": lambda: changed(
            lambda m: m.graph.input[0].CopyFrom(info("x", (1, 3, 8, 8), TensorProto.DOUBLE))
        ),
        "wrong output type": lambda: changed(lambda m: m.graph.output[0].CopyFrom(info("y", (1, 4, 6, 6), INT64))),
        "wrong output shape": lambda: changed(lambda m: m.graph.output[0].CopyFrom(info("y", (1, 4, 66, 6)))),
        "wrong shape in between": lambda: changed(lambda m: m.graph.value_info.append(info("y", (9, 9)))),
        "channels that do not fit": lambda: changed(lambda m: m.graph.input[0].CopyFrom(info("x", (1, 5, 8, 8)))),
        "unknown op": lambda: floats([node("Frobnicate", ["x"], ["y"])]),
        "unknown domain": lambda: floats([node("Conv", ["x", "w"], ["y"], domain="nowhere.example")]),
        "no op": lambda: floats([node("", ["x"], ["y"])]),
        "sparse weights": lambda: changed(lambda m: m.graph.sparse_initializer.add()),
        "training info": lambda: changed(lambda m: m.training_info.add()),
        # versions
        "opset 0": lambda: changed(_opset(0)),
        "opset -1": lambda: changed(_opset(-1)),
        "opset 1": lambda: changed(_opset(1)),
        "opset 999": lambda: changed(_opset(999)),
        "opset 2**62": lambda: changed(_opset(2**62)),
        "no opset": lambda: changed(_opset()),
        "two opsets": lambda: changed(_opset(13, 17)),
        "ir 0": lambda: changed(_ir(0)),
        "ir -1": lambda: changed(_ir(-1)),
        "ir 2**62": lambda: changed(_ir(2**62)),
        # functions and subgraphs
        "function that calls itself": lambda: functions({"f0": ["f0"]}),
        "functions in a circle": lambda: functions({"f0": ["f1"], "f1": ["f2"], "f2": ["f0"]}),
        "functions that double": lambda: functions({f"f{n}": [f"f{n + 1}"] * 2 for n in range(40)} | {"f40": ["Relu"]}),
        "function": lambda: functions({"f0": ["Relu", "Sigmoid"]}),
        "20 subgraphs deep": lambda: nested_small(20),
        "5 subgraphs deep": lambda: nested_small(5),
        # external data
        "external missing": lambda: external("nothing.bin"),
        "external absolute": lambda: external("/etc/passwd"),
        "external above": lambda: external("../../etc/passwd"),
        "external folder": lambda: external("."),
        "external without name": lambda: external(""),
        "external nul": lambda: external("a\0b"),
        "external offset": lambda: external("nothing.bin", offset="-5", length="99999999999999"),
        "external offset text": lambda: external("nothing.bin", offset="five"),
        # numbers of nodes
        "20000 Identity": lambda: chain("Identity", 20_000),
        "9000 Identity": lambda: chain("Identity", 9_000),
        "9000 Relu": lambda: chain("Relu", 9_000),
        "9000 Add": lambda: chain("Add", 9_000, "one"),
        "9000 Conv": lambda: chain("Conv", 9_000, "k"),
        "9000 Sigmoid": lambda: chain("Sigmoid", 9_000),
        "20000 readers": lambda: fan(20_000),
        "5000 readers": lambda: fan(5_000),
        "Concat of 20000": lambda: conv_then(node("Concat", ["c"] * 20_000, ["y"], axis=1)),
        "Sum of 20000": lambda: conv_then(node("Sum", ["c"] * 20_000, ["y"])),
        # quantised
        "scale NaN": lambda: quantised(with_input(1, NAN)),
        "scale infinite": lambda: quantised(with_input(1, INF)),
        "scale 0": lambda: quantised(with_input(1, np.float32(0))),
        "scale negative": lambda: quantised(with_input(1, np.float32(-0.1))),
        "scale 1e-42": lambda: quantised(with_input(1, np.float32(1e-42))),
        "scale 3e38": lambda: quantised(with_input(1, np.float32(3e38))),
        "scale 1e-37": lambda: quantised(with_input(1, np.float32(1e-37))),
        "scale empty": lambda: quantised(with_input(1, np.zeros(0, np.float32))),
        "scale of two": lambda: quantised(with_input(1, np.ones(2, np.float32))),
        "scale an integer": lambda: quantised(with_input(1, np.int32(1))),
        "scale a double": lambda: quantised(with_input(1, np.float64(1))),
        "zero point a float": lambda: quantised(with_input(2, np.float32(1))),
        "zero point int32": lambda: quantised(with_input(2, np.int32(1))),
        "zero point int8": lambda: quantised(with_input(2, np.int8(1))),
        "zero point empty": lambda: quantised(with_input(2, np.zeros(0, np.uint8))),
        "weight scale NaN": lambda: quantised(with_input(4, NAN)),
        "weight scales of three": lambda: quantised(with_input(4, np.ones(3, np.float32))),
        "weight scale 0": lambda: quantised(with_input(4, np.float32(0))),
        "result scale 0": lambda: quantised(with_input(6, np.float32(0))),
        "result scale 1e-42": lambda: quantised(with_input(6, np.float32(1e-42))),
        "quantised bias short": lambda: quantised(with_input(8, np.zeros(2, np.int32))),
        "quantised bias empty": lambda: quantised(with_input(8, np.zeros(0, np.int32))),
        "quantised bias float": lambda: quantised(with_input(8, np.zeros(4, np.float32))),
        "quantised bias int8": lambda: quantised(with_input(8, np.zeros(4, np.int8))),
        "quantised weights empty": lambda: quantised(with_input(3, np.zeros((0, 3, 3, 3), np.int8))),
        "quantised weights no taps": lambda: quantised(with_input(3, np.zeros((4, 3, 0, 0), np.int8))),
        "quantised weights rank 2": lambda: quantised(with_input(3, np.zeros((4, 27), np.int8))),
        "quantised weights float": lambda: quantised(with_input(3, np.zeros((4, 3, 3, 3), np.float32))),
        "quantised stride 0": lambda: quantised(with_attribute("strides", [0, 0])),
        "quantised dilation 0": lambda: quantised(with_attribute("dilations", [0, 0])),
        "quantised pads negative": lambda: quantised(with_attribute("pads", [-1, -1, -1, -1])),
        "quantised pads 2**20": lambda: quantised(with_attribute("pads", [2**20] * 4)),
        "quantised group 0": lambda: quantised(with_attribute("group", 0)),
        "quantised group 2": lambda: quantised(with_attribute("group", 2)),
        "quantised auto_pad": lambda: quantised(with_attribute("auto_pad", "SIDEWAYS")),
        "quantised few inputs": lambda: quantised(lambda g, n: n.input.__delitem__(slice(4, None))),
        "quantised no inputs": lambda: quantised(lambda g, n: n.input.__delitem__(slice(0, None))),
        "quantised no outputs": lambda: quantised(lambda g, n: n.output.__delitem__(slice(0, None))),
        "quantised empty input": lambda: quantised(lambda g, n: n.input.__setitem__(1, "")),
        "qdq scale NaN": lambda: quantised(with_input(1, NAN), "DequantizeLinear"),
        "qdq scale 0": lambda: quantised(with_input(1, np.float32(0)), "DequantizeLinear"),
        "qdq axis 9": lambda: quantised(with_attribute("axis", 9), "DequantizeLinear"),
        "qdq zero missing": lambda: quantised(lambda g, n: n.input.__delitem__(slice(2, None)), "DequantizeLinear"),
        "qdq scale missing": lambda: quantised(lambda g, n: n.input.__delitem__(slice(1, None)), "DequantizeLinear"),
        "qdq pool kernel 0": lambda: quantised(with_attribute("kernel_shape", [0, 0]), "MaxPool"),
        "qdq pool stride 0": lambda: quantised(with_attribute("strides", [0, 0]), "MaxPool"),
        "qdq group 0": lambda: quantised(with_attribute("group", 0), "Conv"),
    }
)
"""Builders by name."""
