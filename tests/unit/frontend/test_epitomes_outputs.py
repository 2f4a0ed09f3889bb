"""Channels that are copied behind a layer and then normalised: copies of its weights, against onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

import pimc
from pimc.frontend import load_model
from pimc.frontend.epitomes.outputs import wrap_weights
from pimc.frontend.epitomes.structure import Choice
from pimc.ir.ops import Conv
from tests.unit.frontend.float_models import float_model, random, run
from tests.unit.frontend.test_epitomes import IMAGES, node

CONSTANTS: dict[str, Any] = {
    "w": random(12, 6, 3, 3, seed=2),
    "b": random(12, seed=3),
    "g": np.linspace(0.5, 1.5, 36, dtype=np.float32),
    "s": random(36, seed=4),
    "m": random(36, seed=5),
    "v": np.linspace(0.5, 2, 36, dtype=np.float32),
    "t": np.array([1, 3, 1, 1]),
    "i": np.random.default_rng(6).permutation(np.arange(36) % 12 - 12),
    "last": np.array([1, 1, 1, 3]),
    "far": np.arange(36),
}
NORM = node("BatchNormalization", "d g s m v", "n")
COPIES = {
    "concat": node("Concat", "c c c", "d", axis=1),
    "concat, from the end": node("Concat", "c c c", "d", axis=-3),
    "tile": node("Tile", "c t", "d"),
    "gather": node("Gather", "c i", "d", axis=1),
}


def model_of(*steps: onnx.NodeProto, outputs: Sequence[str] = ()) -> onnx.ModelProto:
    """A convolution with 12 outputs, and the steps behind it; y is the last one's result."""
    first = node("Conv", "x w b", "c", "wrapped", pads=[1] * 4)
    made = float_model([first, *steps, node("Relu", steps[-1].output[0], "y")], CONSTANTS, ("n", 6, 9, 9))
    made.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in outputs)
    return made


@pytest.mark.parametrize("kind", COPIES)
def test_copies_become_the_weights(kind: str) -> None:
    model = model_of(COPIES[kind], NORM)
    wrapped = onnx.ModelProto.FromString(model.SerializeToString())
    wrap_weights(wrapped, Choice())
    assert [n.op_type for n in wrapped.graph.node] == ["Gather", "Gather", "Conv", "BatchNormalization", "Relu"]
    np.testing.assert_allclose(run(wrapped, {"x": IMAGES})[0], run(model, {"x": IMAGES})[0], rtol=1e-5, atol=1e-5)


def test_the_layer_is_an_epitome_of_what_it_computes_once() -> None:
    """One layer in place of two, every tensor onnxruntime's."""
    model = model_of(COPIES["gather"], NORM)
    graph = load_model(model, calibration=IMAGES)
    (op,) = graph.of(Conv)
    assert op.epitome is not None
    assert graph.constants[op.epitome].shape == (54, 12)
    assert len(list(load_model(model, calibration=IMAGES, epitome="off").of(Conv))) == 2
    assert pimc.compile(model, calibration=IMAGES).verify(images=2).verdict == "PASS"


LEFT = {
    "no normalisation": model_of(COPIES["tile"]),
    "another reader": model_of(COPIES["tile"], NORM, outputs=["c"]),
    "the copies are read too": model_of(COPIES["tile"], NORM, outputs=["d"]),
    "other axes": model_of(node("Tile", "c last", "d"), NORM),
    "channels that there are not": model_of(node("Gather", "c far", "d", axis=1), NORM),
    "another axis of Gather": model_of(node("Gather", "c i", "d", axis=2), NORM),
    "another tensor beside it": model_of(node("Relu", "c", "r"), node("Concat", "c r c", "d", axis=1), NORM),
}


@pytest.mark.parametrize("kind", LEFT)
def test_what_is_left_alone(kind: str) -> None:
    model = onnx.ModelProto.FromString(LEFT[kind].SerializeToString())
    wrap_weights(model, Choice())
    assert model == LEFT[kind]


def test_groups_and_layers_not_chosen_are_left_alone() -> None:
    """Copies of a group's channels would belong to other groups."""
    grouped = model_of(COPIES["tile"], NORM)
    next(t for t in grouped.graph.initializer if t.name == "w").CopyFrom(
        onnx.numpy_helper.from_array(random(12, 3, 3, 3), "w")
    )
    grouped.graph.node[0].attribute.append(onnx.helper.make_attribute("group", 2))
    for model, names in ((grouped, ("*",)), (model_of(COPIES["tile"], NORM), ("other",))):
        before = model.SerializeToString()
        wrap_weights(model, Choice("file", names))
        assert model.SerializeToString() == before
