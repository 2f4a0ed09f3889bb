"""Products use one thread while pimc computes, and whatever the caller had set afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import pimc
from pimc_isa.engines.values import executor
from pimc_isa.errors import PimcError
from pimc_isa.threads import blas_threads, limited_blas
from pimc_models import fashion

NAMES = ("PIMC_BLAS_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def threads() -> set[int]:
    """Those of numpy's own library; numba may bring scipy's, which computes nothing here."""
    np.ones((8, 8)) @ np.ones((8, 8))
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {pool["num_threads"] for pool in pools if "scipy.libs" not in str(pool["filepath"])}


def test_one_thread_inside_and_the_callers_own_afterwards() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        with limited_blas(), limited_blas():
            assert threads() == {1}
        assert threads() == before


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [("PIMC_BLAS_THREADS", "3", 3), ("OMP_NUM_THREADS", "2", None), ("OPENBLAS_NUM_THREADS", "2", None), ("X", "", 1)],
)
def test_whoever_asks_gets_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str, wanted: int | None) -> None:
    monkeypatch.setenv(name, value)
    assert blas_threads() == wanted


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "\u0661", "9" * 5000])
def test_what_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PIMC_BLAS_THREADS", value)
    with pytest.raises(PimcError, match="not a number of threads"):
        blas_threads()


def test_runs_and_compilations_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []
    real = executor._execute

    def watched(*args: Any) -> None:
        seen.append(threads())
        real(*args)

    monkeypatch.setattr(executor, "_execute", watched)
    with threadpool_limits(2, user_api="blas"):
        images = np.zeros((1, 1, 28, 28), np.float32)
        program = pimc.compile(fashion.int8_path(), progress=lambda _: seen.append(threads()))
        program.run(images)
        compiled_and_run = len(seen)
        program.verify(images)
    assert len(seen) > compiled_and_run > 1
    assert set.union(*seen) == {1}
