"""The last layers of the trained Fashion-MNIST network through all three engines, one clock at a time."""

from __future__ import annotations

import numpy as np
import onnx
from onnx.utils import Extractor

import pimc
from pimc_isa.engines import step, values
from pimc_isa.engines.cycles import simulate
from pimc_models import fashion
from tests.unit.isa.engines.tiny import same

IMAGES = 2


def _tail() -> onnx.ModelProto:
    """From the last residual block's sum to the logits."""
    model = onnx.load(fashion.int8_path())
    add = [n for n in model.graph.node if n.op_type == "QLinearAdd"][-1]
    for name in (add.input[0], add.input[3]):
        info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, ("N", 64, 7, 7))
        model.graph.value_info.append(info)
    return Extractor(model).extract_model([add.input[0], add.input[3]], [model.graph.output[0].name])


def test_step_values_and_cycles_agree_on_the_tail() -> None:
    program = pimc.compile(_tail()).program
    rng = np.random.default_rng(0)
    inputs = {p.name: rng.integers(0, 256, (IMAGES, *p.shape)).astype(p.dtype) for p in program.inputs}
    slow, fast = step.run(program, inputs, IMAGES), values.run(program, inputs, keep=True)
    same(simulate(program, IMAGES), slow.timing)
    for name, expected in slow.outputs.items():
        np.testing.assert_array_equal(fast.outputs[name], expected)
    for tile in program.tiles:
        for buffer in tile.buffers:
            for view in (v for v in buffer.views if v.order == "CHW" and len(v.shape) == 3):
                held = fast.tensors[view.tensor].transpose(0, 2, 3, 1)
                part = held[:, :, slice(*buffer.cols), slice(*buffer.chans)]
                np.testing.assert_array_equal(slow.buffers[tile.number, buffer.name], part)
