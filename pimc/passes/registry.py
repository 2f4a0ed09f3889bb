"""Passes by name: ours, and those of other packages (entry point ``pimc.passes``: name = module:Class)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from pimc.passes.base import Pass
from pimc.plugins import PluginError, PluginWarning, load_plugin, plugin_names

__all__ = ["GROUP", "known_passes"]

GROUP = "pimc.passes"

OWN: Mapping[str, str] = MappingProxyType(
    {
        "choose-flows": "choose_flows:ChooseFlows",
        "choose-slices": "choose_slices:ChooseSlices",
        "choose-inputs": "choose_inputs:ChooseInputs",
        "fold-epitomes": "fold_epitomes:FoldEpitomes",
        "map-weights": "map_weights:MapWeights",
        "slice-weights": "slice_weights:SliceWeights",
        "place": "place:Place",
        "choose-ranges": "choose_ranges:ChooseRanges",
        "schedule-rows": "schedule_rows:ScheduleRows",
    }
)
"""Name to `module:class` below `pimc.passes`, in the order of use."""


def known_passes() -> dict[str, type[Pass]]:
    """Return all passes by name; a broken one of another package is left out with a PluginWarning."""
    found = {name: _own(place) for name, place in OWN.items()}
    for name in plugin_names(GROUP):
        try:
            made = load_plugin(GROUP, name, ("apply", "name", "from_stage", "to_stage"))
        except PluginError as error:
            warnings.warn(str(error).replace("\n", "; "), PluginWarning, stacklevel=2)
            continue
        if name in found or made.name != name:
            text = f"pass {name!r} is left out: its class calls itself {made.name!r}, or the name is taken"
            warnings.warn(text, PluginWarning, stacklevel=2)
            continue
        found[name] = made
    return found


def _own(place: str) -> type[Pass]:
    module, name = place.split(":")
    found: Any = getattr(import_module(f"pimc.passes.{module}"), name)
    return found  # type: ignore[no-any-return]
