"""What users give that is no model, or not a whole one: each message says what, where and the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from pimc.frontend import CalibrationWarning, FrontendError, load_model
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
    [((1, 3, 8), "has 4 dimensions"), ((2, 3, 8, 8), "begin with batch 1"), ((1, 3, 0, 8), "no zeros")],
)
def test_bad_input_shape(shape: tuple[int, ...], part: str) -> None:
    assert part in message(conv_model(), input_shapes={"x": shape})


def test_fixed_batch() -> None:
    text = message(conv_model(shape=(8, 3, 8, 8)))
    assert "must be a batch of 1" in text
    assert "--input-shape x=1,3,8,8" in text


def test_wrong_rank() -> None:
    model = float_model([helper.make_node("Relu", ["x"], ["y"])], {}, shape=(5,))
    assert "wrong rank" in message(model)


def test_invalid_graph() -> None:
    model = float_model([helper.make_node("Relu", ["nowhere"], ["y"])], {})
    assert "not a valid ONNX model" in message(model)


def test_float16() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=onnx.TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "w"], ["z"]),
        helper.make_node("Cast", ["z"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    model = float_model(nodes, {"w": random(4, 3, 3, 3).astype(np.float16)})
    assert "float16" in message(model, calibration=random(1, 3, 8, 8))


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


def test_unsupported_nodes_all_named() -> None:
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
    text = message(net.model())
    assert "(LRN): no unit for LRN" in text
    assert "(InstanceNormalization): no unit for InstanceNormalization" in text
    assert "QLinearConv" not in text


def test_unsupported_at_the_end_runs_on_the_host() -> None:
    net = Net(2, qdq=True)
    y = net.conv(net.input(3, 8, 8), 4, (3, 3))
    net.output(net.quantise(net.node("LRN", [net.dq(y)], size=3), net.result(y.shape)))
    assert [op.kind for op in load_model(net.model()).ops()] == ["host.call", "q.conv", "host.call"]


def test_weights_that_do_not_fit() -> None:
    net = Net(3, qdq=True)
    x = net.input(3, 6, 5)
    weights = np.array([0, 255] * 6, np.uint8).reshape(4, 3, 1, 1)
    parameters = [net.const(np.asarray(0.01, np.float32)), net.const(np.asarray(100, np.uint8))]
    w = net.node("DequantizeLinear", [net.const(weights), *parameters])
    net.output(net.quantise(net.node("Conv", [net.dq(x), w]), net.result((1, 4, 6, 5))))
    text = message(net.model())
    assert "-100..155" in text
    assert "quantise weights as int8" in text


def test_changing_weights() -> None:
    net = Net(4, qdq=True)
    a, b = net.input(6), net.input(6)
    net.output(net.quantise(net.node("Gemm", [net.dq(a), net.dq(b)], transB=1), net.result((1, 1))))
    assert "crossbars hold constant weights" in message(net.model())


def test_nothing_for_the_chip() -> None:
    model = float_model([helper.make_node("Relu", ["x"], ["y"])], {}, shape=("n", 3, 4))
    assert "No operator of the model has a place on the chip" in message(model, calibration=random(2, 3, 4))


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
    assert "'computed' is computed at run time" in message(model)


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
    assert part in message(model)


def test_an_output_without_a_batch() -> None:
    net = small_net()
    model = net.model()
    model.graph.output.append(helper.make_tensor_value_info("t2.s", onnx.TensorProto.FLOAT, ()))
    assert "without a batch axis" in message(model)


def test_an_onnxslim_failure_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxslim

    def broken(*_: object, **__: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(onnxslim, "slim", broken)
    with pytest.warns(CalibrationWarning):
        assert message(conv_model()) == "onnxslim cannot simplify the model: IndexError: list index out of range"
