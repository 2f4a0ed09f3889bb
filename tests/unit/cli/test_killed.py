"""A command that is killed while it writes leaves the old file whole or the new one, and nothing beside it for long."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pimc_models import fashion

SCRIPT = Path(__file__).with_name("killed.py")
CODES = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What the folder held after every point, for each of three kinds of output, and before."""
    from pimc import driver

    base = tmp_path_factory.mktemp("killed")
    images = fashion.load_test()[0]
    old, new = driver.compile(fashion.int8_path(), replication="none"), driver.compile(fashion.int8_path())
    entries: list[dict[str, Any]] = []
    for what, output in (("pim", "p.pim"), ("pimasm", "p.pimasm"), ("npz", "y.npz")):
        folder = base / what
        folder.mkdir()
        new.save(folder / "input.pim")
        np.savez(folder / "x.npz", image=images[:1])
        command = ["disasm", "input.pim", "-o", output]
        if what == "pim":
            new.save(folder / "input.pimasm")
            command = ["asm", "input.pimasm", "-o", output]
        if what == "npz":
            command = ["run", "input.pim", "-i", "x.npz", "-o", output]
            np.savez(folder / output, old=np.zeros(3))
        else:
            _other_weights(old).save(folder / output)
        entries.append({"what": what, "folder": str(folder), "work": str(base / f"{what}-work"), "arguments": command})
    (base / "commands.json").write_text(json.dumps(entries))
    done = subprocess.run([sys.executable, SCRIPT, base / "commands.json"], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {entry["what"]: [line for line in lines if line["what"] == entry["what"]] for entry in entries}
    for what in found:
        found[what].insert(0, _contents(base / what))
    shutil.rmtree(base)
    return found


def _other_weights(compiled: Any) -> Any:
    """The same program with other tensors, so that its data file has another name."""
    import dataclasses

    from pimc.driver import CompiledProgram

    program = compiled.program
    tensors = {**program.tensors, "extra": np.arange(5000, dtype=np.int32)}
    return CompiledProgram(dataclasses.replace(program, tensors=tensors))


def _contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize("what", ["pim", "pimasm", "npz"])
def test_old_or_new_but_whole(runs: dict[str, list[dict[str, Any]]], what: str) -> None:
    """Every file that was there is as before, or all of the new output is there."""
    before, (whole, *points) = runs[what][0], runs[what][1:]
    done = whole["done"]
    changed = {name for name in before if before[name] != done.get(name)}
    assert changed
    assert {p["signal"] for p in points} == set(CODES)
    assert all(len({p["point"] for p in points if p["signal"] == name}) >= 18 for name in CODES)
    kept = 0
    for p in points:
        old = all(p["left"].get(name) == digest for name, digest in before.items())
        new = all(p["left"].get(name) == digest for name, digest in done.items())
        assert old or new, p
        kept += old
        if p["signal"] == "SIGKILL":
            assert p["code"] == -9
            assert (p["again"], p["after"]) == (0, done), p  # the next run cleans up
            continue
        assert p["code"] == CODES[p["signal"]], p
        assert p["left"] == (before if old and not new else p["left"]), p
        assert not [name for name in p["left"] if name.startswith(".")], p
    assert 0 < kept < len(points)  # some were killed before the output had its name, and some after
