"""Random small models: the graph's values equal onnxruntime's on every 8-bit tensor, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from pimc.frontend import load_model
from pimc.ir.ops import Concat, Conv, Gap, Lut, MaxPool, Mul
from tests.differential.frontend_models import Net, Tensor, check, differences

FORMS = {
    "qoperator-u8s8": {"qdq": False},
    "qoperator-u8u8": {"qdq": False, "wide": True},
    "qoperator-s8s8": {"qdq": False, "signed": True},
    "qdq-u8s8": {"qdq": True},
    "qdq-u8u8": {"qdq": True, "wide": True},
    "qdq-s8s8": {"qdq": True, "signed": True},
}
form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
Form = dict[str, bool]


def lowest(net: Net) -> int:
    """The zero point at which a Relu costs nothing."""
    return -128 if net.signed else 0


def convolution(seed: int, form: Form) -> Net:
    net = Net(seed, **form)
    rng = net.rng
    x = net.input(6, int(rng.integers(5, 12)), int(rng.integers(5, 12)))
    options: dict[str, Any] = {}
    match int(rng.integers(0, 4)):
        case 0:
            options["pads"] = [int(v) for v in rng.integers(0, 2, 4)]
        case 1:
            options["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    if rng.random() < 0.5:
        options["strides"] = [int(v) for v in rng.integers(1, 3, 2)]
    if rng.random() < 0.4 and "auto_pad" not in options:
        options["dilations"] = [int(v) for v in rng.integers(1, 3, 2)]
    kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    groups = int(rng.choice([1, 1, 2, 3, 6]))
    per_channel, bias = bool(rng.random() < 0.6), bool(rng.random() < 0.7)
    outputs = int(rng.choice([6, 12]))
    net.output(net.conv(x, outputs, kernel, per_channel=per_channel, bias=bias, groups=groups, **options))
    return net


def limited(seed: int, form: Form) -> Net:
    net = Net(seed, **form)
    x = net.input(4, 6, 6)
    net.output(net.conv(x, 5, (3, 3), after=str(net.rng.choice(["Relu", "Clip"])), zero=lowest(net)))
    return net


def dense(seed: int, form: Form) -> Net:
    net = Net(seed, **form)
    x = net.input(int(net.rng.integers(3, 60)))
    y = net.gemm(x, 7, per_channel=bool(net.rng.random() < 0.6), transposed=bool(net.rng.random() < 0.6))
    net.output(net.matmul(y, 5))
    return net


def flattened(seed: int, form: Form) -> Net:
    net = Net(seed, **form)
    y = net.conv(net.input(3, 8, 6), 4, (3, 3))
    net.output(net.gemm(net.relabel("Flatten", y, (1, 96)), 7, transposed=bool(seed % 2)))
    return net


def sums(seed: int, form: Form) -> Net:
    net = Net(seed, **form)
    x = net.input(3, 8, 6)
    a, b = net.conv(x, 4, (3, 3)), net.conv(x, 4, (3, 3))
    y = net.binary("Add", a, b)
    net.output(net.binary("Mul", y, b))
    net.output(net.binary("Add", y, a, after="Relu", zero=lowest(net)))
    return net


def gates(seed: int, form: Form) -> Net:
    """Squeeze and excitation, and a sum that is broadcast."""
    net = Net(seed, **form)
    a = net.conv(net.input(3, 8, 6), 4, (3, 3))
    pooled = net.global_average(a)
    gate = net.unary("Sigmoid", net.conv(net.conv(pooled, 2, (1, 1)), 4, (1, 1)))
    pair = (a, gate) if seed % 2 else (gate, a)
    net.output(net.binary("Mul", *pair))
    net.output(net.binary("Add", *pair))
    return net


def joined(seed: int, form: Form) -> Net:
    net = Net(seed, **form)
    x = net.input(3, 8, 6)
    a, b = net.conv(x, 4, (3, 3)), net.conv(x, 5, (3, 3))
    net.output(net.concat(net.concat(a, b), a, same=True))
    return net


def pooled(seed: int, form: Form) -> Net:
    net = Net(seed, **form)
    a = net.conv(net.input(3, 11, 10), 4, (3, 3))
    net.output(net.max_pool(a, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1]))
    net.output(net.max_pool(a, (3, 2), strides=[2, 2], ceil_mode=1, rescale=True))
    net.output(net.max_pool(a, (2, 2), dilations=[2, 2]))
    net.output(net.global_average(a))
    net.output(net.average_pool(a, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1]))
    net.output(net.average_pool(a, (3, 2), pads=[1, 0, 1, 0], count_include_pad=1))
    return net


UNARY = {
    "HardSwish": {},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.4},
    "Sigmoid": {},
    "LeakyRelu": {"alpha": 0.1},
    "Elu": {},
    "Tanh": {},
    "Gelu": {},
    "Softplus": {},
    "Relu": {},
    "Abs": {},
}


def tables(seed: int, form: Form) -> Net:
    net = Net(seed, **form)
    a = net.conv(net.input(3, 11, 10), 4, (3, 3))
    for op, options in UNARY.items():
        net.output(net.unary(op, a, **options))
    return net


FAMILIES = [convolution, limited, dense, flattened, sums, gates, joined, pooled, tables]
family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)


@form
@family
@pytest.mark.parametrize("seed", range(3))
def test_family(family: Callable[[int, Form], Net], form: Form, seed: int) -> None:
    check(family(seed, form))


@pytest.mark.slow
@form
@family
def test_family_many(family: Callable[[int, Form], Net], form: Form) -> None:
    for seed in range(100, 160):
        check(family(seed, form), images=4)


@form
def test_whole_network(form: Form) -> None:
    """A small residual network with every kind of operator in it."""
    net = Net(7, **form)
    x = net.conv(net.input(3, 20, 20), 8, (3, 3), after="Relu", zero=lowest(net), pads=[1, 1, 1, 1], strides=[2, 2])
    x = net.max_pool(x, (2, 2), strides=[2, 2])
    y = net.conv(x, 8, (3, 3), groups=8, pads=[1, 1, 1, 1])
    y = net.unary("HardSwish", net.conv(y, 8, (1, 1)))
    x = net.binary("Add", x, y, after="Relu", zero=lowest(net))
    x = net.concat(x, net.conv(x, 4, (1, 1)))
    x = net.binary("Mul", x, net.unary("Sigmoid", net.conv(net.global_average(x), 12, (1, 1))))
    net.output(net.gemm(net.relabel("Flatten", x, (1, 300)), 10))
    graph = check(net)
    kinds = {type(op) for op in graph.ops()}
    assert {Concat, Conv, Gap, Lut, MaxPool, Mul} <= kinds


# -- layouts


@form
def test_channels_last_dense(form: Form) -> None:
    """Rows x columns x channels after a transpose: flattened for a Gemm, and position by position for a MatMul."""
    net = Net(3, **form)
    y = net.conv(net.input(3, 6, 5), 4, (3, 3))
    y = net.relabel("Transpose", y, (1, 4, 3, 4), perm=[0, 2, 3, 1])
    z = net.relabel("Reshape", y, (1, 48), np.array([0, -1], np.int64))
    net.output(net.gemm(z, 5))
    w = net.matmul(y, 6)
    net.output(w)
    back = net.relabel("Transpose", w, (1, 6, 4, 3), perm=[0, 3, 1, 2])
    net.output(net.conv(back, 3, (2, 2)))
    check(net)


@form
def test_squeezed_vector(form: Form) -> None:
    net = Net(4, **form)
    y = net.global_average(net.conv(net.input(3, 6, 5), 4, (3, 3)))
    z = net.relabel("Squeeze", y, (1, 4), np.array([2, 3], np.int64))
    z = net.gemm(z, 4)
    z = net.relabel("Unsqueeze", z, (1, 4, 1, 1), np.array([2, 3], np.int64))
    net.output(net.conv(z, 5, (1, 1)))
    check(net)


@form
def test_transposed_input(form: Form) -> None:
    """An NHWC input: the host's head transposes it."""
    net = Net(5, **form)
    x = net.input(8, 7, 3)
    y = net.relabel("Transpose", x, (1, 3, 8, 7), perm=[0, 3, 1, 2])
    net.output(net.conv(y, 4, (3, 3)))
    graph = check(net)
    head = next(iter(graph.ops()))
    assert "Transpose" in getattr(head, "why", "")
    assert head.shape == (8, 7, 3)


@pytest.mark.parametrize("signed", [False, True])
def test_relabels_between_float_operators(signed: bool) -> None:
    """Flatten behind a pool and before a Gemm, with no quantisation between them."""
    net = Net(17, qdq=True, signed=signed)
    y = net.conv(net.input(3, 6, 5), 4, (3, 3))
    pooled = net.node("Flatten", [net.node("GlobalAveragePool", [net.dq(y)])])
    z = net.quantise(pooled, net.result((1, 4), y.scale * 0.3))
    net.output(net.gemm(z, 5))
    names, scale, _ = net.weights((7, 48), 0, True)
    flat = net.node("Reshape", [net.dq(y), net.const(np.array([0, 48], np.int64))])
    weights = net.node("DequantizeLinear", names, axis=0)
    value = net.node("Gemm", [flat, weights], transB=1)
    net.output(net.quantise(value, net._spread(y, scale, 48, None, (1, 7))))
    graph = load_model(net.model())
    found, compared = differences(
        graph, {net.inputs[0].name: np.random.default_rng(0).normal(0, 4, (3, 3, 6, 5)).astype("f4")}
    )
    assert compared == 5
    assert found == []


@form
def test_reshape_to_a_computed_shape(form: Form) -> None:
    """``x.view(x.size(0), -1)`` as exporters write it."""
    net = Net(18, **form)
    y = net.conv(net.input(3, 6, 5), 4, (3, 3))
    size = net.node("Gather", [net.node("Shape", [y.name]), net.const(np.array(0, np.int64))])
    first = net.node("Unsqueeze", [size, net.const(np.array([0], np.int64))])
    target = net.node("Concat", [first, net.const(np.array([-1], np.int64))], axis=0)
    if net.qdq:
        z = net.quantise(net.node("Reshape", [net.dq(y), target]), net.result((1, 48), y.scale, y.zero))
    else:
        z = Tensor(net.node("Reshape", [y.name, target]), y.scale, y.zero, (1, 48))
    net.output(net.gemm(z, 5))
    check(net)


@form
def test_padding_before_a_convolution(form: Form) -> None:
    net = Net(19, **form)
    y = net.conv(net.input(3, 6, 5), 4, (3, 3))
    pads = np.array([0, 0, 1, 0, 0, 0, 2, 1], np.int64)
    shape = (1, 4, 7, 4)
    if net.qdq:
        fill = net.const(np.asarray(0, np.float32))
        z = net.quantise(net.node("Pad", [net.dq(y), net.const(pads), fill]), net.result(shape, y.scale, y.zero))
    else:
        fill = net.scale_of(y)[1]
        z = Tensor(net.node("Pad", [y.name, net.const(pads), fill]), y.scale, y.zero, shape)
    net.output(net.conv(z, 3, (3, 3), pads=[1, 0, 0, 0]))
    convs = list(check(net).of(Conv))
    assert convs[1].pads == (2, 0, 2, 1)


def test_limits_from_constant_nodes() -> None:
    """Bounds of a Clip in Constant nodes; alone it is a table, behind a convolution part of it."""
    net = Net(20, qdq=True)
    bounds = [net.node("Constant", [], value_float=v) for v in (0.0, 6.0)]
    y = net.conv(net.input(3, 6, 5), 4, (3, 3))
    z = net.quantise(net.node("Clip", [net.dq(y), *bounds]), net.result(y.shape, 6 / 255, 0))
    net.output(net.conv(z, 4, (1, 1)))
    assert [op.kind for op in check(net).ops()][1:4] == ["q.conv", "q.lut", "q.conv"]


# -- constants and formats


def constant_operand(net: Net, scale: float, values: np.ndarray) -> Tensor:
    name = net.const(values.astype(net.act), "fixed")
    return Tensor(name, scale, 0, values.shape)


@form
def test_constant_scalar_is_a_table(form: Form) -> None:
    net = Net(6, **form)
    y = net.conv(net.input(3, 6, 5), 4, (3, 3))
    for op in ("Add", "Mul"):
        net.output(net.binary(op, y, constant_operand(net, 0.02, np.array(90))))
    assert sum(isinstance(op, Lut) for op in check(net).ops()) == 2


@form
def test_constant_per_channel(form: Form) -> None:
    net = Net(6, **form)
    y = net.conv(net.input(3, 6, 5), 4, (3, 3))
    net.output(net.binary("Mul", y, constant_operand(net, 0.02, np.array([3, 90, 0, 127]).reshape(1, 4, 1, 1))))
    net.output(net.binary("Add", y, constant_operand(net, 0.02, np.array([3, 90, 0, 127]).reshape(1, 4, 1, 1))))
    check(net)


def test_other_weight_zero_point() -> None:
    """Weights of uint8 with zero point 120 fit int8 where none is above 247."""
    net = Net(8, qdq=True)
    x = net.input(3, 6, 5)
    weights = net.rng.integers(0, 248, (4, 3, 3, 3)).astype(np.uint8)
    parameters = [net.const(np.asarray(0.01, np.float32)), net.const(np.asarray(120, np.uint8))]
    w = net.node("DequantizeLinear", [net.const(weights), *parameters])
    net.output(net.quantise(net.node("Conv", [net.dq(x), w]), net.result((1, 4, 4, 3), 0.8)))
    check(net)


def test_weights_quantised_in_the_model() -> None:
    """Float weights behind QuantizeLinear, as quantisation-aware training leaves them."""
    net = Net(9, qdq=True)
    x = net.input(3, 6, 5)
    parameters = [net.const(np.full(4, 0.01, np.float32)), net.const(np.zeros(4, np.int8))]
    weights = net.const(net.rng.normal(0, 0.5, (4, 3, 3, 3)).astype(np.float32))
    q = net.node("QuantizeLinear", [weights, *parameters], axis=0)
    w = net.node("DequantizeLinear", [q, *parameters], axis=0)
    net.output(net.quantise(net.node("Conv", [net.dq(x), w]), net.result((1, 4, 4, 3), 0.8)))
    check(net)


def test_float_bias() -> None:
    """A float bias is quantised with the product of the scales, as onnxruntime does."""
    net = Net(10, qdq=True)
    x = net.input(3, 6, 5)
    names, _, _ = net.weights((4, 3, 3, 3), 0, True)
    w = net.node("DequantizeLinear", names, axis=0)
    b = net.const(net.rng.normal(0, 3, 4).astype(np.float32))
    net.output(net.quantise(net.node("Conv", [net.dq(x), w, b]), net.result((1, 4, 4, 3), 0.8)))
    check(net)


#: Before 1.27 onnxruntime took a bias of any scale as it is, against the meaning of DequantizeLinear.
BIAS_SCALES_COUNT = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 27)


@pytest.mark.parametrize(
    ("factor", "exact"),
    [
        (1.005, True),
        pytest.param(2.0, False, marks=pytest.mark.skipif(not BIAS_SCALES_COUNT, reason="an older onnxruntime")),
    ],
)
def test_bias_of_another_scale(factor: float, exact: bool) -> None:
    """Within 1 % onnxruntime takes the bias as it is; beyond, it computes in float, and the tensor is named inexact."""
    net = Net(10, qdq=True)
    y = net.conv(net.input(3, 6, 5), 4, (3, 3))
    for tensor in net.constants:
        if tensor.name.startswith("bs"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    net.output(y)
    graph = load_model(net.model())
    feeds = {net.inputs[0].name: np.random.default_rng(1).normal(0, 4, (4, 3, 6, 5)).astype(np.float32)}
    found, _ = differences(graph, feeds)
    assert [d for d in found if exact or d.largest > 1] == []
    assert (y.name in graph.meta.get("inexact", "")) != exact


@pytest.mark.parametrize("signed", [False, True])
def test_8_bit_ports(signed: bool) -> None:
    """Inputs and outputs that are 8-bit tensors of the chip pass through the host as they are."""
    net = Net(11, qdq=False, signed=signed)
    kind = onnx.TensorProto.INT8 if signed else onnx.TensorProto.UINT8
    x = Tensor("x", 0.05, 3, (1, 3, 6, 5))
    net.inputs.append(helper.make_tensor_value_info("x", kind, ("n", 3, 6, 5)))
    y = net.conv(x, 4, (3, 3))
    net.outputs.append(helper.make_tensor_value_info(y.name, kind, ("n", 4, 4, 3)))
    z = net.conv(y, 2, (2, 2))
    net.outputs.append(helper.make_tensor_value_info(z.name, kind, ("n", 2, 3, 2)))
    graph = load_model(net.model())
    info = np.iinfo(net.act)
    feed = np.random.default_rng(0).integers(info.min, info.max + 1, (4, 3, 6, 5)).astype(net.act)
    found, _ = differences(graph, {"x": feed})
    assert found == []


def test_several_inputs_and_float_ends() -> None:
    """Two inputs; floats before and behind the chip; an output that needs an input again."""
    net = Net(12, qdq=True)
    a, b = net.input(3, 6, 5), net.input(3, 6, 5)
    y = net.binary("Add", net.conv(a, 4, (3, 3)), net.conv(b, 4, (3, 3)))
    value = net.node("Softmax", [net.node("Flatten", [net.dq(y)], axis=1)], axis=1)
    mean = net.node("ReduceMean", [net.inputs[0].name], keepdims=1)
    scaled = net.node("Mul", [value, net.node("Reshape", [mean, net.const(np.array([-1, 1], np.int64))])])
    net.outputs.append(helper.make_tensor_value_info(scaled, onnx.TensorProto.FLOAT, None))
    graph = load_model(net.model())
    feeds = {p.name: np.random.default_rng(2).normal(0, 4, (1, *p.shape)).astype(np.float32) for p in graph.inputs}
    found, _ = differences(graph, feeds)
    assert found == []


def test_chain_of_floats_is_one_table() -> None:
    """x * HardSigmoid(x) between quantisations: one value, one table."""
    net = Net(13, qdq=True)
    y = net.conv(net.input(3, 6, 5), 4, (3, 3))
    x = net.dq(y)
    value = net.node("Mul", [x, net.node("HardSigmoid", [x])])
    net.output(net.quantise(value, net.result(y.shape, y.scale)))
    assert sum(isinstance(op, Lut) for op in check(net).ops()) == 1


def test_int8_table_index_is_the_stored_value() -> None:
    """Entry i of a table is for the int8 value i - 128."""
    net = Net(14, qdq=True, signed=True)
    y = net.conv(net.input(3, 6, 5), 4, (3, 3))
    net.output(net.quantise(net.node("Neg", [net.dq(y)]), net.result(y.shape, y.scale, 0)))
    graph = check(net)
    (lut,) = graph.of(Lut)
    want = np.clip(-(np.arange(256) - 128 - y.zero), -128, 127) + 128
    np.testing.assert_array_equal(graph.constants[lut.table], want)


def test_initialiser_also_listed_as_input() -> None:
    """Old files list constants among the inputs; they are no ports."""
    net = Net(15, qdq=False)
    net.output(net.conv(net.input(3, 6, 5), 4, (3, 3)))
    model = net.model()
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, array.shape))
    assert len(load_model(model).inputs) == 1


@pytest.mark.parametrize("shared", ["weights", "zero points", "dequantised weights"])
@pytest.mark.parametrize("qdq", [False, True], ids=["qoperator", "qdq"])
def test_shared_weights(shared: str, qdq: bool) -> None:
    """Two layers with the same constants; onnxruntime needs copies (and fails without them)."""
    net = Net(16, qdq=qdq)
    y = net.conv(net.input(4, 6, 6), 4, (3, 3), per_channel=False, bias=False)
    net.output(net.conv(y, 4, (3, 3), per_channel=False, bias=False))
    model = net.model()
    reads = "DequantizeLinear" if qdq else "QLinearConv"
    first, second = (n for n in model.graph.node if n.op_type == reads and any(i[:1] == "w" for i in n.input))
    places = {"weights": [0, 1], "zero points": [2], "dequantised weights": [0, 1, 2]}[shared]
    for place in places:
        second.input[place + (0 if qdq else 3)] = first.input[place + (0 if qdq else 3)]
    if qdq and shared == "dequantised weights":
        for node in model.graph.node:
            node.input[:] = [first.output[0] if name == second.output[0] else name for name in node.input]
        model.graph.node.remove(second)
    graph = load_model(model)
    found, _ = differences(
        graph, {net.inputs[0].name: np.random.default_rng(1).normal(0, 4, (2, 4, 6, 6)).astype("f4")}
    )
    assert found == []
