"""``--epitome`` of the commands that compile, and what they say of epitomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from tests.unit.cli.run import pimc
from tests.unit.frontend.test_epitomes import EIGHT_BIT, IMAGES, float_net


def test_found_epitomes_are_said(tmp_path: Path) -> None:
    onnx.save(float_net(), tmp_path / "net.onnx")
    np.savez(tmp_path / "x.npz", x=IMAGES)
    given = (
        "compile",
        str(tmp_path / "net.onnx"),
        "--calibration",
        str(tmp_path / "x.npz"),
        "-o",
        str(tmp_path / "p.pim"),
    )
    done = pimc(*given)
    assert done.code == 0
    folded = "1 folded: 1 array for 2, at most 1 round"
    assert f"epitomes: 1 layer, 3 weights for each cell that is stored; {folded}; against scales by channel" in done.out
    done = pimc(*given, "--epitome", "off", "--json")
    assert done.json["epitomes"] is None


def test_8_bit_epitomes_lose_nothing_and_files_are_read(tmp_path: Path) -> None:
    onnx.save(EIGHT_BIT["folded"], tmp_path / "net.onnx")
    plan = tmp_path / "layers.txt"
    plan.write_text("conv\n")
    given = ("compile", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "p.pim"), "--epitome", str(plan))
    assert pimc(*given, "--json").json["epitomes"] == {
        "conv": {"lost_db": None, "snr_db": None, "stored": [54, 12], "weights": 1944, "arrays": [2, 1], "rounds": 1}
    }
    said = "epitomes: 1 layer, 3 weights for each cell that is stored; 1 folded: 1 array for 2, at most 1 round\n"
    assert said in pimc(*given).out
    over = pimc(*given[:2], "-o", plan, "--epitome", plan)
    assert over.code == 2
    assert plan.read_text() == "conv\n"
    plan.write_text("cnov\n")
    failed = pimc(*given)
    assert failed.code == 2
    assert "the model has no layer 'cnov'; did you mean 'conv'?" in failed.err


def test_compare_takes_it_too(tmp_path: Path) -> None:
    onnx.save(EIGHT_BIT["folded"], tmp_path / "net.onnx")
    done = pimc("compare", str(tmp_path / "net.onnx"), "--epitome", "off", "--images", "0", "--json")
    assert done.code == 0


def test_check_names_layers_with_what_a_target_makes_of_them(tmp_path: Path) -> None:
    """RAELLA's crossbars hold either in one array, so nothing is folded."""
    onnx.save(EIGHT_BIT["folded"], tmp_path / "net.onnx")
    given = ("check", str(tmp_path / "net.onnx"))
    done = pimc(*given, "--json").json
    assert done["target"] == "isaac"
    assert done["epitomes"]["conv"]["arrays"] == [2, 1]
    assert done["epitomes"]["conv"]["rounds"] == 1
    text = pimc(*given).out.splitlines()
    (line,) = (line for line in text if line.startswith("conv "))
    assert line.split() == ["conv", "54x12", "3", "2", "1", "1"]
    assert pimc(*given, "--target", "raella", "--json").json["epitomes"]["conv"]["rounds"] is None
    assert pimc(*given, "--epitome", "off", "--json").json["epitomes"] is None
