"""One small change of one module, and the files it is read from."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "MutantError", "module_name"]

#: Folders that hold packages beside the root.
SOURCES = ("isa", "backends", "models")


class MutantError(Exception):
    """A list, a table or a test selection that cannot be used; the message says which entry and why."""


@dataclass(frozen=True)
class Mutant:
    """A changed module and the tests that are to notice it.

    ``key`` names it in lists and reports and does not hold a line number. ``file`` is relative to the root of the
    repository; ``change`` is for readers; ``tree`` makes the changed code. ``tests`` are pytest's node ids, the
    likeliest to fail first.
    """

    key: str
    file: str
    change: str
    tree: Callable[[], ast.Module]
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """The dotted name under which the file is imported."""
        return module_name(self.file)


def module_name(file: str) -> str:
    """The dotted name of a file: ``isa/pimc_isa/route.py`` is ``pimc_isa.route``."""
    parts = list(Path(file).with_suffix("").parts)
    if len(parts) > 1 and parts[0] in SOURCES:
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
