"""Seeded 8-bit topologies: the float network's layers with 8-bit weights, runnable, compiled bit for bit."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import pimc
from pimc_models import zoo
from pimc_models.run import run

WEIGHTED = {"Conv": "QLinearConv", "Gemm": "QGemm"}
NAMES = [name for name in zoo.TOPOLOGIES if not name.startswith("vgg")]


@cache
def small(name: str) -> onnx.ModelProto:
    return zoo.build_int8(name, size=max(64, zoo.LEAST[name]), classes=10)


def layers(model: onnx.ModelProto, kinds: set[str], weight: int) -> list[tuple[str, list[int], list[tuple[str, str]]]]:
    """Name, weight shape and geometry of each layer with weights."""
    shapes = {t.name: list(t.dims) for t in model.graph.initializer}
    return [
        (
            node.name,
            shapes[node.input[weight if node.op_type in WEIGHTED.values() else 1]],
            sorted((a.name, str(onnx.helper.get_attribute_value(a))) for a in node.attribute),
        )
        for node in model.graph.node
        if node.op_type in kinds
    ]


@pytest.mark.parametrize("name", zoo.TOPOLOGIES)
def test_the_layers_are_the_float_networks(name: str) -> None:
    size = max(64, zoo.LEAST[name])
    ours = layers(zoo.build_int8(name, size=size, classes=10), set(WEIGHTED.values()), 3)
    assert ours == layers(zoo.build(name, size=size, classes=10), set(WEIGHTED), 1)


@pytest.mark.parametrize("name", NAMES)
def test_activations_are_lively_and_logits_depend_on_the_image(name: str) -> None:
    model = small(name)
    images = np.random.default_rng(3).standard_normal((2, 1, 3, *[max(64, zoo.LEAST[name])] * 2), np.float32)
    first, second = (run(model, image) for image in images)
    assert first.shape == (1, 10)
    assert first.std() > 0.05
    assert (first != second).any()


def test_weights_use_the_whole_range_and_follow_the_seed() -> None:
    def weight(seed: int) -> np.ndarray:
        model = zoo.build_int8("squeezenet1_1", seed=seed, size=64, classes=10)
        return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name.endswith("squeeze.weight"))

    assert (int(weight(0).min()), int(weight(0).max())) == (-127, 127)
    assert (weight(0) == weight(0)).all()
    assert (weight(0) != weight(1)).mean() > 0.9


@pytest.mark.parametrize("name", ["inception_v3", "mobilenet_v2"])
def test_a_compiled_network_equals_onnxruntime(name: str) -> None:
    report = pimc.compile(small(name), replication="none").verify()
    assert report.passed
    assert report.mismatches == 0
    assert not report.skipped
