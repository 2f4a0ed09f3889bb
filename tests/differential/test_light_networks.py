"""onnx's own networks without weights (``light_*``), with seeded ones: every tensor of the chip is onnxruntime's."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import DATA_DIR

import pimc
from pimc.frontend import check_model
from pimc.frontend.fidelity import QuantisationWarning
from pimc.frontend.macs import HostLayersWarning

FOLDER = Path(DATA_DIR) / "light"
NETWORKS = sorted(p.stem.removeprefix("light_") for p in FOLDER.glob("light_*.onnx"))
POSITIVE = {("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 1)}
"""Factors and variances: operator and number of the input."""


def seeded(name: str) -> onnx.ModelProto:
    """The network with random weights in place of constants of one value."""
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    rng = np.random.default_rng(7)
    shapes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    made = {node.output[0]: shapes[node.input[0]] for node in model.graph.node if node.op_type == "ConstantOfShape"}
    kept = [node for node in model.graph.node if node.op_type != "ConstantOfShape"]
    renamed = {n.output[0]: n.input[0] for n in kept if n.op_type in ("Unsqueeze", "Reshape") and n.input[0] in made}
    uses = {
        renamed.get(value, value): (node.op_type, n)
        for node in kept
        if node.op_type not in ("Unsqueeze", "Reshape")
        for n, value in enumerate(node.input)
    }
    for tensor, shape in made.items():
        array = _drawn(rng, tuple(int(n) for n in shape), uses.get(tensor, ("", 0)))
        model.graph.initializer.append(numpy_helper.from_array(array, tensor))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    constants = {t.name for t in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 8)
    return model


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], use: tuple[str, int]) -> np.ndarray:
    if use in POSITIVE:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 400
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / fan_in))


def test_there_are_nine() -> None:
    assert len(NETWORKS) == 9


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_with_seeded_weights(name: str) -> None:
    model = seeded(name)
    images = np.random.default_rng(1).standard_normal((2, 3, 224, 224)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QuantisationWarning)  # random weights tell no classes apart
        warnings.simplefilter("error", HostLayersWarning)
        program = pimc.compile(model, calibration=images)
    report = program.verify(images[:1])
    assert report.verdict == "PASS", report.first_difference
    assert len(report.tensors) > 10
    if len(model.graph.initializer) < 100:
        assert check_model(model, calibration=images).on_chip_macs_fraction == 1
