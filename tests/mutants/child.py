"""What a forked child does: one module replaced by its mutant, then pytest in this process.

Nothing is written to the source tree: an import hook hands out the changed code, and compiled loops are read from a
cache of this run's own but never stored, so that no mutant lives longer than its child.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from tests.mutants.mutant import Mutant

__all__ = ["run_tests"]

#: Most bytes of address space of a child: a mutant that asks for more is stopped.
MEMORY_BYTES = 12 << 30

#: Up to the first failure, nothing stored; the libraries are imported already, of which pytest warns.
OPTIONS = (
    *("-x", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)


class _Finder(MetaPathFinder, Loader):
    """Finds one module, and gives it other code."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self.name, self.path, self.code = name, path, code

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Answer for the one module only."""
        if name != self.name:
            return None
        inside = [str(self.path.parent)] if self.path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(name, self.path, loader=self, submodule_search_locations=inside)

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutant's code."""
        exec(self.code, module.__dict__)


@dataclass(eq=False)
class _Failures:
    """A plug-in of pytest that remembers which tests failed."""

    failed: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a failed test."""
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember a file that cannot be imported."""
        if report.failed:
            self.failed.append(f"{report.nodeid} (import)")


def run_tests(root: Path, mutant: Mutant | None, tests: Sequence[str], seconds: int, result: Path) -> int:
    """Run ``tests`` up to the first failure and return pytest's exit code.

    ``mutant``: None runs the code as it is, and stores compiled loops. ``seconds`` of processor time are given.
    ``result`` gets the failed tests as JSON.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.chdir(root)
    if mutant is not None:
        _install(root, mutant)
        _store_no_compiled_loops()
    _settle_hypothesis()
    failures = _Failures()
    code = int(pytest.main([*OPTIONS, "--rootdir", str(root), *tests], plugins=[failures]))
    result.write_text(json.dumps(failures.failed), encoding="utf-8")
    return code


def _install(root: Path, mutant: Mutant) -> None:
    if mutant.module in sys.modules:
        raise RuntimeError(f"{mutant.module} is imported already, so it cannot be changed")
    path = root / mutant.file
    sys.meta_path.insert(0, _Finder(mutant.module, path, compile(mutant.tree(), str(path), "exec")))


def _store_no_compiled_loops() -> None:
    """Numba keys its cache by the source file, which a mutant shares with the original."""
    caching = sys.modules.get("numba.core.caching")
    if caching is not None:
        caching.Cache.save_overload = lambda *_: None


def _settle_hypothesis() -> None:
    """The same examples each time, no database, and no search for a smaller failure."""
    hypothesis = sys.modules.get("hypothesis")
    if hypothesis is None:
        return
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None, phases=phases)
    hypothesis.settings.load_profile("mutants")
