"""Where points are worked on: parallel processes here, or the workers of a Dask cluster. One interface for both.

A Dask client offers the executor interface of `concurrent.futures`, so nothing else of an exploration knows where it
runs. Results are collected in the order of the tasks, whoever finishes first.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from pimc.explore.grid import ExploreError

__all__ = ["Pool", "pool"]

T = TypeVar("T")
R = TypeVar("R")

#: Seconds to wait for a Dask scheduler to answer.
PATIENCE_SECONDS = 10


class Pool:
    """Runs a function over tasks; ``share`` hands out data that every task needs, once for each worker."""

    def __init__(self, executor: Executor | None, share: Callable[[Any], Any]) -> None:
        self._executor, self.share = executor, share

    def map(
        self, work: Callable[[T, Any], R], tasks: Sequence[T], shared: Any, done: Callable[[int], None] | None = None
    ) -> list[R]:
        """Return the results in the order of the tasks; ``done`` hears how many there are so far."""
        results: list[R] = []
        if self._executor is None:
            calls: Iterator[R] = (work(task, shared) for task in tasks)
        else:
            futures = [self._executor.submit(work, task, shared) for task in tasks]
            calls = (future.result() for future in futures)
        for result in calls:
            results.append(result)
            if done:
                done(len(results))
        return results


@contextmanager
def pool(jobs: int = 1, scheduler: str | None = None) -> Iterator[Pool]:
    """Open a pool of ``jobs`` processes (1: this one), or of the workers of the Dask scheduler at an address.

    Raises ExploreError if the scheduler cannot be reached or Dask is not installed.
    """
    if scheduler is not None:
        with _dask(scheduler) as client:
            yield Pool(client.get_executor(), lambda data: client.scatter(data, broadcast=True, hash=False))
        return
    if jobs == 1:
        yield Pool(None, lambda data: data)
        return
    # Spawned, not forked: workers must not inherit the thread pools of the libraries we use.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as executor:
        yield Pool(executor, lambda data: data)


@contextmanager
def _dask(scheduler: str) -> Iterator[Any]:
    try:
        from dask.distributed import Client
    except ImportError:
        raise ExploreError("--scheduler needs Dask; install it with pip install 'pimc[explore]'") from None
    try:
        client: Any = Client(  # type: ignore[no-untyped-call]  # Dask is typed in part
            scheduler, timeout=PATIENCE_SECONDS, set_as_default=False
        )
    except (OSError, ValueError, TypeError) as error:
        raise ExploreError(f"no Dask scheduler answers at {scheduler}: {type(error).__name__}") from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise ExploreError(f"the Dask scheduler at {scheduler} has no workers; start some with 'dask worker'")
        yield client
