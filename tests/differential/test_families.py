"""Families of models that other tools trip over: what a program computes is what onnxruntime says of the user's file.

Sessions are plain ones: default optimisation, no tensor exposed. Float models are judged by their error, next to that
of an exact computation in floating point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

import pimc
from pimc.frontend import check_model
from pimc.frontend.macs import HostLayersWarning
from pimc.frontend.pairs import joined_range
from pimc_isa.engines import step
from tests.differential.frontend_models import Net

Array = np.ndarray
SEEDS = range(6)


def images(model: onnx.ModelProto, count: int = 6, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    constants = {t.name for t in model.graph.initializer}
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][1:]
        for v in model.graph.input
        if v.name not in constants
    }
    return {name: rng.normal(0, 1, (count, *shape)).astype(np.float32) for name, shape in shapes.items()}


def session(model: onnx.ModelProto, saved: str = "") -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    if saved:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = saved
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def plain(model: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    made = session(model)
    return dict(zip([o.name for o in made.get_outputs()], made.run(None, feeds), strict=True))


def assert_equal(model: onnx.ModelProto, target: str = "isaac", *, referee: bool = False) -> Any:
    """The program's outputs are those of a plain session, and verify passes."""
    feeds = images(model)
    program = pimc.compile(model, target)
    ours = program.values(feeds)
    for name, theirs in plain(model, feeds).items():
        assert np.ptp(theirs) > 0
        np.testing.assert_allclose(ours[name], theirs, 1e-5, 1e-6)
    assert program.verify(feeds).verdict == "PASS"
    if referee:
        slow = step.run(program.program, {k: v[:2] for k, v in feeds.items()}, 2)
        for name, value in slow.outputs.items():
            np.testing.assert_array_equal(value, ours[name][:2])
    return program


def snr_db(theirs: Array, ours: Array) -> float:
    return float(10 * np.log10(np.var(theirs) / np.mean(np.square(theirs - ours))))


def assert_close(model: onnx.ModelProto, least_db: float = 25.0) -> Any:
    """A float model: the program does what it does."""
    feeds = images(model, 16)
    program = pimc.compile(model, calibration=feeds)
    ours = program.values(feeds)
    for name, theirs in plain(model, feeds).items():
        assert snr_db(theirs, ours[name]) > least_db
    assert program.verify(feeds).verdict == "PASS"
    return program


# ---- float models ----


class Float:
    """Builds a float model of small random layers, input by input."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def input(self, *shape: int) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("n", *shape)))
        return name

    def const(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weights(self, *shape: int) -> str:
        fan = int(np.prod(shape[1:]))
        return self.const(self.rng.normal(0, 1.5 / np.sqrt(fan), shape).astype(np.float32))

    def row(self, *shape: int) -> str:
        return self.const(self.rng.normal(0, 0.5, shape).astype(np.float32))

    def node(self, op: str, *inputs: str, name: str | None = None, domain: str = "", **attributes: Any) -> str:
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], name or f"n_{out}", domain=domain, **attributes))
        return out

    def model(self, *outputs: str, opset: int = 17) -> onnx.ModelProto:
        made = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "float", self.inputs, made, self.constants)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize(("alpha", "beta"), [(0.25, 1.0), (1.0, 0.3), (-2.0, 1.5), (3.0, 0.0)])
@pytest.mark.parametrize("bias", [(7,), (1, 7), (1,), ()], ids=str)
@pytest.mark.parametrize("transposed", [0, 1])
def test_factors_and_biases_of_gemm(alpha: float, beta: float, bias: tuple[int, ...], transposed: int) -> None:
    f = Float()
    x = f.node("Flatten", f.node("Relu", f.node("Conv", f.input(3, 6, 5), f.weights(4, 3, 3, 3))))
    w = f.weights(7, 48) if transposed else f.const(f.rng.normal(0, 0.2, (48, 7)).astype(np.float32))
    y = f.node("Gemm", x, w, f.row(*bias), alpha=alpha, beta=beta, transB=transposed)
    assert_close(f.model(y))


@pytest.mark.parametrize("bias", [(5,), (1, 5), ()], ids=str)
@pytest.mark.parametrize("swapped", [False, True])
def test_biases_behind_matmul(bias: tuple[int, ...], swapped: bool) -> None:
    f = Float()
    x = f.node("Flatten", f.node("Relu", f.node("Conv", f.input(3, 6, 5), f.weights(4, 3, 3, 3))))
    product = f.node("MatMul", x, f.const(f.rng.normal(0, 0.2, (48, 5)).astype(np.float32)))
    terms = [product, f.row(*bias)]
    assert_close(f.model(f.node("Add", *(terms[::-1] if swapped else terms))))


@pytest.mark.parametrize(("low", "high"), [(0.3, 1.5), (0.5, None), (-2.0, -0.4), (None, -0.1), (-0.2, 0.4)])
@pytest.mark.parametrize("last", [False, True])
def test_limits_that_leave_out_0(low: float | None, high: float | None, last: bool) -> None:
    f = Float()
    x = f.node("Conv", f.input(3, 7, 6), f.weights(6, 3, 3, 3), f.row(6))
    bounds = ["" if v is None else f.const(np.float32(v)) for v in (low, high)]
    y = f.node("Clip", x, *bounds)
    assert_close(f.model(y if last else f.node("Conv", y, f.weights(4, 6, 3, 3))), 20)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [
        ((12, 13), (2, 2), (3, 3), (0, 0, 0, 0)),
        ((11, 9), (3, 3), (2, 2), (1, 1, 1, 1)),
        ((10, 7), (3, 2), (4, 3), (0, 0, 0, 0)),
        ((9, 12), (5, 3), (4, 2), (1, 0, 2, 1)),
        ((8, 8), (3, 3), (2, 2), (0, 0, 0, 0)),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_ceil_mode(op: str, size: Any, kernel: Any, stride: Any, pads: Any, last: bool) -> None:
    """Behind a layer, in front of one, and at the end, where the host runs it."""
    f = Float()
    x = f.node("Relu", f.node("Conv", f.input(3, *size), f.weights(5, 3, 3, 3), pads=[1, 1, 1, 1]))
    y = f.node(op, x, kernel_shape=kernel, strides=stride, pads=pads, ceil_mode=1)
    if not last:
        y = f.node("GlobalAveragePool", f.node("Conv", y, f.weights(4, 5, 1, 1)))
    assert_close(f.model(y), 20)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 0, 1, 1), (1, 0, 0, 2)])
@pytest.mark.parametrize("positive", [True, False])
def test_zeros_in_front_of_pools(op: str, pads: tuple[int, int, int, int], positive: bool) -> None:
    f = Float()
    x = f.node("Conv", f.input(3, 9, 8), f.weights(5, 3, 3, 3))
    x = f.node("Relu", x) if positive else x
    around = f.const(np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64))
    y = f.node(op, f.node("Pad", x, around), kernel_shape=[3, 3], strides=[2, 2])
    model = f.model(f.node("Conv", y, f.weights(4, 5, 2, 2)))
    assert_close(model)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_normalisation_behind_gemm(transposed: int, bias: bool) -> None:
    f = Float()
    x = f.node("Flatten", f.node("Relu", f.node("Conv", f.input(3, 6, 5), f.weights(4, 3, 3, 3))))
    w = f.weights(7, 48) if transposed else f.const(f.rng.normal(0, 0.2, (48, 7)).astype(np.float32))
    y = f.node("Gemm", x, w, *([f.row(7)] if bias else []), transB=transposed)
    variance = f.const(f.rng.uniform(0.5, 2, 7).astype(np.float32))
    y = f.node("BatchNormalization", y, f.row(7), f.row(7), f.row(7), variance)
    assert_close(f.model(f.node("Gemm", f.node("Relu", y), f.weights(3, 7), transB=1)))


@pytest.mark.parametrize("activation", ["", "Relu", "LeakyRelu", "Sigmoid"])
@pytest.mark.parametrize("added", [False, True])
def test_operators_that_an_optimiser_joined(activation: str, added: bool) -> None:
    f = Float()
    x = f.node("Relu", f.node("Conv", f.input(3, 7, 6), f.weights(4, 3, 3, 3)))
    fields: dict[str, Any] = {"activation": activation} if activation else {}
    if activation == "LeakyRelu":
        fields["activation_params"] = [0.2]
    inputs = [x, f.weights(4, 4, 1, 1), f.row(4), *([x] if added else [])]
    y = f.node("FusedConv", *inputs, domain="com.microsoft", kernel_shape=[1, 1], **fields)
    assert_close(f.model(f.node("Conv", y, f.weights(3, 4, 3, 3))))


def test_names_given_twice_and_inputs_nobody_reads() -> None:
    f = Float()
    x, _ = f.input(3, 7, 6), f.input(9)
    y = f.node("Relu", f.node("Conv", x, f.weights(4, 3, 3, 3), name="conv"), name="conv")
    model = f.model(f.node("Conv", y, f.weights(4, 4, 3, 3), name="conv"))
    feeds = images(model)
    program = pimc.compile(model, calibration=feeds)
    assert [p.name for p in program.program.inputs] == ["x0", "x1"]
    for n, node in enumerate(model.graph.node):
        node.name = str(n)
    assert snr_db(next(iter(plain(model, feeds).values())), next(iter(program.values(feeds).values()))) > 25
    assert program.verify(feeds).verdict == "PASS"


# ---- concatenations of inputs ----


@pytest.mark.parametrize("end", ["conv", "pool", "output", "both"])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_inputs_in_concatenations(end: str, second: bool, first: bool) -> None:
    """The image itself or a second input, in front or behind, read by layers, by pools, or an output at once."""
    f = Float()
    x = f.input(3, 8, 7)
    other = f.input(2, 8, 7) if second else x
    made = f.node("Relu", f.node("Conv", x, f.weights(5, 3, 3, 3), pads=[1, 1, 1, 1]))
    y = f.node("Concat", *([other, made] if first else [made, other]), axis=1)
    outputs = [y] if end in ("output", "both") else []
    if end in ("conv", "both"):
        outputs.append(f.node("Conv", y, f.weights(4, 7 if second else 8, 3, 3)))
    if end == "pool":
        outputs.append(f.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]))
    model = f.model(*outputs)
    program = assert_close(model)
    feeds = {name: array[:2] for name, array in images(model, 16).items()}
    slow = step.run(program.program, feeds, 2)
    for name, value in program.values(feeds).items():
        np.testing.assert_array_equal(slow.outputs[name], value)


def test_an_image_that_a_convolution_and_a_pool_read() -> None:
    f = Float()
    x = f.input(4, 8, 8)
    a = f.node("Conv", x, f.weights(4, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    b = f.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    assert_close(f.model(f.node("Conv", f.node("Add", a, b), f.weights(3, 4, 3, 3))))


# ---- channels last ----


def turned(x: str, net: Net, perm: Sequence[int]) -> str:
    return net.node("Transpose", [x], perm=list(perm))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["conv", "depthwise", "average", "global"])
@pytest.mark.parametrize("around", [True, False])
def test_operators_with_channels_last(seed: int, kind: str, around: bool) -> None:
    """Between transposes of the user's, or in a model that is channels last from end to end."""
    net = Net(seed, qdq=False)
    rng = net.rng
    c, h, w = 6, int(rng.integers(5, 9)), int(rng.integers(5, 9))
    x = net.input(c, h, w) if around else net.input(h, w, c)
    value = turned(x.name, net, (0, 2, 3, 1)) if around else x.name
    s, z = net.scale_of(x)
    y = net.result((1, h, w, c), 0.05 if kind in ("average", "global") else 4.0)
    out = list(net.scale_of(y))
    if kind == "average":
        net.node(
            "QLinearAveragePool", [value, s, z, *out],
            kernel_shape=[2, 3], strides=[int(rng.integers(1, 3)), 2], channels_last=1,
        )  # fmt: skip
    elif kind == "global":
        net.node("QLinearGlobalAveragePool", [value, s, z, *out], channels_last=1)
    else:
        groups = c if kind == "depthwise" else 1
        names, *_ = net.weights((c, c // groups, 3, 2), 0, True)
        # onnxruntime's kernel of this layout saturates without VNNI, whatever the session's options: not with these
        held = next(t for t in net.constants if t.name == names[0])
        held.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(held) // 3, held.name))
        pads = [int(p) for p in rng.integers(0, 2, 4)]
        net.node(
            "QLinearConv", [value, s, z, *names, *out],
            kernel_shape=[3, 2], pads=pads, group=groups, strides=[1, int(rng.integers(1, 3))], channels_last=1,
        )  # fmt: skip
        net.nodes[-1].domain = "com.microsoft"
    made = net.nodes[-1].output[0]
    if around:
        made = turned(made, net, (0, 3, 1, 2))
    net.nodes.append(helper.make_node("DequantizeLinear", [made, *out], ["y"]))
    net.outputs.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None))
    model = net.model()
    feeds = images(model)
    program = pimc.compile(model)
    np.testing.assert_allclose(program.values(feeds)["y"], plain(model, feeds)["y"], 1e-5, 1e-6)
    assert program.verify(feeds).verdict == "PASS"


# ---- two pairs in a row ----


def chain(
    scales: Sequence[float], zeros: Sequence[int], *, pool: bool = False, dtype: Any = np.uint8
) -> onnx.ModelProto:
    """A convolution, its result quantised over and over, another convolution."""
    f = Float(3)
    x = f.input(3, 8, 8)

    def pair(value: str, scale: float, zero: int) -> str:
        names = [f.const(np.float32(scale)), f.const(dtype(zero))]
        return f.node("DequantizeLinear", f.node("QuantizeLinear", value, *names), *names)

    def weights(*shape: int) -> str:
        stored = f.const(f.rng.integers(-60, 60, shape).astype(np.int8))
        return f.node("DequantizeLinear", stored, f.const(np.float32(0.01)), f.const(np.int8(0)))

    middle = np.iinfo(dtype).min + 128
    y = f.node("Conv", pair(x, 0.03, middle), weights(4, 3, 3, 3))
    for scale, zero in zip(scales, zeros, strict=True):
        y = pair(y, scale, zero)
    if pool:
        y = pair(f.node("MaxPool", y, kernel_shape=[2, 2]), scales[-1], zeros[-1])
    y = pair(f.node("Conv", y, weights(3, 4, 3, 3)), 0.05, middle)
    return f.model(y)


@pytest.mark.parametrize(
    ("scales", "zeros"),
    [
        ((0.02, 0.027), (110, 114)),
        ((0.02, 0.025), (0, 3)),
        ((0.03, 0.02), (100, 50)),
        ((0.02, 0.02), (100, 50)),
        ((0.02, 0.02), (100, 100)),
        ((0.02, 0.03, 0.025), (120, 90, 130)),
        ((0.05, 0.02), (128, 255)),
    ],
)
@pytest.mark.parametrize("pool", [False, True])
def test_pairs_in_a_row_are_one_as_in_a_plain_session(scales: Any, zeros: Any, pool: bool) -> None:
    assert_equal(chain(scales, zeros, pool=pool))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_the_joined_range_is_onnxruntimes(dtype: Any, tmp_path: Any) -> None:
    rng = np.random.default_rng(3)
    limits = np.iinfo(dtype)
    for _ in range(25):
        scales = np.exp(rng.uniform(-6, 1, 2)).astype(np.float32)
        zeros = rng.integers(limits.min, limits.max + 1, 2)
        session(chain(scales.tolist(), zeros.tolist(), dtype=dtype), str(tmp_path / "p.onnx"))
        saved = onnx.load(tmp_path / "p.onnx")
        held = {t.name: numpy_helper.to_array(t) for t in saved.graph.initializer}
        node = [n for n in saved.graph.node if n.op_type == "QuantizeLinear"][1]
        scale, zero = joined_range((scales[0], dtype(zeros[0])), (scales[1], dtype(zeros[1])))
        assert (scale, zero) == (held[node.input[1]].reshape(()), held[node.input[2]].reshape(()))


# ---- what onnxruntime computes in floating point ----


def cut_relu(seed: int, bias: int = 0) -> onnx.ModelProto:
    """A Relu whose result has a zero point above 0, so that it cuts into the range; a layer behind it."""
    net = Net(seed, qdq=True)
    x = net.input(4, 6, 6)
    y = net.conv(x, 5, (3, 3), after="Relu", zero=int(net.rng.integers(20, 120)))
    if bias:
        held = next(t for t in net.constants if t.data_type == onnx.TensorProto.INT32 and len(t.dims) == 1)
        values = numpy_helper.to_array(held).copy()
        values[::2] = bias
        held.CopyFrom(numpy_helper.from_array(values, held.name))
    net.output(net.conv(y, 4, (3, 3)))
    return net.model()


@pytest.mark.parametrize("seed", range(20))
def test_what_its_own_tolerance_allows_is_no_failure(seed: int) -> None:
    """One step at a layer that onnxruntime computes in floating point; layers behind it are judged from there."""
    model = cut_relu(seed)
    program = pimc.compile(model)
    report = program.verify(images(model, 64))
    assert report.verdict == "PASS"
    assert not any(t.beyond for t in report.tensors)


def test_more_than_that_is_a_failure() -> None:
    """Two steps at that layer, and one step at the layer behind it."""
    from dataclasses import replace

    model = cut_relu(0)
    program = pimc.compile(model).program
    for name, step_size in (("q1.bias", 40_000), ("q2.bias", 4_000)):
        tensors = {**program.tensors, name: program.tensors[name] + np.int32(step_size)}
        broken = pimc.driver.CompiledProgram(replace(program, tensors=tensors))
        assert broken.verify(images(model, 16)).verdict == "FAIL"


@pytest.mark.parametrize("bias", [2**31 - 1, 2**31 - 200, -(2**31), -(2**31) + 7])
def test_biases_at_the_end_of_32_bits(bias: int) -> None:
    model = cut_relu(1, bias)
    feeds = images(model, 32)
    program = pimc.compile(model)
    assert program.verify(feeds).verdict == "PASS"
    np.testing.assert_allclose(
        next(iter(program.values(feeds).values())), next(iter(plain(model, feeds).values())), 1e-5, 1e-6
    )


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (2.0, 1.0), (1.0, 0.5), (3.0, 2.0)])
@pytest.mark.parametrize("seed", SEEDS)
def test_factors_of_a_gemm_between_quantised_tensors(alpha: float, beta: float, seed: int) -> None:
    net = Net(seed, qdq=True)
    x = net.input(12)
    net.output(net.gemm(x, 5))
    gemm = next(n for n in net.nodes if n.op_type == "Gemm")
    gemm.attribute.extend([helper.make_attribute("alpha", alpha), helper.make_attribute("beta", beta)])
    model = net.model()
    feeds = images(model, 32)
    program = pimc.compile(model)
    assert program.verify(feeds).verdict == "PASS"
    ours, theirs = (next(iter(v.values())) for v in (program.values(feeds), plain(model, feeds)))
    steps = np.abs(ours - theirs) / np.diff(np.unique(theirs)).min()
    assert steps.max() < 1.01
    assert (steps > 0.5).mean() < 0.02


# ---- refusals ----


def test_reasons_name_the_cause() -> None:
    f = Float()
    x = f.input(3, 8, 8)
    names = [f.const(np.float32(0.001)), f.const(np.uint16(30000))]
    held = f.node("DequantizeLinear", f.node("QuantizeLinear", x, *names), *names)
    stored = f.const(f.rng.integers(-60, 60, (4, 3, 3, 3)).astype(np.int8))
    w = f.node("DequantizeLinear", stored, f.const(np.float32(0.01)), f.const(np.int8(0)))
    y = f.node("Conv", held, w)
    y = f.node("QuantizeLinear", y, f.const(np.float32(0.1)), f.const(np.uint8(3)))
    y = f.node("DequantizeLinear", y, f.const(np.float32(0.1)), f.const(np.uint8(3)))
    with pytest.warns(HostLayersWarning, match=r"\(Conv\): 1e\+02 % of the multiplications"):
        pimc.compile(f.model(y, opset=21))
    reasons = [n.reason for n in check_model(f.model(y, opset=21)).nodes if n.op_type == "Conv"]
    assert "is uint16; the chip's activations have 8 bits" in reasons[0]
    f = Float()
    q = helper.make_node("DynamicQuantizeLinear", [f.input(3, 8, 8)], ["q", "s", "z"], "dynamic")
    f.nodes.append(q)
    y = f.node("ConvInteger", "q", f.const(f.rng.integers(0, 9, (4, 3, 3, 3)).astype(np.uint8)), "z")
    with pytest.warns(HostLayersWarning, match=r"dynamic \(DynamicQuantizeLinear\).*statically"):
        pimc.compile(f.model(f.node("Cast", y, to=1)))


def test_padding_by_reflection() -> None:
    f = Float()
    x = f.node("Conv", f.input(3, 8, 8), f.weights(4, 3, 3, 3))
    x = f.node("Pad", x, f.const(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)), mode="reflect")
    assert_close(f.model(f.node("Conv", x, f.weights(4, 4, 3, 3))))


def test_padding_that_is_given_by_axes() -> None:
    f = Float()
    x = f.node("Relu", f.node("Conv", f.input(3, 8, 7), f.weights(4, 3, 3, 3)))
    pads, axes = f.const(np.array([1, 0, 2, 1], np.int64)), f.const(np.array([3, 2], np.int64))
    x = f.node("Pad", x, pads, "", axes)
    assert_close(f.model(f.node("Conv", x, f.weights(4, 4, 3, 3)), opset=18))
