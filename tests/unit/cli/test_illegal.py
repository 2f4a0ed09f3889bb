"""Illegal programs in every command, names that terminals act on, images that are no numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pimc as api
from pimc.cli.output import print_json, print_table
from pimc_isa.errors import PimcError, RunError
from tests.unit.cli.conftest import Files
from tests.unit.cli.run import pimc
from tests.unit.isa.cases import GOLDEN

EVERY = (GOLDEN / "isa" / "every.pimasm").read_text(encoding="utf-8")


@pytest.fixture
def illegal(tmp_path: Path) -> Path:
    """Its interval is too short for its flow."""
    path = tmp_path / "illegal.pimasm"
    path.write_text(EVERY.replace("interval=8", "interval=1"), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "command", [["run", "--input", "x.npy"], ["verify"], ["asm", "-o", "p.pim"]], ids=lambda c: c[0]
)
def test_every_command_refuses(
    command: list[str], illegal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((1, 2, 6, 6), np.uint8))
    done = pimc(command[0], illegal, *command[1:])
    assert done.code == 2
    assert "the memory is taken" in done.err
    assert 1 <= len(done.err.splitlines()) <= 3
    assert not (tmp_path / "p.pim").exists()
    with pytest.raises(PimcError, match="the memory is taken"):
        api.load(illegal)


def test_disasm_opens_with_a_warning(illegal: Path) -> None:
    done = pimc("disasm", illegal)
    assert done.code == 0
    assert done.out.startswith(".program ")
    assert len(done.err.splitlines()) == 1
    assert "is an illegal program: flow isaac8" in done.err


def test_names_reach_no_terminal_raw(tmp_path: Path) -> None:
    path = tmp_path / "p.pimasm"
    text = EVERY.replace('.tile 1 "conv"', '.tile 1 "\\u001b[2Jx\\n\\u202e"')
    path.write_text(text.replace("memory_bytes=2048", "memory_bytes=1"), encoding="utf-8")
    for done in (pimc("verify", path), pimc("disasm", path), pimc("disasm", path, "--json")):
        for line in (done.out + done.err).split("\n"):
            assert line.isprintable()


def test_tables_and_json_show_names_safely(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("t\x1b", ["a", "b"], [["[/red]\x1b[2J\n\u202e", "1"]])
    print_json({"x": "\x1b\x85\u202e\ud800ü"})
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.split("\n"))
    assert "[/red]\\x1b[2J" in out
    assert '"\\u001b\\u0085\\u202e\\ud800ü"' in out


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_images_are_numbers(files: Files, tmp_path: Path, value: float, word: str) -> None:
    images = np.zeros((3, 1, 28, 28), np.float32)
    images[2, 0, 3, 3] = value
    np.save(tmp_path / "x.npy", images)
    for done in (
        pimc("run", files.program, "--input", tmp_path / "x.npy"),
        pimc("verify", files.program, "--data", tmp_path / "x.npy"),
    ):
        assert done.code == 2
        assert f"image 2 of 'image' holds {word}" in done.err or f"image 2 of 'input' holds {word}" in done.err
    with pytest.raises(RunError, match=word):
        api.load(files.program).run(images)


@pytest.mark.parametrize(
    "images", [np.zeros((0, 1, 28, 28), np.float32), np.zeros((1, 1, 27, 28), np.float32), np.zeros(3), np.float32(1)]
)
def test_images_of_the_wrong_kind(files: Files, images: np.ndarray) -> None:
    with pytest.raises(RunError):
        api.load(files.program).run(np.asarray(images))
