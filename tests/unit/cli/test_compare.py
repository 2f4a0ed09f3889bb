"""`pimc compare`: equal area, figures that agree with other commands, bad input."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import pimc as package
from tests.unit.cli.conftest import Files
from tests.unit.cli.run import pimc
from tests.unit.cli.test_errors import refused

#: ISAAC's tile by Table I of the paper: 12 units of 0.0131 mm2 and 0.215 mm2 of the tile's own.
ISAAC_TILE_MM2 = 0.372


def figures(files: Files, *args: object) -> list[dict[str, object]]:
    done = pimc("compare", files.model, "--json", "-q", *args)
    assert done.code == 0, done
    found: list[dict[str, object]] = done.json["targets"]
    return found


def test_figures_agree_with_those_of_the_other_commands(files: Files, tmp_path: Path) -> None:
    (isaac,) = figures(files, "--targets", "isaac", "--data", files.images, "--labels", files.labels)
    assert pimc("compile", files.model, "-o", tmp_path / "x.pim", "-q").code == 0
    ran = pimc("run", tmp_path / "x.pim", "-i", files.images, "--json", "-q").json
    verified = pimc("verify", tmp_path / "x.pim", "--data", files.images, "--labels", files.labels, "--json", "-q").json
    assert isaac["images_per_second"] == pytest.approx(ran["images_per_second"])
    for name in ("energy_joules", "energy_joules_with_static", "energy_joules_of_whole_chips"):
        assert isaac[name] == pytest.approx(ran[name] / 5)
    assert isaac["energy_joules"] < isaac["energy_joules_with_static"] < isaac["energy_joules_of_whole_chips"]  # type: ignore[operator]
    fidelity = isaac["fidelity"]
    assert isinstance(fidelity, dict)
    assert fidelity["exact"]
    assert fidelity["snr_db"] is None
    assert fidelity["top1_agreement"] == 1.0
    assert fidelity["accuracy"] == pytest.approx(verified["accuracy"]["pimc"])


def test_the_area_decides_how_many_tiles_there_are(files: Files) -> None:
    (small,), (large,) = (figures(files, "--area", area, "--images", 0) for area in (7, 20))
    for found, area in ((small, 7), (large, 20)):
        assert found["tiles_allowed"] == int(area / ISAAC_TILE_MM2)
        assert isinstance(found["tiles"], int)
        assert found["tiles"] <= area / ISAAC_TILE_MM2
        assert found["fidelity"] is None
    assert large["images_per_second"] >= small["images_per_second"]  # type: ignore[operator]
    assert large["conversions"] == small["conversions"]


def test_without_an_area_every_target_has_that_of_the_neediest(files: Files) -> None:
    done = pimc("compare", files.model, "--json", "-q", "--targets", "isaac,isaac:replication=none", "--images", 0)
    both = done.json["targets"]
    assert done.json["area_mm2"] == pytest.approx(168 * ISAAC_TILE_MM2, rel=2e-3)  # one chip
    assert [t["tiles_allowed"] for t in both] == [168, 168]
    assert both[0]["arrays"] > both[1]["arrays"]
    assert both[0]["arrays_one_copy"] == both[1]["arrays_one_copy"]
    assert both[0]["images_per_second"] > both[1]["images_per_second"]


def test_energy_is_the_sum_of_its_components(files: Files) -> None:
    (isaac,) = figures(files, "--images", 0)
    parts, static = isaac["energy"], isaac["static_energy"]
    assert isinstance(parts, dict)
    assert isinstance(static, dict)
    assert math.isclose(sum(parts.values()), isaac["energy_joules"])  # type: ignore[arg-type]
    assert math.isclose(sum((*parts.values(), *static.values())), isaac["energy_joules_with_static"])  # type: ignore[arg-type]
    assert parts["adc"] == pytest.approx(isaac["conversions"] * 1.5625e-12)  # type: ignore[operator]


def test_the_table_names_every_target_and_quantity(files: Files) -> None:
    done = pimc("compare", files.model, "--targets", "isaac,isaac:replication=none", "-q", "--images", 2)
    assert done.code == 0
    for text in ("isaac:replication=none", "conversions", "images per second", "latency", "adc", "tiles", "exact"):
        assert text in done.out
    assert "2 synthetic images" in done.out


def test_from_python(files: Files) -> None:
    result = package.compare(files.model, ["isaac"], images=0)
    assert [f.target for f in result.targets] == ["isaac"]
    assert result.targets[0].arrays_one_copy == pimc("compile", files.model, "--json", "-q").json["arrays_one_copy"]


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--targets", "isac"], ("no target 'isac'", "isaac")),
        (["--targets", ","], ("no target given", "--targets")),
        (["--targets", "isaac,isaac"], ("given twice",)),
        (["--targets", "isaac:fast"], ("'fast'", "OPTION=VALUE")),
        (["--targets", "isaac:fast=1"], ("no option 'fast'", "replication")),
        (["--targets", "isaac:replication=best"], ("'best'", "balanced")),
        (["--area", "-3"], ("-3 mm2",)),
        (["--area", "nan"], ("nan mm2",)),
        (["--area", "0.1"], ("hold no tile of isaac", "larger area")),
        (["--area", "1"], ("one copy", "2 are allowed", "larger area")),
        (["--images", "-1"], ("--images",)),
    ],
)
def test_bad_options(files: Files, args: list[str], parts: tuple[str, ...]) -> None:
    refused(pimc("compare", files.model, "-q", *args), *parts)


def test_labels_and_models_that_do_not_fit(files: Files, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.array([1, 2]))
    data = ("--data", files.images, "--labels", tmp_path / "two.npy")
    refused(pimc("compare", files.model, "-q", *data), "2 labels for 5 images")
    refused(pimc("compare", tmp_path / "no.onnx", "-q"), "no.onnx")


def test_the_papers_three_dataflows_convert_64_to_5_to_1(files: Files) -> None:
    """Per output of a row block; CASCADE's summing amplifiers make 5 of equation 6's 15."""
    three = figures(files, "--targets", "isaac-style,cascade,neural-pim,cascade:summed_columns=1", "--images", 0)
    isaac, cascade, neural, plain = (found["conversions"] for found in three)
    assert isinstance(neural, int)
    assert isaac == 64 * neural
    assert cascade == 5 * neural
    assert plain == 15 * neural


def test_lossy_targets_say_how_close_they_come(files: Files, tmp_path: Path) -> None:
    from pimc_models import fashion

    images = fashion.load_calibration()
    np.savez(tmp_path / "calibration.npz", image=images[:32])
    options = ("--calibration", tmp_path / "calibration.npz", "--data", files.images, "--labels", files.labels)
    wide, lossy = figures(files, "--targets", "neural-pim:ranges=wide,neural-pim:ranges=gain", *options)
    assert isinstance(wide["fidelity"], dict)
    assert isinstance(lossy["fidelity"], dict)
    assert wide["fidelity"]["exact"]
    assert not lossy["fidelity"]["exact"]
    assert 15 < lossy["fidelity"]["snr_db"] < 60
    table = pimc("compare", files.model, "-q", "--targets", "neural-pim", *options).out
    assert "dB" in table
    assert "accuracy" in table
