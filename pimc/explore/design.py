"""Finds design spaces by entry point (group ``pimc.designs``): what of a target may be varied, how points are built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from pimc.explore.grid import ExploreError
from pimc.passes.target import Target
from pimc.plugins import load_plugin, plugin_names
from pimc.targets import find_target

__all__ = ["GROUP", "Design", "find_design"]

GROUP = "pimc.designs"


class Design(Protocol):
    """What a design space's module offers.

    ``PARAMETERS``: parameters with the published point's values, in the order of a point's name. ``ASSUMPTIONS``:
    choices that are not parameters, by name the options (the default first) with a sentence on each.
    """

    PARAMETERS: Mapping[str, int]
    ASSUMPTIONS: Mapping[str, Mapping[str, str]]

    def design(self, point: Mapping[str, int], assumptions: Mapping[str, str] | None = None) -> Target:
        """Return the target of a point. Raises PimcError for one that cannot be built."""
        ...


def find_design(target: str) -> Design:
    """Return a target's design space. Raises TargetError for an unknown target, ExploreError for one without."""
    find_target(target)
    known = plugin_names(GROUP)
    if target not in known:
        raise ExploreError(f"target {target!r} has no design space; these have one: {', '.join(known) or 'none'}")
    return cast(Design, load_plugin(GROUP, target, ("PARAMETERS", "ASSUMPTIONS", "design")))
