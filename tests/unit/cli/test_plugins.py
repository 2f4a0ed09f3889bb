"""Plug-ins that are broken in some way are named in one line and stop nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BROKEN = {
    "missing": None,
    "syntax": "def target(:",
    "raises": "raise RuntimeError('first line\\nsecond line')",
    "leaves": "raise SystemExit(3)",
    "empty": "",
    "late": "def target(**options): 1 / 0\ndef passes(): return ()\ndef emit(graph, target): ...\n"
    "def machine(): 1 / 0\n",
}
REASONS = {
    "missing": "ModuleNotFoundError",
    "syntax": "SyntaxError",
    "raises": "RuntimeError: first line",
    "leaves": "SystemExit: 3",
    "empty": "has no target, passes, emit, machine",
    "late": "ZeroDivisionError",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like one of installed packages, whose only package brings broken targets and a design space."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "strangers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    lines = ["[pimc.targets]", *(f"{name} = stranger_{name}" for name in BROKEN)]
    (info / "entry_points.txt").write_text("\n".join([*lines, "[pimc.designs]", "isaac = stranger_raises", ""]))
    for name, source in BROKEN.items():
        if source is not None:
            (folder / f"stranger_{name}.py").write_text(source)
    return folder


def pimc(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from pimc.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)


def test_a_list_names_each_broken_one_in_a_line_and_holds_the_others(site: Path) -> None:
    done = pimc(site, "targets", "--json")
    assert done.returncode == 0
    assert {"isaac", "neural-pim"} <= {t["name"] for t in json.loads(done.stdout)["targets"]}
    lines = done.stderr.splitlines()
    assert len(lines) == len(BROKEN)
    for name, reason in REASONS.items():
        assert any(line.startswith("warning: ") and f"'{name}'" in line and reason in line for line in lines), name


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "late"])
def test_asking_for_a_broken_one_is_an_error(site: Path, name: str) -> None:
    done = pimc(site, "compile", "no.onnx", "--target", name, "-o", "x.pim")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert REASONS[name] in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_a_broken_design_space(site: Path) -> None:
    done = pimc(site, "explore", "--target", "isaac", "--grid", "N=64")
    assert done.returncode == 2
    assert "design 'isaac' cannot be imported from stranger_raises: RuntimeError: first line" in done.stderr
