"""What users give that is no model, or not a whole one: each message says what, where and the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pimc.frontend import FrontendError, check_model, load_model
from pimc.frontend.macs import HostLayersWarning
from pimc.ir.ops import Conv, HostCall
from tests.differential.frontend_models import Net
from tests.unit.frontend.float_models import conv_model, float_model, random


def message(source: object, **options: object) -> str:
    with pytest.raises(FrontendError) as error:
        load_model(source, **options)  # type: ignore[arg-type]
    text = str(error.value)
    assert len(text.splitlines()) <= 3 or "These nodes" in text
    return text


def small_net() -> Net:
    net = Net(1, qdq=False)
    net.output(net.conv(net.input(3, 6, 5), 4, (3, 3)))
    return net


def test_no_file(tmp_path: Path) -> None:
    assert message(tmp_path / "none.onnx") == f"{tmp_path}/none.onnx: there is no such file."


def test_folder(tmp_path: Path) -> None:
    assert "cannot be read" in message(tmp_path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a zip", b"hello, world", bytes(range(256)) * 4])
def test_not_onnx(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    assert message(path) == f"{path}: not an ONNX model."


def test_truncated_anywhere(tmp_path: Path) -> None:
    """Cut at any place, a model is never taken for a whole one."""
    data = small_net().model().SerializeToString()
    for size in [2, 10, *range(len(data) // 7, len(data) - 1, len(data) // 7), len(data) - 1]:
        text = message(data[:size])
        assert "cut off" in text
        assert "the model" in text


def test_missing_external_data(tmp_path: Path) -> None:
    path = tmp_path / "big.onnx"
    onnx.save(conv_model(), path, save_as_external_data=True, location="big.data", size_threshold=0)
    (tmp_path / "big.data").unlink()
    text = message(path)
    assert "the weights of w and others are in big.data" in text
    assert "beside the model" in text
    assert "Give the model's path instead" in message(path.read_bytes())


def test_external_data_is_read(tmp_path: Path) -> None:
    path, net = tmp_path / "big.onnx", small_net()
    want = load_model(net.model())
    onnx.save(net.model(), path, save_as_external_data=True, location="big.data", size_threshold=0)
    found = load_model(path)
    assert found.constants.keys() == want.constants.keys()
    for name in want.constants:
        np.testing.assert_array_equal(found.constants[name], want.constants[name])
    assert load_model(found.reference).constants.keys() == want.constants.keys()  # it needs no other file


def test_open_sizes() -> None:
    text = message(conv_model(shape=("n", 3, "h", "w")))
    assert text == "Input 'x' has shape [n, 3, h, w], which is not fixed. Give it with --input-shape x=1,3,224,224"


def test_no_shape() -> None:
    assert "Input 'x' has no shape. Give it with --input-shape x=1,3,224,224" in message(conv_model(shape=None))


def test_input_shape_is_used() -> None:
    model = conv_model(shape=(None, 3, "h", "w"))
    graph = load_model(model, calibration=random(2, 3, 9, 7), input_shapes={"x": (1, 3, 9, 7)})
    assert graph.inputs[0].shape == (3, 9, 7)
    assert graph.outputs[0].shape == (4, 7, 5)


def test_other_input_shape() -> None:
    model = conv_model(shape=(1, 3, 8, 8))
    graph = load_model(model, calibration=random(2, 3, 9, 7), input_shapes={"x": (1, 3, 9, 7)})
    assert graph.outputs[0].shape == (4, 7, 5)


def test_unknown_input() -> None:
    text = message(conv_model(), input_shapes={"image": (1, 3, 8, 8)})
    assert text == "There is no input 'image'; the model's inputs are 'x'."


@pytest.mark.parametrize(
    ("shape", "part"),
    [((1, 3, 8), "has 4 dimensions"), ((1, 3, 0, 8), "of positive sizes")],
)
def test_bad_input_shape(shape: tuple[int, ...], part: str) -> None:
    assert part in message(conv_model(), input_shapes={"x": shape})


def test_invalid_graph() -> None:
    model = float_model([helper.make_node("Relu", ["nowhere"], ["y"])], {})
    assert "not a valid ONNX model" in message(model)


@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16])
def test_half_precision_becomes_single(kind: int) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=kind),
        helper.make_node("Conv", ["half", "w"], ["z"]),
        helper.make_node("Cast", ["z"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    model = float_model(nodes, {"w": random(4, 3, 3, 3)}, opset=22)
    weights = model.graph.initializer[0]
    half = helper.make_tensor("w", kind, weights.dims, onnx.numpy_helper.to_array(weights).reshape(-1))
    weights.CopyFrom(half)
    graph = load_model(model, calibration=random(2, 3, 8, 8).astype(np.float16))
    assert any(isinstance(op, Conv) for op in graph.ops())


@pytest.mark.parametrize("version", [27, 28])
def test_newer_operator_set(version: int) -> None:
    """Operator sets that onnxruntime refuses are converted, where the installed onnx knows them."""
    model = conv_model(opset=version)
    model.ir_version = 14
    if version > onnx.defs.onnx_opset_version():
        assert "install a newer onnx" in message(model, calibration=random(2, 3, 8, 8))
        return
    graph = load_model(model, calibration=random(2, 3, 8, 8))
    assert onnx.ModelProto.FromString(graph.reference).ir_version <= 13


def test_operators_without_a_unit_between_layers_are_calls() -> None:
    net = Net(2, qdq=True)
    y = net.conv(net.input(3, 8, 8), 4, (3, 3))
    for op in ("LRN", "InstanceNormalization"):
        inputs = [net.dq(y)]
        if op == "InstanceNormalization":
            inputs += [net.const(np.ones(4, np.float32)), net.const(np.zeros(4, np.float32))]
        value = net.node(op, inputs, **({"size": 3} if op == "LRN" else {}))
        y = net.quantise(value, net.result(y.shape))
        y = net.conv(y, 4, (1, 1))
    net.output(y)
    graph = load_model(net.model())
    calls = [op for op in graph.of(HostCall) if op.inputs and op.type is not None]
    assert [call.why for call in calls] == [
        "DequantizeLinear, LRN, QuantizeLinear",
        "DequantizeLinear, InstanceNormalization, QuantizeLinear",
    ]
    assert [call.by_row for call in calls] == [True, False]


def test_unsupported_at_the_end_runs_on_the_host() -> None:
    net = Net(2, qdq=True)
    y = net.conv(net.input(3, 8, 8), 4, (3, 3))
    net.output(net.quantise(net.node("LRN", [net.dq(y)], size=3), net.result(y.shape)))
    assert [op.kind for op in load_model(net.model()).ops()] == ["host.call", "q.conv", "host.call"]


def test_weights_of_nine_bits() -> None:
    """Weights less their zero point beyond int8 are two layers' worth of int8 in one."""
    net = Net(3, qdq=True)
    x = net.input(3, 6, 5)
    weights = np.array([0, 255] * 6, np.uint8).reshape(4, 3, 1, 1)
    parameters = [net.const(np.asarray(0.01, np.float32)), net.const(np.asarray(100, np.uint8))]
    w = net.node("DequantizeLinear", [net.const(weights), *parameters])
    net.output(net.quantise(net.node("Conv", [net.dq(x), w]), net.result((1, 4, 6, 5))))
    graph = load_model(net.model())
    (conv,) = graph.of(Conv)
    assert graph.constants[conv.weights].shape == (4, 1, 1, 6)
    assert (
        graph.constants[conv.weights].reshape(4, 2, 3).astype(int).sum(axis=1).tolist()
        == [
            [-100, 155, -100],
            [155, -100, 155],
        ]
        * 2
    )


def test_changing_weights() -> None:
    net = Net(4, qdq=True)
    a, b = net.input(6), net.input(6)
    net.output(net.quantise(net.node("Gemm", [net.dq(a), net.dq(b)], transB=1), net.result((1, 1))))
    with pytest.warns(HostLayersWarning, match=r"\(Gemm\)"):
        graph = load_model(net.model())
    assert all(op.is_host for op in graph.ops())


def test_nothing_for_the_chip() -> None:
    model = float_model([helper.make_node("Relu", ["x"], ["y"])], {}, shape=("n", 3, 4))
    with pytest.warns(HostLayersWarning, match="The host computes the whole model"):
        assert [op.kind for op in load_model(model, calibration=random(2, 3, 4)).ops()] == ["host.call"]


def test_scales_that_are_computed() -> None:
    """They were taken for operators that keep their scale: wrong results."""
    net = Net(5, qdq=False)
    x = net.input(4, 3, 3)
    net.output(net.conv(net.concat(x, net.conv(x, 4, (1, 1))), 3, (1, 1)))
    model = net.model()
    concat = next(n for n in model.graph.node if n.op_type == "QLinearConcat")
    place = list(model.graph.node).index(concat)
    computed = helper.make_node("Transpose", [concat.input[0]], ["computed"], "computed")
    concat.input[0] = "computed"
    nodes = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], computed, *nodes[place:]])
    report = check_model(model)
    assert any("'computed' is computed at run time" in n.reason for n in report.nodes if n.op_type == "QLinearConcat")


@pytest.mark.parametrize(
    ("name", "array", "part"),
    [
        ("bz", np.int32(-(2**31)), "zero point that is not 0"),
        ("bs", np.full(4, 1e30, np.float32), "does not fit 32 bits"),
        ("b", np.zeros(3, np.int32), "bias of shape [3]"),
    ],
)
def test_biases(name: str, array: np.ndarray, part: str) -> None:
    net = Net(6, qdq=True)
    net.output(net.conv(net.input(3, 6, 5), 4, (3, 3), per_channel=False))
    model = net.model()
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    bias = next(n for n in model.graph.node if conv.input[2] in n.output)
    target = bias.input[{"b": 0, "bs": 1, "bz": 2}[name]]
    shaped = array if name == "b" else array.reshape(-1)[:1].reshape(())
    made = onnx.numpy_helper.from_array(np.asarray(shaped), target)
    next(t for t in model.graph.initializer if t.name == target).CopyFrom(made)
    if name == "b":
        assert part in message(model)
        return
    assert any(part in node.reason for node in check_model(model).nodes if node.op_type == "Conv")


def test_an_output_without_a_batch() -> None:
    net = small_net()
    model = net.model()
    model.graph.output.append(helper.make_tensor_value_info("t2.s", onnx.TensorProto.FLOAT, ()))
    assert "without a batch axis" in message(model)


def test_what_onnxslim_cannot_simplify_compiles_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxslim

    def broken(*_: object, **__: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(onnxslim, "slim", broken)
    graph = load_model(conv_model(), calibration=random(2, 3, 8, 8))
    assert any(isinstance(op, Conv) for op in graph.ops())


def test_an_output_that_holds_nothing_is_refused() -> None:
    limits = [numpy_helper.from_array(np.array([value]), name) for name, value in (("s", 9), ("e", 20), ("a", 2))]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Slice", ["x", "s", "e", "a"], ["y"])], "g", [x], [y], limits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(FrontendError, match=r"Output 'y' has shape \[3, 0, 4\]: it holds nothing"):
        load_model(model, calibration={"x": np.zeros((2, 3, 4, 4), np.float32)})
