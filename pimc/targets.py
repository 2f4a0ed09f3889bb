"""Finds targets by entry point (group ``pimc.targets``), so that a third party's target installs beside ours."""

from __future__ import annotations

import warnings
from typing import Any, Protocol, cast

from pimc.ir.graph import Graph
from pimc.passes.base import Pass
from pimc.passes.target import Target, TargetError
from pimc.plugins import PluginWarning, load_plugin, plugin_names, working_plugins
from pimc_isa.machine import Machine
from pimc_isa.program import Program

__all__ = ["GROUP", "Backend", "find_target", "installed_targets", "target_names"]

GROUP = "pimc.targets"


class Backend(Protocol):
    """What a target's module offers."""

    def target(self, **options: Any) -> Target:
        """Return the target with the user's options (chips, replication, ...)."""
        ...

    def passes(self) -> tuple[Pass, ...]:
        """Return the passes from the quantised to the last stage."""
        ...

    def machine(self) -> Machine:
        """Return the machine that the target has unless the user gives another."""
        ...

    def emit(self, graph: Graph, target: Target) -> Program:
        """Turn the last graph into a program."""
        ...


#: What a target's module must have.
MEMBERS = ("target", "passes", "emit", "machine")


def target_names() -> list[str]:
    """Names of all installed targets, sorted."""
    return plugin_names(GROUP)


def find_target(name: str) -> Backend:
    """Return a target's module; TargetError names those that exist, PluginError says why one cannot be used."""
    known = target_names()
    if name not in known:
        raise TargetError(f"no target {name!r}; installed targets: {', '.join(known) or 'none (install pimc itself)'}")
    return cast(Backend, load_plugin(GROUP, name, MEMBERS))


def installed_targets() -> list[Target]:
    """Every target with its default options; those that cannot be had are left out with a PluginWarning."""
    return [made for name, backend in working_plugins(GROUP, MEMBERS) if (made := _made(name, backend)) is not None]


def _made(name: str, backend: Backend) -> Target | None:
    try:
        return backend.target()
    except Exception as error:  # whatever a stranger's module raises
        warnings.warn(f"target {name!r} cannot be made: {type(error).__name__}: {error}", PluginWarning, stacklevel=3)
        return None
