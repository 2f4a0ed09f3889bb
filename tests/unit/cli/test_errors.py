"""Bad input: one to three lines on stderr, exit code 2, no traceback, nothing half written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.unit.cli.conftest import Files
from tests.unit.cli.run import Done, pimc


def refused(done: Done, *parts: str) -> None:
    """Assert that a command refused its input with a short message that has all ``parts``."""
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert "bug" not in done.err
    if done.err.startswith("error: "):
        assert 1 <= len(done.err.splitlines()) <= 4
    for part in parts:
        assert part in done.err, done.err


def test_unknown_files() -> None:
    for command in (["run", "no.pim", "-i", "x.npz"], ["verify", "no.pim"], ["disasm", "no.pim"]):
        refused(pimc(*command), "no.pim")
    refused(pimc("compile", "no.onnx"), "no.onnx")
    refused(pimc("asm", "no.pimasm", "-o", "x.pim"), "no.pimasm")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000), b"\x08\x00\x00\x00\x00\x00\x00\x00{}"])
def test_files_that_are_something_else(files: Files, tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(content)
    refused(pimc("compile", bad), "bad")
    refused(pimc("run", bad, "-i", files.images), "bad")
    refused(pimc("run", files.program, "-i", bad), "bad: not a .npz or .npy file")


def test_a_damaged_program(files: Files, tmp_path: Path) -> None:
    data = bytearray(files.program.read_bytes())
    data[len(data) // 2] ^= 1
    bad = tmp_path / "bad.pim"
    bad.write_bytes(data)
    refused(pimc("verify", bad), "damaged")
    bad.write_bytes(data[: len(data) // 2])
    refused(pimc("run", bad, "-i", files.images), "bad.pim")


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


IMAGE = np.zeros((2, 1, 28, 28), np.float32)


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"picture": IMAGE, "other": IMAGE}, ("no array 'image'", "found 'picture', 'other'")),
        ({"image": IMAGE[:, :, 1:]}, ("has shape [2, 1, 27, 28]", "float32 [N, 1, 28, 28]")),
        ({"image": IMAGE.astype(np.float64)}, ("is float64", ".astype('float32')")),
        ({"image": IMAGE[:0]}, ("no images",)),
        ({"image": np.array(["a", "b"])}, ("the program takes float32",)),
    ],
)
def test_inputs_that_do_not_fit(files: Files, tmp_path: Path, arrays: dict[str, np.ndarray], parts: tuple[str]) -> None:
    refused(pimc("run", files.program, "-i", save(tmp_path / "x.npz", **arrays)), *parts)
    refused(pimc("verify", files.program, "--data", tmp_path / "x.npz"), *parts)


def test_pickled_inputs_are_not_opened(files: Files, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    refused(pimc("run", files.program, "-i", tmp_path / "x.npy"), "x.npy: holds object, not numbers")
    save(tmp_path / "x.npz", image=np.array([{}], object))
    refused(pimc("run", files.program, "-i", tmp_path / "x.npz"), "x.npz")


def test_labels_that_do_not_fit(files: Files, tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.arange(3))
    refused(
        pimc("verify", files.program, "--data", files.images, "--labels", tmp_path / "y.npy"), "3 labels for 5 images"
    )
    refused(pimc("verify", files.program, "--labels", files.labels), "labels without data")
    np.save(tmp_path / "y.npy", np.zeros((5, 10)))
    refused(pimc("verify", files.program, "--data", files.images, "--labels", tmp_path / "y.npy"), "float64[5, 10]")
    save(tmp_path / "y.npz", a=np.arange(5), b=np.arange(5))
    refused(pimc("verify", files.program, "--data", files.images, "--labels", tmp_path / "y.npz"), "'a', 'b'")


def test_options_that_do_not_exist(files: Files) -> None:
    refused(pimc("compile", files.model, "--target", "crossbar"), "no target 'crossbar'", "isaac")
    refused(pimc("compile", files.model, "--stop-after", "x"), "no pass 'x'", "map-weights")
    refused(pimc("compile", files.model, "--print-after", "x"), "no pass 'x'")
    refused(pimc("compile", files.model, "--passes", "x{"), "pipeline 'x{'")
    refused(pimc("compile", files.model, "--input-shape", "image=1,x"), "NAME=1,3,224,224")
    refused(pimc("compile", files.model, "--chips", 0), "--chips")
    refused(pimc("compile", files.model, "--replication", "most"), "balanced")
    refused(pimc("disasm", files.program, "--tile", 999), "no tile 999")
    refused(pimc("nothing"), "nothing")


def test_assembly_with_an_error_shows_its_place(files: Files, tmp_path: Path) -> None:
    text = tmp_path / "net.pimasm"
    assert pimc("disasm", files.program, "-o", text).code == 0
    text.write_text(text.read_text().replace("mvm    acc[i]", "mvn    acc[i]", 1))
    done = pimc("asm", text, "-o", tmp_path / "x.pim")
    refused(done, "net.pimasm", "mvn")
    assert not (tmp_path / "x.pim").exists()


def test_a_program_that_breaks_the_rules_is_not_written(files: Files, tmp_path: Path) -> None:
    text = tmp_path / "net.pimasm"
    assert pimc("disasm", files.program, "-o", text).code == 0
    text.write_text(text.read_text().replace("loop   i, 28", "loop   i, 27"))
    refused(pimc("asm", text, "-o", tmp_path / "x.pim"), "tile")
    assert not (tmp_path / "x.pim").exists()


def test_folders_that_are_missing_or_closed(files: Files, tmp_path: Path) -> None:
    for command in (
        ("compile", files.model, "-o", tmp_path / "no" / "x.pim"),
        ("run", files.program, "-i", files.images, "-o", tmp_path / "no" / "y.npz"),
        ("disasm", files.program, "-o", tmp_path / "no" / "x.pimasm"),
        ("compile", files.model, "--emit", "ir", "-o", tmp_path / "no" / "x.ir"),
        ("compile", tmp_path),
    ):
        refused(pimc(*command))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk(files: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The output is written beside its final name, so a full disk is met by the writer; an old file stays."""
    old = tmp_path / "old.pim"
    old.write_bytes(b"old")

    def full(handle: int, data: bytes) -> int:
        return os.writev(os.open("/dev/full", os.O_WRONLY), [data])

    monkeypatch.setattr(os, "write", full)
    refused(pimc("compile", files.model, "-o", old), "No space left on device")
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]


def test_several_outputs_need_npz(files: Files, tmp_path: Path) -> None:
    from pimc.data import save_arrays
    from pimc_isa.errors import RunError

    with pytest.raises(RunError, match="2 outputs"):
        save_arrays(tmp_path / "y.npy", {"a": IMAGE, "b": IMAGE})


def test_a_bug_is_called_a_bug(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    from pimc_isa import load

    def broken(path: object, **options: object) -> None:
        raise KeyError("what")

    monkeypatch.setattr(load, "load_program", broken)
    done = pimc("disasm", files.program)
    assert done.code == 2
    assert "KeyError: 'what'" in done.err
    assert "this is a bug in pimc" in done.err
    with pytest.raises(KeyError):
        pimc("--debug", "disasm", files.program)
