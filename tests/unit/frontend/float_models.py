"""Small float models for the front end's tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]


def float_model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Array],
    shape: Sequence[int | str | None] = ("n", 3, 8, 8),
    *,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model with input x, output y and the given constants."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def random(*shape: int, seed: int = 0) -> Array:
    """Seeded normal float32."""
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def conv_model(**options: Any) -> onnx.ModelProto:
    """One convolution."""
    return float_model([helper.make_node("Conv", ["x", "w"], ["y"], "conv")], {"w": random(4, 3, 3, 3)}, **options)


def run(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    """Outputs in onnxruntime, unoptimised."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if any(n.op_type.startswith("QLinear") for n in model.graph.node):  # u8 x s8 saturates without VNNI
        options.add_session_config_entry("session.x64quantprecision", "1")
    else:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))
