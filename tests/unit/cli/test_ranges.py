"""Converter ranges through the commands: options, the layer report, messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pimc_models import fashion
from tests.unit.cli.run import pimc


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, image=fashion.load_calibration()[:4])
    return path


def test_layers_report_their_ranges(tmp_path: Path, calibration: Path) -> None:
    out = tmp_path / "x.pim"
    options = ("--target", "neural-pim", "--calibration", calibration, "--report", "--json")
    done = pimc("compile", fashion.int8_path(), "-o", out, *options, "--ranges", "published")
    assert (done.code, "warning" in done.err) == (0, False)
    ranged = [layer for layer in done.json["layers"] if layer["v_max"] is not None]
    assert len(ranged) == 12
    assert {layer["gain"] for layer in ranged} == {1.0}
    assert all(layer["largest_sum"] > 0 and layer["error_lsb"] > 0 for layer in ranged)


def test_ranges_without_data_are_warned_about(tmp_path: Path) -> None:
    done = pimc("compile", fashion.int8_path(), "-o", tmp_path / "x.pim", "--target", "neural-pim")
    assert done.code == 0
    assert done.err.startswith("warning: No calibration data")


def test_wide_ranges_need_no_data_and_lose_nothing(tmp_path: Path) -> None:
    out = tmp_path / "x.pim"
    done = pimc("compile", fashion.int8_path(), "-o", out, "--target", "neural-pim", "--ranges", "wide")
    assert (done.code, "warning" in done.err) == (0, False)
    assert "all conversions proved exact" in done.out
    assert pimc("verify", out, "--images", 2).code == 0


def test_options_a_target_does_not_have(tmp_path: Path) -> None:
    done = pimc("compile", fashion.int8_path(), "-o", tmp_path / "x.pim", "--ranges", "gain")
    assert done.code == 2
    assert done.err.startswith("error: target isaac has no option 'ranges'; its options are chips, replication")
