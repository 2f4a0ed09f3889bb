"""Whole-file goldens: an input whose first line says what to run, and beside it what must come out.

    # RUN: print                    parse, verify, print
    # RUN: verify                   the same, for graphs that must be refused
    # RUN: passes map-weights;...   passes of the isaac pipeline, with options, up to the last one named
    # RUN: passes TARGET: ...       the same of another target's pipeline

``NAME.expect`` holds the text, or for an error its class and message. ``--update-golden`` rewrites it: read the diff.
Constants that a graph names are made up from their names, so a file stays a page long.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from pimc.ir.graph import Graph
from pimc.ir.text import parse_graph, print_graph
from pimc.ir.verify import verify
from pimc_isa.errors import PimcError

GOLDEN = Path(__file__).parent / "golden"
INPUTS = sorted((GOLDEN / "ir").rglob("*.ir"))
_CONSTANT = re.compile(r"^@(\S+): (\w+)\[([0-9x]*)\]", re.MULTILINE)
_TYPES = {"u8": np.uint8, "s8": np.int8, "i32": np.int32, "f32": np.float32, "i16": np.int16}


def made_up(text: str) -> dict[str, np.ndarray]:
    """Return arrays for the constants a text names, seeded by name; small, so that hashes are stable everywhere."""
    found: dict[str, np.ndarray] = {}
    for name, kind, dims in _CONSTANT.findall(text):
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        shape = tuple(int(n) for n in dims.split("x")) if dims else ()
        if kind == "f32":
            found[name] = (rng.integers(1, 100, shape) / 1024).astype(np.float32)
        else:
            low, high = (0, 128) if kind == "u8" else (-128, 128)
            found[name] = rng.integers(low, high, shape).astype(_TYPES[kind])
    return found


def run(path: Path) -> str:
    """Do what the first line says, and return the text that comes out."""
    text = path.read_text(encoding="utf-8")
    command, _, argument = text.splitlines()[0].removeprefix("# RUN: ").partition(" ")
    try:
        graph = parse_graph(text, made_up(text))
        verify(graph)
        return print_graph(passed(graph, argument) if command == "passes" else graph)
    except PimcError as error:
        return f"{type(error).__name__}: {error}\n"


def passed(graph: Graph, spec: str) -> Graph:
    """Run a target's pipeline (isaac's if ``spec`` names none) up to the last pass that ``spec`` names."""
    from pimc.driver import choose
    from pimc.passes.manager import run_passes

    name, _, spec = spec.rpartition(": ")
    target, passes = choose(name or "isaac", spec)
    return run_passes(graph, passes, target, stop_after=spec.split(";")[-1].split("{")[0])


@pytest.mark.parametrize("path", INPUTS, ids=lambda p: str(p.relative_to(GOLDEN)))
def test_golden(path: Path, update_golden: bool) -> None:
    expected = path.with_suffix(".expect")
    actual = run(path)
    if update_golden:
        expected.write_text(actual, encoding="utf-8")
    assert expected.exists(), f"{expected.name} is missing; run pytest with --update-golden and read what it wrote"
    assert actual == expected.read_text(encoding="utf-8")


def test_every_golden_file_has_its_input() -> None:
    """An expectation whose input was renamed would never fail."""
    inputs = {p.with_suffix("") for p in INPUTS}
    assert [p for p in (GOLDEN / "ir").rglob("*.expect") if p.with_suffix("") not in inputs] == []
