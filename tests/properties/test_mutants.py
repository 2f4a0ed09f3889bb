"""Mutated programs and assembly: refused, or right in every engine; never a traceback, a hang or 1 GB."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.properties.mutants import judge_file, judge_text

Judge = Callable[[int], str]
JUDGES = pytest.mark.parametrize("judge", [judge_file, judge_text], ids=["files", "texts"])


def assert_all(judge: Judge, seeds: range) -> Counter[str]:
    """Judge many; the error names the seed."""
    found: Counter[str] = Counter()
    for seed in seeds:
        try:
            found[judge(seed)] += 1
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    return found


@JUDGES
def test_some_mutants(judge: Judge) -> None:
    found = assert_all(judge, range(70))
    assert found["refused"] > 20
    assert found["ran"] > 5


@pytest.mark.slow
@JUDGES
@pytest.mark.parametrize("block", range(7))
def test_many_mutants(judge: Judge, block: int) -> None:
    assert_all(judge, range(100 + 500 * block, 600 + 500 * block))
