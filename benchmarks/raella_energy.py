"""Energy of the measured programs with the artifact's recorded statistics, sorted as its figure sorts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from raella_data import Layer
from raella_programs import CHIPS, recorded
from raella_shapes import layers_of

from pimc.driver import choose

__all__ = ["GROUPS", "Change", "actions_of", "joules", "parts", "prices_of"]

Found = Mapping[str, Any]
Change = Callable[[Layer], Layer]

#: Actions by the parts of the figure; bytes over links off the chip are in none, as in the paper.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "adc": ("adc_conversion", "shift_add", "sample_hold"),
    "crossbar": ("cell_read", "cell_charge"),
    "output_buffer": ("output_register_byte", "merge_add"),
    "global_movement": ("memory_byte", "bus_byte", "link_byte"),
    "input_drivers_dac": ("dac_pulse", "dac_drive"),
    "input_buffer": ("input_register_byte", "input_count"),
    "quantization": ("vector_element", "pool_element"),
}


def prices_of(design: str, changed: Mapping[str, float] | None = None) -> dict[str, float]:
    """Energy by action in pJ; ``changed`` multiplies some."""
    times = changed or {}
    machine = choose(CHIPS[design].target)[0].machine
    return {e.action: e.energy_pj * times.get(e.action, 1.0) for e in machine.energies}


def actions_of(
    network: str, design: str, found: Found, change: Change | None = None, *, empty_cells_conduct: bool = True
) -> Counter[str]:
    """Actions of one image; ``change`` is made to the recorded statistics (see `raella_programs.recorded`)."""
    total, known = Counter[str](found["others"]), layers_of(network)
    for name, bound in found["bounds"].items():
        layer = known[name] if change is None else change(known[name])
        total.update(recorded(bound, layer, CHIPS[design], empty_cells_conduct=empty_cells_conduct))
    return total


def parts(actions: Mapping[str, float], prices: Mapping[str, float]) -> dict[str, float]:
    """Joules of one image by the figure's parts."""
    return {
        part: sum(actions.get(action, 0.0) * prices[action] for action in of) * 1e-12 for part, of in GROUPS.items()
    }


def joules(
    network: str,
    design: str,
    found: Found,
    *,
    changed: Mapping[str, float] | None = None,
    change: Change | None = None,
    links: bool = False,
    empty_cells_conduct: bool = True,
) -> float:
    """Energy of one image; ``links``: with the bytes that leave and enter the chip."""
    actions = actions_of(network, design, found, change, empty_cells_conduct=empty_cells_conduct)
    prices = prices_of(design, changed)
    off = actions["chip_link_byte"] * prices["chip_link_byte"] * 1e-12 if links else 0.0
    return sum(parts(actions, prices).values()) + off
