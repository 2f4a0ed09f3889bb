"""A Relu or Clip between a movement or pool and its QuantizeLinear cuts; a Pad's own value may escape it.

Found by random networks: the cut was lost wherever the operator in front of it only moves elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pimc
from pimc.frontend import check_model
from tests.properties.any_nets import any_net
from tests.properties.test_any_nets import judge

SIDE = 6
Step = tuple[str, list[Any], dict[str, Any]]

SLICE: Step = ("Slice", [np.array([1]), np.array([5]), np.array([2])], {})
MOVES: dict[str, Step] = {
    "slice": SLICE,
    "gather": ("Gather", [np.array([2, 0, 1])], {"axis": 1}),
    "transpose": ("Transpose", [], {"perm": [0, 1, 3, 2]}),
    "reflect": ("Pad", [np.array([0, 0, 1, 1, 0, 0, 0, 0])], {"mode": "reflect"}),
    "max": ("MaxPool", [], {"kernel_shape": [2, 2]}),
    "identity": ("Identity", [], {}),
}
RELU: Step = ("Relu", [], {})
CLIP: Step = ("Clip", [np.float32(-0.4), np.float32(0.7)], {})


def pad(value: float) -> Step:
    return "Pad", [np.array([0, 0, 1, 0, 0, 0, 0, 2]), np.float32(value)], {"mode": "constant"}


def model(steps: list[Step], zero: int) -> onnx.ModelProto:
    """DequantizeLinear, the steps, QuantizeLinear to another scale, between QLinearConvs."""
    constants: list[onnx.TensorProto] = []

    def const(value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), f"c{len(constants)}"))
        return constants[-1].name

    def q8(scale: float, point: int) -> list[str]:
        return [const(np.float32(scale)), const(np.uint8(point))]

    def layer(source: str, scales: list[str], outputs: int, size: int, result: list[str], name: str) -> None:
        weights = np.random.default_rng(5).integers(-9, 9, (outputs, 3, size, size)).astype(np.int8)
        parameters = [*scales, const(weights), const(np.float32(0.1)), const(np.int8(0)), *result]
        nodes.append(helper.make_node("QLinearConv", [source, *parameters], [f"{name}.y"], name))

    first, inner, outer = q8(0.02, 120), q8(0.05, 110), q8(0.017, zero)
    nodes = [helper.make_node("QuantizeLinear", ["x", *first], ["q"], "head")]
    layer("q", first, 3, 1, inner, "first")
    nodes.append(helper.make_node("DequantizeLinear", ["first.y", *inner], ["f"], "real"))
    name = "f"
    for n, (kind, inputs, attributes) in enumerate(steps):
        nodes.append(helper.make_node(kind, [name, *map(const, inputs)], [f"s{n}"], f"step{n}", **attributes))
        name = f"s{n}"
    nodes.append(helper.make_node("QuantizeLinear", [name, *outer], ["r"], "again"))
    layer("r", outer, 2, 2, q8(0.3, 100), "second")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    y = helper.make_tensor_value_info("second.y", TensorProto.UINT8, None)
    graph = helper.make_graph(nodes, "limits", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def check(steps: list[Step], zero: int, *, host: bool = False) -> None:
    """All of it on the chip unless ``host``, and equal to onnxruntime, also in floating point."""
    images = np.random.default_rng(1).uniform(-2, 2, (3, 3, SIDE, SIDE)).astype(np.float32)
    program = pimc.compile(model(steps, zero))
    report = program.verify(images)
    assert report.verdict == "PASS", report.first_difference
    assert {t.name for t in report.tensors} >= {"first.y", "second.y"}
    places = {n.node: n.where for n in check_model(model(steps, zero)).nodes}
    assert (places["step0"] == "host") == host


@pytest.mark.parametrize("zero", [0, 60])
@pytest.mark.parametrize("limit", [RELU, CLIP], ids=["relu", "clip"])
@pytest.mark.parametrize("move", MOVES)
def test_limits_cut(move: str, limit: Step, zero: int) -> None:
    check([MOVES[move], limit], zero)


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.5])
def test_padding_behind_a_limit_keeps_its_value(value: float) -> None:
    check([SLICE, RELU, pad(value)], 60)


@pytest.mark.parametrize(("value", "host"), [(-1.0, True), (0.0, False), (0.5, False)])
def test_padding_in_front_of_a_limit_is_cut(value: float, host: bool) -> None:
    """A value that the Relu changes cannot be stored beside others: the host does it."""
    check([SLICE, pad(value), RELU], 60, host=host)


@pytest.mark.parametrize("seed", [3331, 3531])
def test_networks_that_found_it(seed: int) -> None:
    """3331: as above; 3531: a global average that hardly varies, out of the range of onnxruntime's kernel."""
    assert any_net(seed)[0].graph.node
    judge(seed)
