"""The table that says which files are mutated by the generator and which tests are run on them."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.mutants.mutant import MutantError

__all__ = ["read_areas"]


def read_areas(path: Path, root: Path) -> dict[str, tuple[str, ...]]:
    """Each file of each area with its tests, the quickest to fail first.

    A file that a later area names again keeps its first tests. Raises MutantError for a pattern that matches nothing.
    """
    found: dict[str, tuple[str, ...]] = {}
    for area in tomllib.loads(path.read_text(encoding="utf-8")).get("area", []):
        for pattern in area["files"]:
            files = sorted(f.relative_to(root).as_posix() for f in root.glob(pattern))
            if not files:
                raise MutantError(f"{path.name}, area {area['name']}: no file matches {pattern}")
            for file in files:
                found.setdefault(file, tuple(area["tests"]))
    return found
