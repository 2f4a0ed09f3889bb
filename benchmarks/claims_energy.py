"""Energy of measured programs: counts times the machine files' prices, sorted as Figure 13 of Neural-PIM sorts it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pimc.driver import choose
from pimc_isa.energy import total
from pimc_isa.machine import Machine

__all__ = ["ACCOUNTS", "GROUPS", "energy", "geometric", "groups", "machine_of", "peak_shares", "price_of", "table"]

Record = Mapping[str, Any]

#: Actions by the labels of Figure 13; all others are "other".
GROUPS = {
    "XB": ("cell_read",),
    "ADC": ("adc_conversion",),
    "DAC": ("dac_drive",),
    "S+A": ("shift_add", "fold", "sample_hold", "buffer_write", "buffer_read", "input_count"),
}

#: What is counted, each with all that those before it count.
ACCOUNTS = {
    "core": "arrays, DACs, converters, analog and digital shift-and-add of the arrays",
    "chip": "and registers, eDRAM, bus, adders, vector and pooling units, mesh",
    "links": "and bytes over links between chips and to the host (406 pJ each)",
    "static": "and HyperTransport's 10.4 W per chip all the time, whatever is sent",
}


def machine_of(chip: str) -> Machine:
    """The machine whose prices a chip's program has."""
    return choose(chip.split(",")[0])[0].machine


def price_of(chip: str, changed: Mapping[str, float] | None = None) -> dict[str, float]:
    """Energy by action in pJ; ``changed`` replaces some."""
    return {e.action: e.energy_pj for e in machine_of(chip).energies} | dict(changed or {})


def groups(record: Record, prices: Mapping[str, float]) -> dict[str, float]:
    """Joules of one image by Figure 13's labels; links and static power are not in them."""
    spent = {a: n * prices[a] * 1e-12 for a, n in record["actions"].items() if a != "chip_link_byte"}
    named = {label: sum(spent.get(a, 0.0) for a in actions) for label, actions in GROUPS.items()}
    return named | {"other": sum(spent.values()) - sum(named.values())}


def energy(record: Record, prices: Mapping[str, float], machine: Machine, account: str = "core") -> float:
    """Joules of one image."""
    parts = groups(record, prices)
    if account == "core":
        return sum(parts.values()) - parts["other"]
    chip = sum(parts.values())
    if account == "chip":
        return chip
    links = record["actions"].get("chip_link_byte", 0.0) * prices["chip_link_byte"] * 1e-12
    if account == "links":
        return chip + links
    watt = next(c.power_mw for c in machine.components if c.static) * 1e-3
    return chip + max(links, watt * record["chips"] * record["interval_cycles"] / machine.clock_hz)


def peak_shares(chip: str) -> dict[str, float]:
    """Share of a chip's peak power by Figure 13's labels, HyperTransport under other."""
    machine = machine_of(chip)
    label = {"crossbar": "XB", "adc": "ADC", "nnadc": "ADC", "dac": "DAC", "nns+a": "S+A", "shift-add": "S+A"}
    label |= {"tia": "S+A", "sample-hold": "S+A"}
    tiles, whole = machine.chip.tiles, total(machine).power_mw
    sums = dict.fromkeys([*GROUPS, "other"], 0.0)
    for c in machine.components:
        number = {"array": tiles * machine.tile.arrays, "tile": tiles, "chip": 1}[c.per]
        sums[label.get(c.name, "other")] += number * c.count * c.power_mw / whole
    return sums


def geometric(values: Iterable[float]) -> float:
    """Geometric mean."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else float("nan")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
