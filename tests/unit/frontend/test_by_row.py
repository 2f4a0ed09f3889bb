"""Which subgraphs may run row by row, and that the model for a row makes what the whole model makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pimc.frontend.by_row import row_model

ROWS = 5
X, Y = [1, 6, ROWS, 4], "y"
Node = onnx.NodeProto


def node(kind: str, *inputs: str, **attributes: Any) -> Node:
    return helper.make_node(kind, list(inputs), ["f"], **attributes)


def model(middle: list[Node], constants: dict[str, np.ndarray], last: str = "f") -> onnx.ModelProto:
    held = {"s": np.float32(0.05), "z": np.uint8(120), **constants}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["d"]),
        *middle,
        helper.make_node("QuantizeLinear", [last, "s", "z"], [Y]),
    ]
    graph = helper.make_graph(
        nodes,
        "part",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, X)],
        [helper.make_tensor_value_info(Y, TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def channels(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


LOCAL = [
    ([node("Softmax", "d", axis=1)], {}),
    ([node("LogSoftmax", "d", axis=-1)], {}),
    ([node("Sigmoid", "d")], {}),
    ([node("PRelu", "d", "a")], {"a": channels(*range(6))[0]}),
    ([node("Mul", "d", "a")], {"a": channels(*range(6))}),
    ([node("LRN", "d", size=3)], {}),
    (
        [
            helper.make_node("Transpose", ["d"], ["t"], perm=[0, 2, 3, 1]),
            helper.make_node("LayerNormalization", ["t", "a"], ["n"], axis=-1),
            helper.make_node("Transpose", ["n"], ["f"], perm=[0, 3, 1, 2]),
        ],
        {"a": np.arange(6, dtype=np.float32)},
    ),
    (
        [
            helper.make_node("ReduceMean", ["d"], ["m"], axes=[1]),
            helper.make_node("Sub", ["d", "m"], ["f"]),
        ],
        {},
    ),
]
WHOLE = [
    ([node("Softmax", "d", axis=2)], {}),
    ([node("InstanceNormalization", "d", "a", "a")], {"a": np.ones(6, np.float32)}),
    ([node("Mul", "d", "a")], {"a": np.ones((1, 1, ROWS, 1), np.float32)}),
    ([node("Resize", "d", "", "a", mode="linear")], {"a": np.array([1, 1, 2, 2], np.float32)}),
    ([node("Transpose", "d", perm=[0, 1, 3, 2])], {}),
    ([node("Reshape", "d", "a")], {"a": np.array(X, np.int64)}),
]


@pytest.mark.parametrize(("middle", "constants"), LOCAL)
def test_rows_of_the_row_model_are_those_of_the_whole(middle: list[Node], constants: dict[str, np.ndarray]) -> None:
    whole = model(middle, constants)
    one = row_model(whole, ROWS, {"x": 2}, Y, 2)
    assert one is not None
    x = np.random.default_rng(0).integers(0, 256, X, dtype=np.uint8)
    (expected,) = ort.InferenceSession(whole.SerializeToString()).run(None, {"x": x})
    session = ort.InferenceSession(one)
    rows = [session.run(None, {"x": x[:, :, r : r + 1]})[0] for r in range(ROWS)]
    np.testing.assert_array_equal(np.concatenate(rows, axis=2), expected)


@pytest.mark.parametrize(("middle", "constants"), WHOLE)
def test_what_looks_beyond_its_row_runs_whole(middle: list[Node], constants: dict[str, np.ndarray]) -> None:
    assert row_model(model(middle, constants), ROWS, {"x": 2}, Y, 2) is None
