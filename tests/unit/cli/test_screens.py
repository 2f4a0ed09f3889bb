"""What a user sees: whole screens as golden files, on a terminal of 80 columns, with NO_COLOR, and through a pipe.

``--update-golden`` rewrites tests/golden/screens: read the diff. Numbers that depend on the machine do not appear.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pimc_models import fashion

GOLDEN = Path(__file__).parents[2] / "golden" / "screens"
COLUMNS = 80
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-9]|4[0-9]|9[0-7]|10[0-7])m")

#: Command lines, by the name of their golden file.
SCREENS = {
    "compile": "compile net.onnx -o net.pim --report",
    "compile-neural-pim": "compile net.onnx --target neural-pim --calibration calibration.npz -o np.pim --report",
    "run": "run net.pim -i images.npz --layers",
    "verify": "verify net.pim --data images.npz",
    "verify-neural-pim": "verify np.pim --data images.npz",
    "compare": "compare net.onnx --targets isaac,isaac-style,cascade --images 2",
    "explore": "explore --target neural-pim --grid N=64,128 D=2,4",
    "check": "check net.onnx",
    "disasm": "disasm net.pim --tile 2",
    "targets": "targets --peak",
    "error-no-file": "run missing.pim -i images.npz",
    "error-input": "run net.pim -i calibration.npy",
}


@dataclass(frozen=True)
class Screen:
    """Standard output and standard error of a command."""

    out: str
    err: str
    code: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, images and two programs, made as a user makes them."""
    where = tmp_path_factory.mktemp("screens")
    (where / "net.onnx").write_bytes(fashion.int8_path().read_bytes())
    np.savez(where / "images.npz", image=fashion.load_test()[0][:4])
    np.savez(where / "calibration.npz", image=fashion.load_calibration()[:8])
    np.save(where / "calibration.npy", np.zeros((1, 3, 5, 5), np.float32))
    for name in ("compile", "compile-neural-pim"):
        assert piped(SCREENS[name], where).code == 0
    return where


def environment(**more: str) -> dict[str, str]:
    """As a user's shell has it, but for what would change the screen."""
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CI")}
    return {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", **more}


@cache
def piped(command: str, folder: Path) -> Screen:
    """Run with standard output in a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "pimc.cli.main", *command.split(), "-q"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return Screen(done.stdout, done.stderr, done.returncode)


@cache
def on_terminal(command: str, folder: Path, **more: str) -> Screen:
    """Run with standard output on a terminal of 80 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "pimc.cli.main", *command.split(), "-q"],
        cwd=folder,
        env=environment(**more),
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(slave)
        read = _everything(master)
        err = process.stderr.read().decode() if process.stderr else ""
    os.close(master)
    return Screen(read.replace("\r\n", "\n"), err, process.returncode)


def _everything(master: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(master, 1 << 16)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode()


def same(name: str, found: Screen, update: bool) -> None:
    """Compare with the golden file; escapes are shown as text."""
    path = GOLDEN / f"{name}.txt"
    text = found.out.replace("\x1b", "\\e") + (f"--- stderr, exit code {found.code}\n{found.err}" if found.code else "")
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name}: make golden rewrites it"


@pytest.mark.parametrize("name", SCREENS)
def test_on_a_terminal_of_80_columns(name: str, folder: Path, update_golden: bool) -> None:
    same(f"{name}.terminal", on_terminal(SCREENS[name], folder), update_golden)


@pytest.mark.parametrize("name", SCREENS)
def test_through_a_pipe(name: str, folder: Path, update_golden: bool) -> None:
    found = piped(SCREENS[name], folder)
    assert "\x1b" not in found.out + found.err
    same(f"{name}.pipe", found, update_golden)


@pytest.mark.parametrize("name", ["compare", "run"])
def test_without_colour(name: str, folder: Path, update_golden: bool) -> None:
    found = on_terminal(SCREENS[name], folder, NO_COLOR="1")
    assert not COLOUR.search(found.out)
    same(f"{name}.no-colour", found, update_golden)


@pytest.mark.parametrize("name", ["compile-neural-pim", "compare", "run", "targets", "explore"])
def test_tables_fit_a_terminal_and_keep_names_whole(name: str, folder: Path) -> None:
    narrow = ESCAPE.sub("", on_terminal(SCREENS[name], folder).out)
    wide = piped(SCREENS[name], folder).out
    tables = [block for block in narrow.split("\n\n") if "─" in block]
    assert tables
    assert all(len(line) <= COLUMNS for block in tables for line in block.splitlines())
    assert "…" not in narrow + wide
    for line in wide.split("─\n", 1)[1].split("\n\n")[0].splitlines():
        assert line.split("  ")[0] in narrow
