"""Networks whose layers hold epitomes, on every target whose conversions lose nothing: onnxruntime's bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest

from pimc import driver
from pimc.epitomes.epitome import reconstruct
from pimc.frontend import load_model
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.manager import run_passes
from pimc.passes.plan_file import PlanFile
from pimc.passes.target import Target
from pimc_isa.engines import step
from tests.differential.epitome_models import five_layers
from tests.differential.frontend_models import Net
from tests.properties.epitome_nets import random_index

Array = np.ndarray
TARGETS = ("isaac", "isaac-style", "isaac-8b", "cascade", "neural-pim", "raella", "raella signed")


class Woven(Net):
    """A `Net` whose convolutions' weights are those of epitomes, which it keeps with their index."""

    def __init__(self, seed: int, **form: bool) -> None:
        super().__init__(seed, **form)
        self.wild, self.epitomes = Random(seed), list[tuple[Array, Array]]()

    def weights(self, shape: Sequence[int], axis: int, per_channel: bool) -> tuple[list[str], Array, Array]:
        names, scale, _ = super().weights(shape, axis, per_channel)
        outputs, depth, kh, kw = shape
        index, stored = random_index(self.wild, (outputs, kh, kw, depth))
        epitome = self.rng.integers(-128, 128, stored).astype(np.int8)
        self.epitomes.append((epitome, index))
        centred = reconstruct(epitome, index).transpose(0, 3, 1, 2)
        held = next(tensor for tensor in self.constants if tensor.name == names[0])
        held.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(centred), names[0]))
        return names, scale, centred.astype(np.int64)


def network(seed: int) -> tuple[onnx.ModelProto, list[tuple[Array, Array]]]:
    """Strides, pads, groups, a residual sum, a concatenation, a pool."""
    net = Woven(seed, qdq=seed % 2 == 1)
    five_layers(net)
    return net.model(), net.epitomes


def woven(model: onnx.ModelProto, epitomes: Sequence[tuple[Array, Array]], calibration: Array | None = None) -> Graph:
    """The model's graph with its epitomes."""
    graph = load_model(model.SerializeToString())
    for number, (epitome, index) in enumerate(epitomes):
        weights = reconstruct(epitome, index)
        names = f"e{number}", f"e{number}.index"
        (op,) = (op for op in graph.of(Conv) if np.array_equal(graph.constants[op.weights], weights))
        graph.constants |= dict(zip(names, (epitome, index), strict=True))
        graph.update(replace(op, epitome=names[0], index=names[1]))
    if calibration is not None:
        graph.calibration = {graph.inputs[0].name: calibration}
    return graph


def lossless(name: str, rows: int) -> tuple[Target, Any]:
    """A target with crossbars of so many rows (0: its own), whose conversions lose nothing, and its passes."""
    short, *signed = name.split()
    options: dict[str, Any] = {"ranges": "wide"} if short in ("cascade", "neural-pim") else {}
    changed: dict[str, Any] = {
        **({"array.rows": rows} if rows else {}),
        **({"array.converter_bits": 20} if short == "raella" else {}),
    }
    if signed:
        options["signed"] = "on"
    return driver.choose(short, **options, **changed)


@pytest.mark.parametrize("rows", [32, pytest.param(96, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TARGETS)
def test_folded_networks_are_onnxruntimes(name: str, rows: int) -> None:
    model, epitomes = network(TARGETS.index(name) + rows)
    images = np.random.default_rng(rows).normal(0, 2, (2, 6, 5, 4)).astype(np.float32)
    target, passes = lossless(name, rows)
    graph = woven(model, epitomes, images)
    plan = PlanFile({}, {"fold-epitomes": {op.name: {"folded": True} for op in graph.of(Conv)}})
    done = run_passes(graph, passes, target, plan=plan)
    assert all(op.rounds is not None for op in done.of(Conv))
    program = driver.emit(done, target)
    report = program.verify({model.graph.input[0].name: images}, own=model.SerializeToString())
    assert report.verdict == "PASS", report
    if rows == 32:
        feeds = {model.graph.input[0].name: images[:1]}
        fast, slow = program.run(feeds).outputs, step.run(program.program, feeds)
        for output, value in slow.outputs.items():
            np.testing.assert_array_equal(fast[output], value)
