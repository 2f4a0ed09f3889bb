# ruff: noqa: E501  # the page's own lines and rows of tables
"""Peak figures and the design space of Neural-PIM, for docs/claims/neural-pim.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from claims_energy import machine_of, table

from pimc.explore import Exploration, explore
from pimc.explore.evaluate import NetworkScore
from pimc.explore.text import sentences
from pimc_isa.energy import total

__all__ = ["GRID", "peak", "space", "space_section"]

NPIM, ISAAC, CASCADE = "neural-pim", "isaac-style", "cascade"

#: The paper's grid.
GRID = ("N=32,64,128", "D=1,2,4", "A=1,2,4", "S=64,128")


def peak() -> str:
    """The section of peak figures."""
    machine = machine_of(NPIM)
    tiles, chip = machine.chip.tiles * total(machine, "tile").area_mm2, total(machine)
    rows = []
    for name, window in ((NPIM, 3), (ISAAC, 8), (CASCADE, 8)):
        m = machine_of(name)
        tile = total(m, "tile")
        gops = 2 * m.tile.arrays * 1024 / (window * 100)
        rows.append(
            [name, f"{m.chip.tiles}", f"{tile.area_mm2:.4f}", f"{tile.power_mw:.1f}", f"{window}", f"{gops:,.1f}"]
        )
        rows[-1].append(f"{gops / tile.area_mm2:,.0f}")
    return f"""## Peak

All arrays busy, 1,024 weights each. The paper: 1904.0 GOPS/s/mm2, 280 tiles of 57.3 W and 63.5 mm2, chip 67.7 W and 86.4 mm2;
our machine file: {tiles:.1f} mm2 of tiles, chip {chip.power_mw / 1e3:.1f} W and {chip.area_mm2:.1f} mm2.

{table(["chip", "tiles", "mm2/tile", "mW/tile", "window, steps", "GOPS/s/tile", "GOPS/s/mm2"], rows)}"""


def space(scores: Mapping[str, Any]) -> Exploration:
    """The paper's grid, with the network's scores by point."""
    found = explore(NPIM, GRID)
    points = tuple(
        replace(s, network=NetworkScore(**scores["points"][found.name(s.point)]) if scores else None)
        for s in found.points
    )
    if not scores:
        return found
    return replace(found, points=points, network=scores["network"], area_mm2=scores["area_mm2"])


def space_section(scores: Mapping[str, Any]) -> str:
    """The section of the design space."""
    small, large = space(scores), explore(NPIM, [*GRID, "M=64,96,128"])
    texts = []
    for found, what in ((small, "M = 64 arrays a tile"), (large, "M = 64, 96, 128 as well")):
        top = sorted(found.points, key=lambda s: -s.peak.gops_per_mm2)[:6]
        rows = [
            [
                found.name(s.point),
                str(s.peak.interval_steps),
                f"{s.peak.tile_mm2:.4f}",
                f"{s.peak.gops_per_mm2:,.0f}",
                f"{s.network.images_per_second:,.0f}" if s.network else "",
                f"{s.network.joules * 1e3:.3f}" if s.network else "",
            ]
            for s in top
        ]
        said = "\n".join(f"* {sentence}" for sentence in sentences(found))
        texts.append(f"""### {what}: the best six of {len(found.points)} points

{table(["point", "window, steps", "mm2/tile", "GOPS/s/mm2", "images/s", "mJ/image"], rows)}
{said}
""")
    return f"""## Design space

`pimc explore --target neural-pim --grid N=32,64,128 D=1,2,4 A=1,2,4 S=64,128`: the machine is scaled for every point (rules and
sources: `backends/pimc_backends/neural_pim/design.py`), the flow scheduled anew. Is N128-D4-A4-S64 (M64) the best point? Peak is that of a tile; images per second and energy are those of a network's
program with the mesh, on the same area for every point. [All points as a figure](neural-pim-space.svg).

{"".join(f"{text}" for text in texts)}"""
