"""``pimc flow check``: the verdict is the exit code, the message has file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pimc_backends.isaac as isaac
from pimc_isa.flow import print_flow
from tests.unit.cli.run import pimc


def test_a_legal_flow(tmp_path: Path) -> None:
    file = tmp_path / "mine.flow"
    file.write_text(print_flow(isaac.flow()))
    done = pimc("flow", "check", str(file))
    assert done.code == 0
    assert "8 slices of inputs, 4 of weights, 32 conversions of an output" in done.out
    values = json.loads(pimc("flow", "check", str(file), "--json").out)
    assert (values["legal"], values["interval_cycles"]) == (True, 960)


def test_one_that_the_machine_cannot_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.flow"
    file.write_text(print_flow(isaac.flow()))
    done = pimc("flow", "check", str(file), "--target", "neural-pim")
    assert done.code == 1
    assert done.out.startswith(f"{file}")
    assert 1 <= len(done.out.splitlines()) <= 3


def test_no_file_is_bad_input() -> None:
    done = pimc("flow", "check", "nowhere.flow")
    assert done.code == 2
    assert "nowhere.flow" in done.err
