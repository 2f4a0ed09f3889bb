"""Lossy programs and noise through the commands: what is printed, which exit code, which seeds matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pimc_models import fashion
from tests.unit.cli.conftest import Files
from tests.unit.cli.run import pimc


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network on converters of 8 bits."""
    folder = tmp_path_factory.mktemp("lossy")
    np.savez(folder / "calibration.npz", image=fashion.load_calibration()[:16])
    program = folder / "net.pim"
    done = pimc(
        *("compile", fashion.int8_path(), "--target", "neural-pim", "--calibration", folder / "calibration.npz"),
        *("-o", program),
    )
    assert done.code == 0, done.err
    return program


def test_a_lossy_program_is_measured_and_does_not_pass(lossy: Path, files: Files) -> None:
    done = pimc("verify", lossy, "--data", files.images, "--labels", files.labels)
    assert done.code == 1
    assert "LOSSY: " in done.out
    assert "FAIL" not in done.out
    assert "differences: 1 LSB: " in done.out
    assert "first tensor that differs: " in done.out
    values = pimc("verify", lossy, "--data", files.images, "--labels", files.labels, "--json").json
    assert values["verdict"] == "LOSSY"
    assert values["lossy"] is True
    assert 10 < values["output_snr_db"] < 60
    assert sum(values["lsb_histogram"].values()) == sum(t["mismatches"] for t in values["by_tensor"] if t["max_lsb"])
    assert values["accuracy"].keys() == {"pimc", "onnxruntime"}


def test_an_exact_program_with_noise_is_lossy_and_without_is_not(files: Files) -> None:
    quiet = pimc("verify", files.program, "--data", files.images, "--json")
    assert (quiet.code, quiet.json["lossy"], quiet.json["lsb_histogram"]) == (0, False, {})
    noisy = pimc("verify", files.program, "--data", files.images, "--noise", 1, "--noise-model", "sinad=40", "--json")
    assert (noisy.code, noisy.json["verdict"]) == (1, "LOSSY")
    assert noisy.json["noise"] == "sinad=40, seed 1"


def test_trials_give_mean_and_deviation(files: Files) -> None:
    options = ("--data", files.images, "--labels", files.labels, "--noise-model", "sinad=30")
    done = pimc("verify", files.program, *options, "--noise", 5, "--trials", 3, "--json")
    assert done.code == 1
    found = done.json["figures"]["output_snr_db"]
    each = [pimc("verify", files.program, *options, "--noise", 5 + n, "--json").json["output_snr_db"] for n in range(3)]
    assert found["mean"] == pytest.approx(np.mean(each))
    assert found["deviation"] == pytest.approx(np.std(each, ddof=1))
    table = pimc("verify", files.program, *options, "--noise", 5, "--trials", 2)
    assert "2 noisy chips" in table.out
    assert "seeds 5 to 6" in table.out


def test_trials_without_noise_are_refused(files: Files) -> None:
    done = pimc("verify", files.program, "--trials", 3)
    assert done.code == 2
    assert "--noise" in done.err


def test_run_with_noise_depends_on_the_seed_alone(files: Files, tmp_path: Path) -> None:
    results = []
    for name, options in {
        "a": ("--noise", 1),
        "b": ("--noise", 1, "--batch", 2),
        "c": ("--noise", 2),
        "d": (),
    }.items():
        output = tmp_path / f"{name}.npz"
        done = pimc("run", files.program, "-i", files.images, "-o", output, "--noise-model", "sinad=40", *options)
        assert done.code == 0
        results.append(np.load(output)["logits"])
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    assert (results[0] != results[3]).any()


def test_noise_of_columns(files: Files, tmp_path: Path) -> None:
    """E = 0 is no noise, to the bit; more of it is more."""
    results = []
    for part in ("0", "0.06", "0.6"):
        output = tmp_path / f"{part}.npz"
        options = ("--noise", 1, "--noise-model", f"column={part}")
        assert pimc("run", files.program, "-i", files.images, "-o", output, *options).code == 0
        results.append(np.load(output)["logits"])
    quiet = tmp_path / "quiet.npz"
    assert pimc("run", files.program, "-i", files.images, "-o", quiet).code == 0
    np.testing.assert_array_equal(results[0], np.load(quiet)["logits"])
    errors = [np.abs(result - results[0]).mean() for result in results]
    assert 0 < 3 * errors[1] < errors[2]
    noisy = pimc(
        "verify", files.program, "--data", files.images, "--noise", 1, "--noise-model", "column=0.06", "--json"
    )
    assert (noisy.code, noisy.json["verdict"], noisy.json["noise"]) == (1, "LOSSY", "column=0.06, seed 1")


def test_an_unknown_model_is_refused(files: Files) -> None:
    done = pimc("run", files.program, "-i", files.images, "--noise", 1, "--noise-model", "thermal")
    assert done.code == 2
    assert "noise model 'thermal' is not known" in done.err
