"""Children for mutants, a few at a time: forked from a parent that has imported the libraries, but no code of ours."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.mutants.child import run_tests
from tests.mutants.mutant import Mutant

__all__ = ["Job", "Result", "preload", "run_jobs"]

#: Imported once, before any child is made.
LIBRARIES = (
    "hypothesis.extra.numpy",
    "lark",
    "msgspec",
    "networkx",
    "numba",
    "numba.core.caching",
    "numpy",
    "onnx",
    "onnx.reference",
    "onnxruntime",
    "onnxslim",
    "rich.console",
    "safetensors.numpy",
    "typer.testing",
)

#: Exit code of a child that could not run its tests, which says nothing about the mutant.
BROKEN = 70

#: Times its processor time that a child may take in all.
WAIT = 8


@dataclass(frozen=True)
class Job:
    """Tests to run on a mutant, or on the code as it is; ``seconds`` of processor time at most."""

    mutant: Mutant | None
    tests: tuple[str, ...]
    seconds: int


@dataclass(frozen=True)
class Result:
    """How a job ended: ``outcome`` is 'passed', 'failed', 'time' (limit of processor time), 'died' (a signal)
    or 'broken' (the runner's own fault).

    ``failed`` is the first test that failed, '' where none did. ``seconds`` is processor time; ``output`` pytest's.
    """

    job: Job
    outcome: str
    failed: str
    seconds: float
    output: str

    @property
    def alive(self) -> bool:
        """Whether the mutant survived."""
        return self.outcome == "passed"


def preload(caches: Path) -> None:
    """Import the libraries; compiled loops go to ``caches``. Libraries that are missing are left out."""
    os.environ["NUMBA_CACHE_DIR"] = str(caches)
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def run_jobs(root: Path, jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Run jobs, ``workers`` at a time, and hand out results as they come."""
    waiting = list(reversed(jobs))
    running: list[_Child] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    running.append(_start(root, waiting.pop(), Path(folder) / str(len(waiting))))
                for child in list(running):
                    result = child.poll()
                    if result is not None:
                        running.remove(child)
                        yield result
                time.sleep(0.01)
        finally:
            for child in running:
                os.killpg(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)


@dataclass(frozen=True)
class _Child:
    """A child at work; its files are ``PLACE.json`` and ``PLACE.txt``."""

    pid: int
    job: Job
    place: Path
    started: float

    def poll(self) -> Result | None:
        """The result, or None while it is at work; one that waits instead of working is ended."""
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if not pid:
            if time.monotonic() - self.started > WAIT * self.job.seconds:
                os.killpg(self.pid, signal.SIGKILL)
            return None
        output = self.place.with_suffix(".txt").read_text(encoding="utf-8", errors="replace")
        record = self.place.with_suffix(".json")
        failed = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else []
        return Result(self.job, _outcome(status), (failed or [""])[0], usage.ru_utime + usage.ru_stime, output)


def _outcome(status: int) -> str:
    if os.WIFSIGNALED(status):
        return "time" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "died"
    return {0: "passed", BROKEN: "broken"}.get(os.WEXITSTATUS(status), "failed")


def _start(root: Path, job: Job, place: Path) -> _Child:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _work(root, job, place)
    return _Child(pid, job, place, time.monotonic())


def _work(root: Path, job: Job, place: Path) -> NoReturn:
    """The child: its output goes to a file, and it ends here whatever happens."""
    code = BROKEN
    try:
        os.setpgid(0, 0)
        out = os.open(place.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = run_tests(root, job.mutant, job.tests, job.seconds, place.with_suffix(".json"))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
