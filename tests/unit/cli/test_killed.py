"""A command that is killed while it writes leaves the old file whole or the new one, and nothing beside it for long."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pimc_models import fashion

SCRIPT = Path(__file__).with_name("killed.py")
CODES = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}


def run(what: str, output: str, base: Path) -> list[dict[str, Any]]:
    """What the folder held before, after the whole command, and after every point at which it was killed."""
    from pimc import driver

    old, new = driver.compile(fashion.int8_path(), replication="none"), driver.compile(fashion.int8_path())
    folder = base / what
    folder.mkdir()
    new.save(folder / "input.pim")
    command = ["disasm", "input.pim", "-o", output]
    if what == "pim":
        new.save(folder / "input.pimasm")
        command = ["asm", "input.pimasm", "-o", output]
    if what == "npz":
        np.savez(folder / "x.npz", image=fashion.load_test()[0][:1])
        np.savez(folder / output, old=np.zeros(3))
        command = ["run", "input.pim", "-i", "x.npz", "-o", output]
    else:
        _other_weights(old).save(folder / output)
    entry = {"what": what, "folder": str(folder), "work": str(base / "work"), "arguments": command}
    (base / "commands.json").write_text(json.dumps([entry]))
    done = subprocess.run([sys.executable, SCRIPT, base / "commands.json"], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return [_contents(folder), *map(json.loads, done.stdout.splitlines())]


def _other_weights(compiled: Any) -> Any:
    """The same program with other tensors, so that its data file has another name."""
    import dataclasses

    from pimc.driver import CompiledProgram

    program = compiled.program
    tensors = {**program.tensors, "extra": np.arange(5000, dtype=np.int32)}
    return CompiledProgram(dataclasses.replace(program, tensors=tensors))


def _contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("what", "output"),
    [
        ("pim", "p.pim"),
        pytest.param("pimasm", "p.pimasm", marks=pytest.mark.slow),
        pytest.param("npz", "y.npz", marks=pytest.mark.slow),
    ],
)
def test_old_or_new_but_whole(what: str, output: str, tmp_path: Path) -> None:
    """Every file that was there is as before, or all of the new output is there."""
    before, whole, *points = run(what, output, tmp_path)
    done = whole["done"]
    changed = {name for name in before if before[name] != done.get(name)}
    assert changed
    assert {p["signal"] for p in points} == set(CODES)
    assert len({p["point"] for p in points if p["signal"] == "SIGKILL"}) >= min(20, whole["calls"])
    kept = 0
    for p in points:
        old = all(p["left"].get(name) == digest for name, digest in before.items())
        new = all(p["left"].get(name) == digest for name, digest in done.items())
        assert old or new, p
        kept += old
        if p["signal"] == "SIGKILL":
            assert p["code"] == -9
            assert p["again"] is None or (p["again"], p["after"]) == (0, done), p  # the next run cleans up
            continue
        assert p["code"] == CODES[p["signal"]], p
        assert p["left"] == (before if old and not new else p["left"]), p
        assert not [name for name in p["left"] if name.startswith(".")], p
    assert 0 < kept < len(points)  # some were killed before the output had its name, and some after
