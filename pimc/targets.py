"""Finds targets by entry point (group ``pimc.targets``), so that a third party's target installs beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, cast

from pimc.ir.graph import Graph
from pimc.passes.base import Pass
from pimc.passes.target import Target, TargetError
from pimc_isa.program import Program

__all__ = ["GROUP", "Backend", "find_target", "target_names"]

GROUP = "pimc.targets"


class Backend(Protocol):
    """What a target's module offers."""

    def target(self, **options: Any) -> Target:
        """Return the target with the user's options (chips, replication, ...)."""
        ...

    def pipeline(self) -> tuple[Pass, ...]:
        """Return the passes from the quantised to the last stage."""
        ...

    def emit(self, graph: Graph, target: Target) -> Program:
        """Turn the last graph into a program."""
        ...


def target_names() -> list[str]:
    """Names of all installed targets, sorted."""
    return sorted(_entries())


def _entries() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in found and found[entry.name].value != entry.value:
            raise TargetError(
                f"target {entry.name!r} is installed twice: {found[entry.name].value} and {entry.value}; remove one"
            )
        found[entry.name] = entry
    return found


def find_target(name: str) -> Backend:
    """Return a target's module; TargetError names those that exist."""
    entries = _entries()
    if name not in entries:
        known: Sequence[str] = sorted(entries)
        raise TargetError(f"no target {name!r}; installed targets: {', '.join(known) or 'none (install pimc itself)'}")
    return cast(Backend, entries[name].load())
