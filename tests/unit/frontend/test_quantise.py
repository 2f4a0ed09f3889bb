"""Float models: calibration data, clean-up and rewrites keep the function, and the result runs on the chip."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from pimc.frontend import CalibrationWarning, FrontendError, load_model
from pimc.frontend.joins import join
from pimc.frontend.rewrites import rewrite
from pimc.ir.graph import Graph
from tests.differential.frontend_models import differences
from tests.unit.frontend.float_models import Array, conv_model, float_model, random, run

node = helper.make_node


def load(model: onnx.ModelProto, shape: tuple[int, ...] = (3, 8, 8)) -> Graph:
    """Quantise on data, and hold the graph against onnxruntime."""
    graph = load_model(model, calibration=random(16, *shape, seed=1))
    found, compared = differences(graph, {"x": random(5, *shape, seed=2)})
    assert found == []
    assert compared
    return graph


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops() if op.kind != "host.call"]


# -- calibration


def test_no_calibration_warns() -> None:
    with pytest.warns(CalibrationWarning, match="--calibration"):
        first = load_model(conv_model())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        second = load_model(conv_model())
    assert first.reference == second.reference


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: {"x": a}, lambda a: {"anything": a}, lambda a: a[0]])
def test_calibration_forms(wrap: Any) -> None:
    data = random(4, 3, 8, 8)
    assert kinds(load_model(conv_model(), calibration=wrap(data))) == ["q.conv"]


def test_calibration_file(tmp_path: Path) -> None:
    data = random(4, 3, 8, 8)
    np.savez(tmp_path / "data.npz", x=data)
    assert (
        load_model(conv_model(), calibration=tmp_path / "data.npz").reference
        == load_model(conv_model(), calibration=data).reference
    )


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (np.zeros((4, 3, 8, 9), np.float32), "needed is images x 3 x 8 x 8"),
        ({"x": np.zeros((4, 3, 8, 8)), "z": np.zeros(3)}, "the model's inputs are 'x'"),
        ("nowhere.npz", "there is no such file"),
        (__file__, "not a .npz or .npy file"),
    ],
)
def test_bad_calibration(data: Any, part: str) -> None:
    with pytest.raises(FrontendError, match=part):
        load_model(conv_model(), calibration=data)


def test_calibration_of_a_quantised_model_is_not_needed() -> None:
    graph = load_model(conv_model(), calibration=random(4, 3, 8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(graph.reference).reference == graph.reference


# -- rewrites

BN = {f"bn.{n}": np.abs(random(4, seed=k)) + 0.1 for k, n in enumerate(("scale", "shift", "mean", "var"))}
CONV = {"w": random(4, 3, 3, 3)}
conv = node("Conv", ["x", "w"], ["c"], "conv")

REWRITES: dict[str, tuple[list[onnx.NodeProto], dict[str, Array], set[str]]] = {
    "sum": ([conv, node("Sum", ["c", "c", "c"], ["y"], "sum")], CONV, {"Conv", "Add"}),
    "whole average": (
        [conv, node("AveragePool", ["c"], ["y"], "pool", kernel_shape=[6, 6])],
        CONV,
        {"Conv", "GlobalAveragePool"},
    ),
    "mean": (
        [conv, node("ReduceMean", ["c"], ["y"], "mean", axes=[-1, 2], keepdims=0)],
        CONV,
        {"Conv", "GlobalAveragePool", "Flatten"},
    ),
    "global maximum": ([conv, node("GlobalMaxPool", ["c"], ["y"], "max")], CONV, {"Conv", "MaxPool"}),
    "normalisation": (
        [conv, node("Relu", ["c"], ["r"]), node("BatchNormalization", ["r", *BN], ["y"], "bn")],
        CONV | BN,
        {"Conv", "Relu"},
    ),
    "affine": (
        [
            conv,
            node("Mul", ["c", "factor"], ["m"], "mul"),
            node("Sub", ["m", "shift"], ["s"], "sub"),
            node("Div", ["s", "factor"], ["y"], "div"),
        ],
        CONV | {"factor": np.abs(random(4, 1, 1)) + 1, "shift": random(1, 4, 1, 1)},
        {"Conv"},
    ),
    "dropout": ([conv, node("Dropout", ["c"], ["y"], "drop")], CONV, {"Conv", "Identity"}),
    "dense": (
        [
            node("Flatten", ["x"], ["f"]),
            node("MatMul", ["f", "w"], ["m"], "matmul"),
            node("Add", ["bias", "m"], ["y"], "add"),
        ],
        {"w": random(192, 5), "bias": random(5)},
        {"Flatten", "Gemm"},
    ),
}


@pytest.mark.parametrize("case", REWRITES)
def test_rewrite_keeps_the_function(case: str) -> None:
    nodes, constants, left = REWRITES[case]
    model = float_model(nodes, constants, shape=(1, 3, 8, 8))
    x = random(1, 3, 8, 8, seed=5)
    before = run(model, {"x": x})[0]
    join(model)
    rewrite(model)
    assert {n.op_type for n in model.graph.node} == left
    np.testing.assert_allclose(run(model, {"x": x})[0], before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", REWRITES)
def test_rewritten_models_run_on_the_chip(case: str) -> None:
    nodes, constants, _ = REWRITES[case]
    assert kinds(load(float_model(nodes, constants)))


def test_pixel_normalisation_stays_on_the_host() -> None:
    nodes = [
        node("Sub", ["x", "mean"], ["s"], "sub"),
        node("Mul", ["s", "factor"], ["m"], "mul"),
        node("Conv", ["m", "w"], ["y"], "conv"),
    ]
    constants = CONV | {"mean": random(1, 3, 1, 1), "factor": random(3, 1, 1)}
    graph = load(float_model(nodes, constants))
    assert kinds(graph) == ["q.conv"]
    assert getattr(next(iter(graph.ops())), "why", "") == "Sub, Mul, QuantizeLinear"


# -- operators that the quantiser leaves in float


def test_hard_swish_and_gate() -> None:
    """MobileNetV3's block: hard swish, squeeze and excitation with a hard sigmoid."""
    nodes = [
        conv,
        node("HardSwish", ["c"], ["h"], "swish"),
        node("GlobalAveragePool", ["h"], ["g"], "squeeze"),
        node("Conv", ["g", "w2"], ["e"], "excite"),
        node("HardSigmoid", ["e"], ["s"], "gate"),
        node("Mul", ["h", "s"], ["m"], "scale"),
        node("MaxPool", ["m"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "w2"], ["y"], "last"),
    ]
    graph = load(float_model(nodes, CONV | {"w2": random(4, 4, 1, 1)}))
    assert sorted(kinds(graph)) == sorted(
        ["q.conv", "q.lut", "q.gap", "q.conv", "q.lut", "q.mul", "q.maxpool", "q.conv"]
    )


def test_pool_behind_a_table() -> None:
    """Quantisation moves in front of a pool that stands behind a float operator."""
    nodes = [
        conv,
        node("HardSwish", ["c"], ["h"], "swish"),
        node("MaxPool", ["h"], ["p"], "pool", kernel_shape=[2, 2]),
        node("Conv", ["p", "w2"], ["y"], "last"),
    ]
    graph = load(float_model(nodes, CONV | {"w2": random(4, 4, 1, 1)}))
    assert kinds(graph) == ["q.conv", "q.lut", "q.maxpool", "q.conv"]


def test_relu_whose_input_is_read_too() -> None:
    """The sum is read with and without its Relu: the Relu must not vanish into the sum's range."""
    nodes = [
        conv,
        node("Relu", ["c"], ["r"], "relu"),
        node("Conv", ["r", "w2"], ["d"], "next"),
        node("Add", ["c", "d"], ["y"], "skip"),
    ]
    model = float_model(nodes, CONV | {"w2": random(4, 4, 1, 1)})
    graph = load(model)
    assert kinds(graph).count("q.lut") == 1
    x = random(16, 3, 8, 8, seed=1)
    exact, ours = run(model, {"x": x})[0], run(onnx.ModelProto.FromString(graph.reference), {"x": x})[0]
    assert np.abs(exact - ours).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("opset", [9, 11, 13, 20])
def test_operator_sets(opset: int) -> None:
    assert kinds(load(conv_model(opset=opset))) == ["q.conv"]


def test_batch_one_becomes_open() -> None:
    nodes = [conv, node("Reshape", ["c", "target"], ["y"], "flat")]
    graph = load(float_model(nodes, CONV | {"target": np.array([1, 144], np.int64)}, shape=(1, 3, 8, 8)))
    assert graph.outputs[0].shape == (144,)


def test_accuracy_of_the_quantised_model() -> None:
    """The int8 model is close to the float one: the quantiser was driven sensibly."""
    model = conv_model()
    graph = load(model)
    x = random(5, 3, 8, 8, seed=2)
    want, got = run(model, {"x": x})[0], run(onnx.ModelProto.FromString(graph.reference), {"x": x})[0]
    assert np.corrcoef(want.ravel(), got.ravel())[0, 1] > 0.999
