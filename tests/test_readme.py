"""The README's commands run, print what it says they print, and its Python runs. ``--update-golden`` rewrites it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.unit.cli.run import pimc

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
_BLOCK = re.compile(r"```console\n\$ (pimc [^\n]*)\n(.*?)```", re.DOTALL)
_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder from which the repository's models are found, made the current one."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(command: str) -> str:
    """Run a command and return its output without blanks at line ends."""
    done = pimc(*shlex.split(command)[1:])
    assert done.code == 0, done.err
    return "".join(f"{line.rstrip()}\n" for line in done.out.strip("\n").splitlines())


@pytest.mark.usefixtures("folder")
def test_commands_print_what_the_readme_shows(update_golden: bool) -> None:
    text = README.read_text(encoding="utf-8")
    assert len(_BLOCK.findall(text)) >= 3
    fresh = _BLOCK.sub(lambda m: f"```console\n$ {m[1]}\n{printed(m[1])}```", text)
    if update_golden:
        README.write_text(fresh, encoding="utf-8")
    assert fresh == README.read_text(encoding="utf-8")


@pytest.mark.usefixtures("folder")
def test_python_runs() -> None:
    blocks = _PYTHON.findall(README.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_the_table_has_every_command_once() -> None:
    from pimc.cli.main import app

    rows = re.findall(r"^\| `pimc (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    names = [str(command.name) for command in app.registered_commands]
    assert sorted(rows) == sorted([*names, *(str(group.name) for group in app.registered_groups)])
