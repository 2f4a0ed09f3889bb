"""What a comparison says of one target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pimc.comparison.area import tile_area
from pimc.comparison.fidelity import Fidelity
from pimc.driver import CompiledProgram
from pimc.report.summary import summary

__all__ = ["Figures", "figures_of"]


@dataclass(frozen=True)
class Figures:
    """One network on one target. Counts and energies are of one image; the host's own work is in none of them.

    ``conversions``: column sums (or analog results) that went through a converter. ``energy``: joules by component
    for what is done (``energy_is_bound``: the most there can be, where data decide and nobody looked),
    ``static_energy`` what always-on components draw beyond that in a filled pipeline,
    ``whole_chips_joules`` what the chips would take with all parts at full power all the time.
    ``images_per_second`` of the filled pipeline, ``latency_seconds`` of one image alone, both from the timing engine.
    ``tiles`` used of ``tiles_allowed``; ``area_mm2`` is that of the tiles allowed, or of those used without a limit.
    """

    target: str
    tiles: int
    tiles_allowed: int | None
    chips: int
    arrays: int
    arrays_one_copy: int
    area_mm2: float
    conversions: int
    energy: Mapping[str, float]
    static_energy: Mapping[str, float]
    energy_is_bound: bool
    whole_chips_joules: float
    interval_seconds: float
    latency_seconds: float
    conversions_proved: float
    fidelity: Fidelity | None = None

    @property
    def images_per_second(self) -> float:
        """Throughput of the filled pipeline."""
        return 1 / self.interval_seconds

    @property
    def joules(self) -> float:
        """Energy of everything done for one image; no static power."""
        return sum(self.energy.values())

    @property
    def joules_with_static(self) -> float:
        """Energy of one image with the static power of the time between images."""
        return self.joules + sum(self.static_energy.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        values = dataclasses.asdict(self)
        fidelity, whole = values.pop("fidelity"), values.pop("whole_chips_joules")
        return values | {
            "images_per_second": self.images_per_second,
            "energy_joules": self.joules,
            "energy_joules_with_static": self.joules_with_static,
            "energy_joules_of_whole_chips": whole,
            "fidelity": fidelity,
        }


def figures_of(label: str, compiled: CompiledProgram, tiles_allowed: int | None, fidelity: Fidelity | None) -> Figures:
    """Measure a compiled program."""
    program, energy = compiled.program, compiled.energy
    values, clock = summary(program), program.machine.clock_hz
    area = tile_area(program.machine) * (tiles_allowed or values["tiles"])
    return Figures(
        target=label,
        tiles=values["tiles"],
        tiles_allowed=tiles_allowed,
        chips=values["chips"],
        arrays=values["arrays"],
        arrays_one_copy=values["arrays_one_copy"],
        area_mm2=area,
        conversions=round(energy.actions.get("adc_conversion", 0)),
        energy=energy.components,
        static_energy=dict(energy.static),
        energy_is_bound=energy.bound,
        whole_chips_joules=energy.whole_chips_joules,
        interval_seconds=compiled.interval_cycles / clock,
        latency_seconds=compiled.latency_cycles / clock,
        conversions_proved=values["conversions_proved"],
        fidelity=fidelity,
    )
