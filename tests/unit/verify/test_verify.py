"""The comparison finds what was planted, names the first tensor, and does not pass on nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest

import pimc
from pimc.verify import verify, verify_trials
from pimc.verify.compare import EXACT, Counter, Tolerance
from pimc.verify.inputs import synthetic
from pimc_isa.engines.noise import parse_noise
from pimc_isa.errors import ProgramError, RunError
from pimc_isa.program import Program
from pimc_models import fashion


@pytest.fixture(scope="module")
def program() -> Program:
    return pimc.compile(fashion.int8_path()).program


def changed(program: Program, suffix: str, change: Callable[[np.ndarray], np.ndarray], which: int = 0) -> Program:
    """Return the program with one of the tensors whose name ends in ``suffix`` changed."""
    name = [n for n in sorted(program.tensors) if n.endswith(suffix)][which]
    return replace(program, tensors={**program.tensors, name: change(program.tensors[name].copy())})


def test_every_quantised_tensor_of_the_model_is_compared(program: Program) -> None:
    report = verify(program, images=2)
    assert report.verdict == "PASS"
    model = onnx.load(fashion.int8_path())
    assert {t.name for t in report.tensors} | report.skipped.keys() == {
        n for node in model.graph.node for n in node.output
    }
    quantised = [t for t in report.tensors if t.name.endswith("quantized")]
    assert len(quantised) >= 18
    assert set(report.skipped.values()) <= {"inside a host call"}
    assert all(t.elements and t.tolerance == "" for t in quantised)


def test_one_wrong_weight_is_found_where_it_is(program: Program) -> None:
    def flip(codes: np.ndarray) -> np.ndarray:
        codes.reshape(-1)[5] ^= 64
        return codes

    names = [n for n in sorted(program.tensors) if n.endswith(".codes")]
    for which, name in enumerate(names[:3]):
        layer = next(t for t in program.tiles for g in t.groups if g.weights == name.removesuffix(".codes"))
        held = {v.tensor for b in layer.buffers for v in b.views}
        report = verify(changed(program, ".codes", flip, which), images=2)
        assert report.verdict == "FAIL"
        first = report.first_difference
        assert first is not None
        assert first.name in held
        assert 0 < first.mismatches < first.elements


def test_losses_are_those_of_lossy_programs_alone(program: Program) -> None:
    """An error of an exact program is a bug, no loss; a noisy chip's layers are ranked."""
    wrong = changed(program, ".codes", lambda w: np.where(w > 0, w - 1, w).astype(w.dtype))
    assert verify(wrong, images=1).verdict == "FAIL"
    assert verify(wrong, images=1).losses == ()
    noisy = verify(program, images=1, noise=parse_noise(1, "sinad=20"))
    assert 0 < len(noisy.losses) <= 5
    assert noisy.losses[0].lost == max(loss.lost for loss in noisy.losses)


def test_one_wrong_bias_is_found(program: Program) -> None:
    report = verify(changed(program, ".bias", lambda bias: bias + 1000), images=1)
    assert not report.passed
    assert report.max_lsb > 0
    assert report.to_dict()["verdict"] == "FAIL"


def test_nothing_compared_is_no_pass(program: Program) -> None:
    tiles = tuple(replace(t, buffers=tuple(replace(b, views=()) for b in t.buffers)) for t in program.tiles if t.number)
    host = program.tile[0]
    blind = replace(program, tiles=(host, *tiles))
    report = verify(blind, images=1)
    assert len(report.tensors) < 5
    assert "held by no buffer" in report.skipped.values()


def test_a_program_without_reference_cannot_be_verified(program: Program) -> None:
    tensors = {name: array for name, array in program.tensors.items() if name != "reference"}
    with pytest.raises(ProgramError, match="no reference model"):
        verify(replace(program, tensors=tensors))


def test_batches_do_not_change_the_report(program: Program) -> None:
    images, labels = fashion.load_test()
    reports = [verify(program, images[:7], labels[:7], batch=n) for n in (1, 3, 7)]
    assert reports[0] == reports[1] == reports[2]
    assert reports[0].accuracy["pimc"] == reports[0].accuracy["onnxruntime"] > 0.5


def test_accuracy_counts_right_classes(program: Program) -> None:
    images, _ = fashion.load_test()
    own = verify(program, images[:20], np.zeros(20, np.int64))
    logits = fashion.logits(onnx.load(fashion.int8_path()), images[:20])
    assert own.accuracy["pimc"] == (logits.argmax(1) == 0).mean()


def test_synthetic_images_reach_both_limits_and_repeat(program: Program) -> None:
    model = onnx.load(fashion.int8_path())
    x = synthetic(model, program.inputs, 3, seed=1)["image"]
    assert x.shape == (3, 1, 28, 28)
    assert x.min() < 0 < 1 < x.max()
    np.testing.assert_array_equal(x, synthetic(model, program.inputs, 3, seed=1)["image"])
    assert not np.array_equal(x, synthetic(model, program.inputs, 3, seed=2)["image"])


def test_counter_counts_over_batches() -> None:
    counter = Counter("t", Tolerance("QLinearAveragePool", lsb=1))
    counter.add(np.array([[1, 2]], np.uint8), np.array([[1, 3]], np.uint8))
    counter.add(np.array([[0, 9]], np.uint8), np.array([[255, 9]], np.uint8))
    report = counter.report()
    assert (report.elements, report.mismatches, report.beyond, report.max_lsb) == (4, 2, 1, 255)
    assert not report.passed
    assert report.tolerance == "QLinearAveragePool: 1 LSB"


def test_a_difference_within_its_tolerance_passes_and_is_counted() -> None:
    counter = Counter("t", Tolerance("float value", rtol=1e-4, atol=1e-5))
    counter.add(np.array([1.0, np.nan], np.float32), np.array([1.00001, np.nan], np.float32))
    report = counter.report()
    assert (report.mismatches, report.beyond) == (1, 0)
    assert report.passed
    assert 0 < report.max_abs < 1e-4


def test_exact_means_exact() -> None:
    counter = Counter("t", EXACT)
    counter.add(np.array([1.0], np.float32), np.array([np.nextafter(np.float32(1), np.float32(2))]))
    assert not counter.report().passed
    signed = Counter("s")
    signed.add(np.array([-128], np.int8), np.array([127], np.int8))
    assert signed.report().max_lsb == 255


def test_other_shapes_are_an_error() -> None:
    with pytest.raises(RunError, match=r"uint8\[2\], the model uint8\[3\]"):
        Counter("t").add(np.zeros(2, np.uint8), np.zeros(3, np.uint8))


def test_every_chip_has_a_seed_of_its_own_and_is_announced(program: Program) -> None:
    said: list[str] = []
    report = verify_trials(program, images=1, model="sinad=20", trials=2, progress=said.append)
    assert said == ["chip 1 of 2", "chip 2 of 2"]
    assert report.seed == 0
    for number, own in enumerate(report.reports):
        assert own == verify(program, images=1, noise=parse_noise(number, "sinad=20"))
    assert report.reports[0].mismatches != report.reports[1].mismatches
    assert verify_trials(program, images=1, model="sinad=20").reports == report.reports[:1]
