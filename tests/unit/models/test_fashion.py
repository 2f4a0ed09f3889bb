"""The trained Fashion-MNIST network: graph, images, accuracy of every quantisation."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pimc_models import fashion, measure
from pimc_models.fashion import quantisation


@cache
def quantised(kind: str) -> onnx.ModelProto:
    return fashion.quantise(kind)


@cache
def fp32_top1() -> list[int]:
    return [int(c) for c in fashion.logits(onnx.load(fashion.fp32_path()), fashion.load_test()[0]).argmax(1)]


def test_images() -> None:
    x, labels = fashion.load_test()
    assert (x.shape, labels.shape) == ((1000, 1, 28, 28), (1000,))
    assert (x.dtype.name, labels.dtype.name) == ("float32", "int64")
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert np.bincount(labels, minlength=len(fashion.CLASSES)).min() > 80
    calibration = fashion.load_calibration()
    assert calibration.shape == (128, 1, 28, 28)
    test_set = {image.tobytes() for image in x}
    assert not any(image.tobytes() in test_set for image in calibration)


def test_preprocessing_divides_by_255() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    x = fashion.preprocess(pixels)
    assert x.shape == (1, 1, 16, 16)
    assert np.array_equal(np.rint(x.astype(np.float64) * 255), pixels[:, None])


def test_float_graph() -> None:
    model = onnx.load(fashion.fp32_path())
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (9, [("", 17)])
    ops = Counter(node.op_type for node in model.graph.node)
    assert (ops["Conv"], ops["BatchNormalization"], ops["Clip"], ops["Add"], ops["Gemm"]) == (11, 11, 4, 3, 1)
    assert {node.op_type for node in model.graph.node} & {"Constant", "Identity", "Shape", "Reshape"} == set()
    assert measure.parameters(model) == 101_322


def test_int8_graph() -> None:
    model = onnx.load(fashion.int8_path())
    onnx.checker.check_model(model)
    assert {o.domain for o in model.opset_import} == {"", "com.microsoft"}
    ops = Counter(node.op_type for node in model.graph.node)
    assert (ops["QLinearConv"], ops["QLinearAdd"], ops["QGemm"]) == (11, 3, 1)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for conv in (node for node in model.graph.node if node.op_type == "QLinearConv"):
        weight, scale, zero = (stored[name] for name in conv.input[3:6])
        assert (weight.dtype.name, scale.shape) == ("int8", weight.shape[:1])
        assert not zero.any()


def test_int8_input_is_the_pixels() -> None:
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(fashion.int8_path()).graph.initializer}
    assert stored["image_scale"] == np.float32(1 / 255)
    assert stored["image_zero_point"] == 0


@pytest.mark.parametrize("path", [fashion.fp32_path(), fashion.int8_path()], ids=["fp32", "int8"])
def test_accuracy_of_the_committed_files(path: str) -> None:
    assert fashion.accuracy(onnx.load(path)) > 0.88


@pytest.mark.parametrize("kind", quantisation.KINDS)
def test_accuracy_of_fresh_quantisations(kind: str) -> None:
    model = quantised(kind)
    onnx.checker.check_model(model)
    assert fashion.accuracy(model) > 0.88
    top1 = fashion.logits(model, fashion.load_test()[0]).argmax(1)
    assert (top1 == np.array(fp32_top1())).mean() > 0.98


@pytest.mark.parametrize("kind", quantisation.KINDS)
def test_kind_is_what_it_says(kind: str) -> None:
    model = quantised(kind)
    ops = Counter(node.op_type for node in model.graph.node)
    assert (ops["QLinearConv"], ops["Conv"]) == ((11, 0) if kind.startswith("qoperator") else (0, 11))
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert stored["image_zero_point"].dtype == (np.int8 if "s8s8" in kind else np.uint8)
    assert stored[first_weight_scale(model)].size == (1 if kind.endswith("per-tensor") else 16)


def first_weight_scale(model: onnx.ModelProto) -> str:
    first = next(node for node in model.graph.node if node.op_type in ("QLinearConv", "Conv"))
    if first.op_type == "QLinearConv":
        return str(first.input[4])
    return str(next(node for node in model.graph.node if node.output[0] == first.input[1]).input[1])


def test_quantising_twice_gives_the_same_bytes() -> None:
    kind = "qoperator-u8s8-per-channel"
    assert fashion.quantise(kind).SerializeToString() == quantised(kind).SerializeToString()


def test_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(quantisation.UnknownKindError, match=r"'int4'.*qdq-u8s8"):
        fashion.quantise("int4")
