"""What the comparison assumes, one assumption changed at a time: the effect on energy of raella over isaac-8b."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from claims_energy import geometric
from raella_data import Layer
from raella_energy import GROUPS, Change, joules

__all__ = ["ASSUMPTIONS", "Assumption", "saved"]

Found = Mapping[str, Mapping[str, Any]]
Data = Mapping[str, Found]


@dataclass(frozen=True)
class Assumption:
    """A change: factors of prices on RAELLA's designs and on ISAAC's, of the recorded statistics, links counted."""

    text: str
    raella: Mapping[str, float] = field(default_factory=dict)
    isaac: Mapping[str, float] = field(default_factory=dict)
    change: Change | None = None
    links: bool = False
    empty_cells_conduct: bool = True


def saved(data: Data, design: str, how: Assumption | None = None) -> float:
    """Energy of isaac-8b over that of a design: geometric mean of the networks."""
    how = how or Assumption("")
    ratios = []
    for network, found in data.items():
        ratios.append(_spent(network, "isaac", found, how, how.isaac) / _spent(network, design, found, how, how.raella))
    return geometric(ratios)


def _spent(network: str, design: str, found: Found, how: Assumption, changed: Mapping[str, float]) -> float:
    more = {"change": how.change, "links": how.links, "empty_cells_conduct": how.empty_cells_conduct}
    return joules(network, design, found[design], changed=changed, **more)


def _both(text: str, **factors: float) -> Assumption:
    return Assumption(text, factors, factors)


def _free(text: str, *groups: str) -> Assumption:
    return _both(text, **{action: 0.0 for group in groups for action in GROUPS[group]})


def _share(s: float) -> Change:
    return lambda layer: replace(layer, s=s)


def _modelled(layer: Layer) -> Layer:
    return replace(layer, isaac_cell=layer.isaac_cell_modelled)


#: The changes, in the order of the page.
ASSUMPTIONS = (
    Assumption("**base**"),
    _free("conversions and their additions alone", *(group for group in GROUPS if group != "adc")),
    _free(
        "arrays, DACs and conversions alone", *(g for g in GROUPS if g not in ("adc", "crossbar", "input_drivers_dac"))
    ),
    Assumption("bytes into and out of the chip counted (406 pJ each)", links=True),
    _free("memory, bus and mesh free", "global_movement"),
    _free("input registers and sums of inputs free", "input_buffer"),
    Assumption("RAELLA's output registers twice, as the paper had them", {"output_register_byte": 2.0}),
    Assumption("empty cells between depthwise channels do not conduct", empty_cells_conduct=False),
    Assumption("off current in one device of a pair only (what the figure's arrays fit)", {"cell_read": 0.5}),
    Assumption("ISAAC's cells as the artifact models them, not as recorded", change=_modelled),
    _both("pulses on word lines at twice the price (ours: no price is printed)", dac_pulse=2.0),
    Assumption("3.3 conversions instead of 8 in every layer (the paper's text)", change=_share(3.3 / 8)),
    Assumption("no conversion ever repeated: 3 instead of 8", change=_share(3 / 8)),
)
