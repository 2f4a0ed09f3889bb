"""A small network whose tensors between its convolutions have four bits: python network.py nibble.onnx."""

from __future__ import annotations

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def network() -> onnx.ModelProto:
    """Two convolutions with a shift down and up between them; weights are seeded."""
    rng = np.random.default_rng(0)
    numbers = {
        "scale": np.float32(0.05),
        "zero": np.uint8(0),
        "four": np.uint8(4),
        "w.scale": np.float32(0.01),
        "w.zero": np.int8(0),
        "w1": rng.integers(-90, 90, (8, 3, 3, 3), dtype=np.int8),
        "w2": rng.integers(-90, 90, (8, 8, 3, 3), dtype=np.int8),
    }

    def conv(x: str, w: str, y: str) -> onnx.NodeProto:
        scales = [x, "scale", "zero", w, "w.scale", "w.zero", "scale", "zero"]
        return helper.make_node("QLinearConv", scales, [y], y, pads=[1] * 4)

    nodes = [
        helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["q"], "quantise"),
        conv("q", "w1", "first"),
        helper.make_node("BitShift", ["first", "four"], ["upper"], "down", direction="RIGHT"),
        helper.make_node("BitShift", ["upper", "four"], ["whole"], "up", direction="LEFT"),
        conv("whole", "w2", "second"),
        helper.make_node("DequantizeLinear", ["second", "scale", "zero"], ["y"], "dequantise"),
    ]
    image, result = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 12, 10])
        for name, channels in (("image", 3), ("y", 8))
    )
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in numbers.items()]
    graph = helper.make_graph(nodes, "nibble", [image], [result], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


if __name__ == "__main__":
    onnx.save(network(), sys.argv[1])
