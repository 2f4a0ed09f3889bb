"""Whole networks, float to verdict: quantised, compiled, and every tensor equal to onnxruntime's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import pimc
from pimc_isa.engines.cycles import simulate
from pimc_models import fashion, zoo
from pimc_models.fashion.quantisation import KINDS

SIZE = 64
#: Networks whose stems leave nothing of 64 x 64.
LARGER = {"alexnet": 96, "inception_v3": 96}


@pytest.mark.filterwarnings("ignore::pimc.frontend.fidelity.QuantisationWarning")  # random weights and inputs
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(zoo.TOPOLOGIES))
def test_topologies_equal_onnxruntime(name: str) -> None:
    size = LARGER.get(name, SIZE)
    images = np.random.default_rng(0).standard_normal((4, 3, size, size)).astype(np.float32)
    compiled = pimc.compile(zoo.build(name, size=size, classes=100), calibration=images)
    report = compiled.verify(images[:2])
    assert (report.verdict, report.mismatches, report.first_difference) == ("PASS", 0, None)
    reasons = {"a float value between 8-bit ones", "inside a host call"}
    assert set(report.skipped.values()) <= reasons | ({"moved on its way"} if name == "shufflenet_v2" else set())
    assert len(report.tensors) > 10
    timing = simulate(compiled.program, images=2)
    assert 0 < timing.interval_cycles <= timing.latency_cycles


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_formats_equal_onnxruntime_on_real_images(kind: str) -> None:
    images, labels = fashion.load_test()
    report = pimc.compile(fashion.quantise(kind)).verify(images[:200], labels[:200])
    assert (report.verdict, report.mismatches, report.top1_agreement) == ("PASS", 0, 1.0)
    assert report.accuracy["pimc"] == report.accuracy["onnxruntime"] > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("replication", ["none", "stride2", "equal", "balanced"])
@pytest.mark.parametrize("chips", [None, 2])
def test_options_change_time_and_not_values(replication: str, chips: int | None) -> None:
    images, _ = fashion.load_test()
    compiled = pimc.compile(fashion.int8_path(), replication=replication, chips=chips)
    assert compiled.verify(images[:8]).passed
    single = pimc.compile(fashion.int8_path(), replication="none")
    assert compiled.interval_cycles <= single.interval_cycles


def test_a_program_is_the_same_after_a_round_trip_through_its_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("round")
    images, _ = fashion.load_test()
    compiled = pimc.compile(fashion.int8_path())
    compiled.save(folder / "a.pim")
    compiled.save(folder / "a.pimasm")
    expected = compiled.run(images[:3])
    for path in (folder / "a.pim", folder / "a.pimasm"):
        loaded = pimc.load(path)
        loaded.save(folder / "again.pim")
        assert (folder / "again.pim").read_bytes() == (folder / "a.pim").read_bytes()
        result = loaded.run(images[:3])
        np.testing.assert_array_equal(result.outputs["logits"], expected.outputs["logits"])
        assert (result.cycles, result.energy_joules) == (expected.cycles, expected.energy_joules)
