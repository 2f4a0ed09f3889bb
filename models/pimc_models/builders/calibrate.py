"""Mean and variance of every BatchNormalization, measured in one forward pass on seeded noise.

With random statistics a deep network's activations drift apart from those of any trained one. Here each normalisation
is replaced by the arithmetic of its training mode, so that one onnxruntime pass yields all statistics at once, each
layer seeing inputs that those before it have normalised already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pimc_models.builders.layer import IR_VERSION, OPSET, Signal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Arrays = Mapping[str, npt.NDArray[np.float32]]

IMAGES = 8
SIZE = 96
"""Calibration images are 96 x 96 whatever the network's own input, so weights do not depend on that size."""

SMALLEST_VARIANCE = 1e-2
"""A channel that hardly moves on the noise is not blown up."""


def batch_norm_statistics(
    nodes: Sequence[onnx.NodeProto], weights: Arrays, image: Signal, seed: int
) -> dict[str, npt.NDArray[np.float32]]:
    """Return new arrays for the mean and variance (by initialiser name) of every BatchNormalization in `nodes`."""
    norms = [node for node in nodes if node.op_type == "BatchNormalization"]
    if not norms:
        return {}
    outputs = [f"{node.output[0]}/{kind}" for node in norms for kind in ("mean", "variance")]
    model = _measuring_model(nodes, weights, image, outputs)
    measured = iter(_run(model, outputs, image.name, calibration_images(image.channels, seed)))
    statistics = {}
    for node in norms:
        statistics[node.input[3]] = next(measured).reshape(-1)
        statistics[node.input[4]] = next(measured).reshape(-1)
    return statistics


def _measuring_model(
    nodes: Sequence[onnx.NodeProto], weights: Arrays, image: Signal, outputs: Sequence[str]
) -> onnx.ModelProto:
    """Return the graph up to its last normalisation, with `outputs` exposed."""
    last = max(i for i, node in enumerate(nodes) if node.op_type == "BatchNormalization")
    measuring = [new for node in nodes[: last + 1] for new in _training_mode(node)]
    used = {source for node in measuring for source in node.input}
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items() if name in used]
    stored += [
        helper.make_tensor("calibrate/axes", TensorProto.INT64, [3], [0, 2, 3]),
        helper.make_tensor("calibrate/smallest", TensorProto.FLOAT, [], [SMALLEST_VARIANCE]),
    ]
    stored += [
        helper.make_tensor(
            f"{node.output[0]}/epsilon", TensorProto.FLOAT, [], [helper.get_node_attr_value(node, "epsilon")]
        )
        for node in nodes[: last + 1]
        if node.op_type == "BatchNormalization"
    ]
    shape = [IMAGES, image.channels, SIZE, SIZE]
    inputs = [helper.make_tensor_value_info(image.name, TensorProto.FLOAT, shape)]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(measuring, "calibrate", inputs, results, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _training_mode(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield `node` itself, or in place of a normalisation its training mode, with mean and variance as tensors."""
    if node.op_type != "BatchNormalization":
        yield node
        return
    x, scale, shift, y = node.input[0], node.input[1], node.input[2], node.output[0]
    yield helper.make_node("ReduceMean", [x], [f"{y}/mean"], axes=[0, 2, 3])
    yield helper.make_node("Sub", [x, f"{y}/mean"], [f"{y}/centred"])
    yield helper.make_node("Mul", [f"{y}/centred", f"{y}/centred"], [f"{y}/square"])
    yield helper.make_node("ReduceMean", [f"{y}/square"], [f"{y}/measured"], axes=[0, 2, 3])
    yield helper.make_node("Max", [f"{y}/measured", "calibrate/smallest"], [f"{y}/variance"])
    yield helper.make_node("Add", [f"{y}/variance", f"{y}/epsilon"], [f"{y}/stable"])
    yield helper.make_node("Sqrt", [f"{y}/stable"], [f"{y}/deviation"])
    yield helper.make_node("Div", [f"{y}/centred", f"{y}/deviation"], [f"{y}/normal"])
    yield helper.make_node("Unsqueeze", [scale, "calibrate/axes"], [f"{y}/scale"])
    yield helper.make_node("Unsqueeze", [shift, "calibrate/axes"], [f"{y}/shift"])
    yield helper.make_node("Mul", [f"{y}/normal", f"{y}/scale"], [f"{y}/scaled"])
    yield helper.make_node("Add", [f"{y}/scaled", f"{y}/shift"], [y])


def calibration_images(channels: int, seed: int) -> npt.NDArray[np.float32]:
    """Return IMAGES x channels x SIZE x SIZE of unit variance: coarse and fine noise, as photographs are not white."""
    rng = np.random.default_rng([seed, 1])
    coarse = rng.standard_normal((IMAGES, channels, SIZE // 8, SIZE // 8), np.float32)
    fine = rng.standard_normal((IMAGES, channels, SIZE, SIZE), np.float32)
    mixed = np.kron(coarse, np.ones((8, 8), np.float32)) + np.float32(0.5) * fine
    return np.asarray(mixed / mixed.std(), np.float32)


def _run(
    model: onnx.ModelProto, outputs: Sequence[str], name: str, images: npt.NDArray[np.float32]
) -> list[npt.NDArray[np.float32]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(array, np.float32) for array in session.run(list(outputs), {name: images})]
