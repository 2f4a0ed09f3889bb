"""``pimc opt``: passes on a graph's text give what compile gives; plans and machines from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Files
from tests.unit.cli.run import pimc

PASSES = "choose-flows;map-weights;slice-weights;place;schedule-rows"
GOLDEN = Path(__file__).parents[2] / "golden" / "ir" / "passes"


def text_of(files: Files, folder: Path, stop: str) -> Path:
    path = folder / f"{stop or 'all'}.ir"
    done = pimc("compile", files.model, "--emit", "ir", "-o", path, "-q", *(["--stop-after", stop] if stop else []))
    assert done.code == 0, done
    return path


@pytest.mark.parametrize("stop", ["map-weights", "place"])
def test_the_remaining_passes_give_the_graph_that_compile_gives(files: Files, tmp_path: Path, stop: str) -> None:
    rest = PASSES.split(f"{stop};")[1]
    done = pimc("opt", text_of(files, tmp_path, stop), "--passes", rest, "-q")
    assert done.code == 0, done.err
    assert done.out == text_of(files, tmp_path, "").read_text(encoding="utf-8")


def test_without_passes_it_prints_the_same(files: Files, tmp_path: Path) -> None:
    path = text_of(files, tmp_path, "map-weights")
    assert pimc("opt", path, "-q").out == path.read_text(encoding="utf-8")
    assert pimc("opt", path, "-o", tmp_path / "again.ir", "-q").code == 0
    assert (tmp_path / "again.ir").read_bytes() == path.read_bytes()


def test_a_text_without_hashes_needs_no_constants() -> None:
    done = pimc("opt", GOLDEN / "residual.ir", "--passes", "choose-flows;map-weights", "-q", "--json")
    assert (done.code, done.json["stage"]) == (0, "mapped")


def test_what_is_wrong_is_said(files: Files, tmp_path: Path) -> None:
    path = text_of(files, tmp_path, "map-weights")
    done = pimc("opt", path, "--passes", "map-weights", "-q")
    assert (done.code, "needs a graph at stage 'flowed'" in done.err) == (2, True)
    path.with_name(f"{path.name}.safetensors").unlink()
    done = pimc("opt", path, "-q")
    assert (done.code, "is not beside it" in done.err) == (2, True)
    done = pimc("opt", tmp_path / "none.ir", "-q")
    assert (done.code, "cannot read" in done.err) == (2, True)
    (tmp_path / "bad.ir").write_text("graph x", encoding="utf-8")
    assert pimc("opt", tmp_path / "bad.ir", "-q").code == 2


def test_a_plan_goes_round(files: Files, tmp_path: Path) -> None:
    plan, first, second = tmp_path / "p.toml", tmp_path / "a.pim", tmp_path / "b.pim"
    assert pimc("compile", files.model, "-o", first, "--write-plan", plan, "-q").code == 0
    assert pimc("compile", files.model, "-o", second, "--plan", plan, "-q").code == 0
    assert first.read_bytes() == second.read_bytes()


def test_a_machine_that_extends_another(files: Files, tmp_path: Path) -> None:
    machine = tmp_path / "chip.toml"
    machine.write_text('extends = "isaac"\nname = "small"\n[tile]\narrays = 48\n', encoding="utf-8")
    by_file = pimc("compile", files.model, "-o", tmp_path / "a.pim", "--machine", machine, "--json", "-q")
    by_set = pimc("compile", files.model, "-o", tmp_path / "b.pim", "--set", "tile.arrays=48", "--json", "-q")
    plain = pimc("compile", files.model, "-o", tmp_path / "c.pim", "--json", "-q")
    assert by_file.json["arrays"] == by_set.json["arrays"] < plain.json["arrays"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "none"\n', "no target 'none'"),
        ('extends = "isaac"\n[array]\nrowz = 3\n', "unknown key 'array.rowz'"),
        ('extends = "isaac"\n[array]\nrows = 0\n', "array.rows is 0"),
        ("extends = 3\n", "extends is no name"),
        ('extends = "isaac"\n[[energies]]\nenergy_pj = 1\n', "an entry without action"),
        ('name = "x"\n', "missing required field"),
        ("[array\n", "not valid TOML"),
    ],
)
def test_machine_files_that_cannot_be_are_refused(files: Files, tmp_path: Path, text: str, message: str) -> None:
    machine = tmp_path / "chip.toml"
    machine.write_text(text, encoding="utf-8")
    done = pimc("compile", files.model, "-o", tmp_path / "a.pim", "--machine", machine, "-q")
    assert done.code == 2
    assert message in done.err, done.err
    assert "bug" not in done.err
