"""Whatever a network consists of: it compiles, and every tensor of the chip is onnxruntime's, given the host's."""

from __future__ import annotations

import warnings

import pytest

import pimc
from pimc.frontend.fidelity import QuantisationWarning
from pimc.frontend.macs import HostLayersWarning
from tests.properties.any_nets import any_net


def judge(seed: int, target: str = "isaac") -> None:
    model, images = any_net(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (QuantisationWarning, HostLayersWarning))
        program = pimc.compile(model, target, calibration=images)
    report = program.verify(images)
    wrong = [t for t in report.tensors if t.beyond or (t.mismatches and not t.tolerance)]
    assert report.verdict == "PASS", (seed, wrong, [n.op_type for n in model.graph.node])
    assert program.interval_cycles > 0  # no deadlock


@pytest.mark.parametrize("first", range(0, 60, 6))
def test_sixty(first: int) -> None:
    for seed in range(first, first + 6):
        judge(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 4000, 100))
def test_three_thousand(first: int) -> None:
    for seed in range(first, first + 100):
        judge(seed)


def test_all_operators_come() -> None:
    """The generator's own share: movements, host operators, units and layers all among the first 60 networks."""
    kinds = {node.op_type for seed in range(60) for node in any_net(seed)[0].graph.node}
    layers = {"Conv", "ConvTranspose", "MatMul", "BatchNormalization"}
    moved = {"Slice", "Split", "Gather", "Pad", "Resize", "DepthToSpace", "SpaceToDepth", "Transpose", "Concat"}
    host = {"Softmax", "LRN", "InstanceNormalization", "ReduceMax", "ReduceSum"}
    units = {"Add", "Sub", "Mul", "Min", "PRelu", "Sigmoid", "MaxPool", "AveragePool", "GlobalAveragePool"}
    assert layers | moved | host | units <= kinds
