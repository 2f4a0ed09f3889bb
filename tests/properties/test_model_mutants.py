"""A mutant of a model is refused in one to three lines, or it compiles and equals onnxruntime; nothing else happens."""

from __future__ import annotations

import resource
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import pimc
from pimc_isa.errors import PimcError
from tests.properties.model_mutants import BASES, mutant

SECONDS, MEMORY = 20, 1 << 30
DEFAULT, SLOW = 60, 3000


@contextmanager
def bounded() -> Iterator[None]:
    """At most `MEMORY` bytes more than now, and `SECONDS` of time."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    handler = signal.signal(signal.SIGALRM, _late)
    left = signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *left)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _late(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} seconds")


def verdict(data: bytes) -> str:
    """What becomes of a model: refused, pass, or what is wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = pimc.compile(data)
            report = program.verify(images=2)
    except PimcError as error:
        text = str(error)
        if "bug in pimc" in text:
            return f"a bug: {text}"
        lines = text.splitlines()
        # a list of the nodes in the way has a line for each
        return "refused" if len(lines) <= 3 or "These nodes" in text else f"{len(lines)} lines: {text}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "pass" if report.passed else f"verify fails: {report.mismatches} of {report.elements}"


def judge(seed: int) -> str:
    """Verdict of a seed within the bounds."""
    data = mutant(seed)
    with bounded():
        return verdict(data)


def warm() -> None:
    """Compile what numba compiles before time is measured."""
    for build in BASES:
        assert verdict(build()) == "pass"


def run(seeds: range) -> None:
    warm()
    verdicts = {seed: judge(seed) for seed in seeds}
    wrong = {seed: v[:300] for seed, v in verdicts.items() if v not in ("refused", "pass")}
    assert not wrong
    passed = sum(v == "pass" for v in verdicts.values())
    assert len(seeds) // 10 < passed < len(seeds) * 9 // 10  # both happen, or the mutants are no test


def test_some_mutants() -> None:
    run(range(DEFAULT))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_mutants() -> None:
    run(range(1000, 1000 + SLOW))
