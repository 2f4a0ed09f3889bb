"""Mean and variance of every BatchNormalization, measured in one forward pass on seeded noise.

With random statistics a deep network's activations drift apart from those of any trained one. Here each normalisation
is replaced by the arithmetic of its training mode, so that one onnxruntime pass yields all statistics at once, each
seeing inputs already normalised by those before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = 8
SIZE = 96
"""Calibration images are 96 x 96 whatever the network's own input, so weights do not depend on that size."""

SMALLEST_VARIANCE = 1e-2


def batch_norm_statistics(model: onnx.ModelProto, channels: int, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Return new arrays for the mean and variance initialisers (by name) of every BatchNormalization in `model`."""
    last = max((i for i, node in enumerate(model.graph.node) if node.op_type == "BatchNormalization"), default=-1)
    if last < 0:
        return {}
    nodes = [new for node in model.graph.node[: last + 1] for new in _measuring(node)]
    names = {
        source: f"{node.output[0]}/{kind}"
        for node in model.graph.node[: last + 1]
        if node.op_type == "BatchNormalization"
        for source, kind in ((node.input[3], "mean"), (node.input[4], "variance"))
    }
    arrays = _run(model, nodes, list(names.values()), _noise(channels, seed))
    measured = {source: arrays[name].reshape(-1) for source, name in names.items()}
    return {name: np.maximum(a, SMALLEST_VARIANCE) if name.endswith("var") else a for name, a in measured.items()}


def _measuring(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield `node`, or for a normalisation the same in training mode with mean and variance as tensors."""
    if node.op_type != "BatchNormalization":
        yield node
        return
    x, scale, shift, y = node.input[0], node.input[1], node.input[2], node.output[0]

    def make(op: str, inputs: list[str], output: str, **attributes: list[int]) -> onnx.NodeProto:
        return helper.make_node(op, inputs, [output], **attributes)

    yield make("ReduceMean", [x], f"{y}/mean", axes=[0, 2, 3])
    yield make("Sub", [x, f"{y}/mean"], f"{y}/centred")
    yield make("Mul", [f"{y}/centred"] * 2, f"{y}/square")
    yield make("ReduceMean", [f"{y}/square"], f"{y}/variance", axes=[0, 2, 3])
    yield make("Sqrt", [f"{y}/variance"], f"{y}/deviation")
    yield make("Div", [f"{y}/centred", f"{y}/deviation"], f"{y}/normal")
    for name, source in (("scale", scale), ("shift", shift)):
        yield helper.make_node("Unsqueeze", [source, "calibrate/axes"], [f"{y}/{name}"])
    yield make("Mul", [f"{y}/normal", f"{y}/scale"], f"{y}/scaled")
    yield make("Add", [f"{y}/scaled", f"{y}/shift"], y)


def _noise(channels: int, seed: int) -> npt.NDArray[np.float32]:
    """Return unit-variance images of coarse and fine noise: photographs are not white either."""
    rng = np.random.default_rng([seed, 1])
    coarse = rng.standard_normal((IMAGES, channels, SIZE // 8, SIZE // 8), np.float32)
    fine = rng.standard_normal((IMAGES, channels, SIZE, SIZE), np.float32)
    mixed = np.kron(coarse, np.ones((8, 8), np.float32)) + np.float32(0.5) * fine
    return np.asarray(mixed / mixed.std(), np.float32)


def _run(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], outputs: list[str], images: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[np.float32]]:
    import onnxruntime as ort

    name = model.graph.input[0].name
    image = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(images.shape))
    results = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    axes = helper.make_tensor("calibrate/axes", TensorProto.INT64, [3], [0, 2, 3])
    used = {source for node in nodes for source in node.input}
    stored = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = helper.make_graph(nodes, "calibrate", [image], results, [*stored, axes])
    calibration = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(calibration.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(outputs, {name: images}), strict=True))
