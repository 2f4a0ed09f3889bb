"""The committed mutants: ``mutants.toml``, for each the text before and after and the tests that fail."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

from tests.mutants.mutant import Mutant, MutantError

__all__ = ["read_mutants"]

#: What an entry must hold; ``index`` (0 for the first) is for an old text that occurs several times.
FIELDS = {"id", "file", "old", "new", "why", "tests"}


def read_mutants(path: Path, root: Path) -> list[Mutant]:
    """The entries of a list, applied to the files under ``root``. Raises MutantError for one that does not fit."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", [])
    mutants = [_mutant(entry, root) for entry in entries]
    keys = [m.key for m in mutants]
    for key in keys:
        if keys.count(key) > 1:
            raise MutantError(f"{path.name}: the id '{key}' is given twice")
    return mutants


def _mutant(entry: dict[str, Any], root: Path) -> Mutant:
    key = str(entry.get("id", "(without id)"))
    missing, unknown = FIELDS - entry.keys(), entry.keys() - FIELDS - {"index"}
    if missing or unknown:
        raise MutantError(f"{key}: missing {sorted(missing) or 'nothing'}, unknown {sorted(unknown) or 'nothing'}")
    if not entry["tests"] or not str(entry["why"]).strip():
        raise MutantError(f"{key}: give the tests that kill it and say why it matters")
    file = root / entry["file"]
    if not file.is_file():
        raise MutantError(f"{key}: there is no file {entry['file']}")
    text, old = file.read_text(encoding="utf-8"), entry["old"]
    places = text.count(old)
    if places == 0:
        raise MutantError(f"{key}: {entry['file']} no longer holds {old!r}; anchor the mutant anew")
    if places > 1 and "index" not in entry:
        raise MutantError(f"{key}: {entry['file']} holds {old!r} {places} times; give more of it, or an index")
    tree = _changed(key, text, old, entry["new"], int(entry.get("index", 0)))
    return Mutant(key, entry["file"], f"{_line(old)} -> {_line(entry['new'])}", lambda: tree, tuple(entry["tests"]))


def _changed(key: str, text: str, old: str, new: str, index: int) -> ast.Module:
    parts = text.split(old)
    if not 0 <= index < len(parts) - 1:
        raise MutantError(f"{key}: there is no occurrence number {index}; the first is 0")
    changed = old.join(parts[: index + 1]) + new + old.join(parts[index + 1 :])
    try:
        tree = ast.parse(changed)
    except SyntaxError as error:
        raise MutantError(f"{key}: the changed file is no Python: {error}") from error
    if ast.dump(tree) == ast.dump(ast.parse(text)):
        raise MutantError(f"{key}: the change changes nothing")
    return tree


def _line(text: str) -> str:
    return " ".join(text.split())
