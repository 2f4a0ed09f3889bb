"""A cache of compiled loops that is damaged, full or cannot be written costs time, one line, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a module that compiles one loop and prints what it gives."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "loop.py").write_text(
        "import numpy as np\n"
        "from pimc_isa.jit import compiled\n"
        "def twice(x):\n"
        "    total = 0\n"
        "    for value in x:\n"
        "        total += 2 * value\n"
        "    return total\n"
        "if __name__ == '__main__':\n"
        "    import loop\n"
        "    kernel = compiled(loop.twice) or loop.twice\n"
        "    other = compiled(loop.twice) or loop.twice\n"
        "    print(kernel(np.arange(5)), other(np.arange(5.0)))\n"
    )
    return folder


def run(module: Path, **environment: str) -> tuple[str, list[str]]:
    """Run the module; returns what it printed, and the warnings."""
    kept = {k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    path = os.pathsep.join([str(module), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, module / "loop.py"],
        env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), [line for line in done.stderr.splitlines() if "SlowerWarning" in line]


RESULT = "20 20.0"


def test_a_good_cache_is_used_in_silence(module: Path, tmp_path: Path) -> None:
    assert run(module, XDG_CACHE_HOME=str(tmp_path)) == (RESULT, [])
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nb?")}
    assert {p.suffix for p in files} == {".nbi", ".nbc"}
    assert run(module, XDG_CACHE_HOME=str(tmp_path)) == (RESULT, [])
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nb?")} == files


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["empty", "cut", "garbage"])
def test_a_damaged_cache_is_made_anew(module: Path, tmp_path: Path, suffix: str, damage: str) -> None:
    run(module, XDG_CACHE_HOME=str(tmp_path))
    for file in tmp_path.rglob(f"*{suffix}"):
        data = file.read_bytes()
        file.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "garbage": b"\x93garbage" * 20}[damage])
    printed, warned = run(module, XDG_CACHE_HOME=str(tmp_path))
    assert printed == RESULT
    assert len(warned) == 1
    assert "damaged" in warned[0]
    assert run(module, XDG_CACHE_HOME=str(tmp_path)) == (RESULT, [])


def test_no_folder_for_the_cache(module: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    printed, warned = run(module, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert printed == RESULT
    assert len(warned) == 1
    assert "not kept" in warned[0]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk(module: Path, tmp_path: Path) -> None:
    """Every file numba opens for its cache is on a full disk."""
    hook = tmp_path / "sitecustomize.py"
    hook.write_text(
        "import builtins\n"
        "real = builtins.open\n"
        "def full(name, mode='r', *args, **options):\n"
        "    cache = 'w' in mode and '.nb' in str(name)\n"
        "    return real('/dev/full' if cache else name, mode, *args, **options)\n"
        "builtins.open = full\n"
    )
    path = os.pathsep.join([str(tmp_path), str(module), *filter(None, sys.path)])
    printed, warned = run(module, XDG_CACHE_HOME=str(tmp_path / "cache"), PYTHONPATH=path)
    assert printed == RESULT
    assert len(warned) == 1
    assert "No space left" in warned[0]


def test_without_numba(module: Path, tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('not installed')\n")
    path = os.pathsep.join([str(tmp_path), str(module), *filter(None, sys.path)])
    printed, warned = run(module, PYTHONPATH=path)
    assert printed == RESULT
    assert len(warned) == 1
    assert "slower" in warned[0]
    assert run(module, PYTHONPATH=path, PIMC_NUMBA="0") == (RESULT, [])
