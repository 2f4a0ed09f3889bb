"""Networks at their real size: every tensor equal to onnxruntime's; text and files reproduce byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import pimc
from pimc.driver import CompiledProgram
from pimc_models import fashion, locate, preprocess, zoo
from pimc_models.fashion.quantisation import KINDS

MAX_INSTRUCTIONS = 20_000


def equal_and_reproducible(compiled: CompiledProgram, again: CompiledProgram, folder: Path) -> None:
    """The same bytes from a second compilation, and from disassembly and assembly."""
    compiled.save(folder / "a.pim")
    again.save(folder / "b.pim")
    compiled.save(folder / "a.pimasm")
    pimc.load(folder / "a.pimasm").save(folder / "c.pim")
    data = (folder / "a.pim").read_bytes()
    assert data == (folder / "b.pim").read_bytes()
    assert data == (folder / "c.pim").read_bytes()
    assert sum(len(t.code) for t in compiled.program.tiles) <= MAX_INSTRUCTIONS


@pytest.mark.filterwarnings("ignore::pimc.frontend.fidelity.QuantisationWarning")  # random weights and inputs
@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "squeezenet1_1", "googlenet"])
def test_topologies_at_224(name: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((4, 3, 224, 224)).astype(np.float32)
    model = zoo.build(name)
    compiled = pimc.compile(model, calibration=images)
    report = compiled.verify(images[:2])
    assert (report.verdict, report.mismatches) == ("PASS", 0)
    assert compiled.interval_cycles > 0
    reference = onnx.load_from_string(compiled.program.tensors["reference"].tobytes())
    equal_and_reproducible(pimc.compile(reference), pimc.compile(reference), tmp_path)


@pytest.mark.slow
def test_a_trained_network_on_photographs(tmp_path: Path) -> None:
    try:
        model, photos = locate.load("opennsfw"), locate.photos()
    except locate.NotInstalledError as missing:
        pytest.skip(str(missing))
    images = np.concatenate([preprocess.opennsfw(photo) for _, photo in photos])
    compiled = pimc.compile(model, calibration=images[:6])
    report = compiled.verify(images)
    assert (report.verdict, report.mismatches, report.images) == ("PASS", 0, len(photos))
    equal_and_reproducible(compiled, pimc.compile(model, calibration=images[:6]), tmp_path)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_fashion_in_every_format_on_all_committed_images(kind: str, tmp_path: Path) -> None:
    images, labels = fashion.load_test()
    model = fashion.quantise(kind)
    compiled = pimc.compile(model)
    report = compiled.verify(images, labels)
    assert (report.verdict, report.mismatches, report.images) == ("PASS", 0, 1000)
    assert report.accuracy["pimc"] == report.accuracy["onnxruntime"] > 0.9
    equal_and_reproducible(compiled, pimc.compile(model), tmp_path)
