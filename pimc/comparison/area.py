"""Equal area: how many tiles of each target fit the same silicon.

The rule, after Neural-PIM's comparison at 63.5 mm2 of tiles: only tiles count. What a chip has once (HyperTransport) is
left out: it is the same on all these chips and does not scale with the network. Each target gets the whole number of
tiles that fit, on as many chips as they fill, and replicates the network's layers over them as over chips of its own.
Where no area is given it is that of the neediest target: the tiles of the fewest chips that hold one copy of the
network, the largest of these over all targets.
"""

from __future__ import annotations

from dataclasses import replace

from pimc.comparison.variant import Variant
from pimc.ir.graph import Graph
from pimc.passes.manager import run_passes
from pimc.passes.target import Target, TargetError
from pimc_isa.energy import total
from pimc_isa.machine import Machine

__all__ = ["common_area", "tile_area", "with_area"]

#: Share of a tile that may be missing: areas are sums of decimal fractions.
ROUNDING = 1e-6


def tile_area(machine: Machine) -> float:
    """Area of one tile in mm2."""
    return total(machine, "tile").area_mm2


def common_area(graph: Graph, variants: list[Variant]) -> float:
    """The tile area in mm2 of the fewest whole chips that hold one copy, for the target that needs most."""
    return max(_least_area(graph, variant) for variant in variants)


def _least_area(graph: Graph, variant: Variant) -> float:
    alone = replace(variant.target, chips=None, tiles=None, replication="none")
    mapped = run_passes(graph, variant.passes, alone, stop_after="map-weights")
    machine = variant.target.machine
    return int(mapped.meta["chips"]) * machine.chip.tiles * tile_area(machine)


def with_area(target: Target, area_mm2: float) -> Target:
    """The target with as many tiles as fit the area, on the chips they fill. Raises TargetError if none fits."""
    tiles = int(area_mm2 / tile_area(target.machine) + ROUNDING)
    if tiles < 1:
        raise TargetError(
            f"{area_mm2:g} mm2 hold no tile of {target.name} ({tile_area(target.machine):.3g} mm2)\nallow a larger area"
        )
    return replace(target, tiles=tiles, chips=-(-tiles // target.machine.chip.tiles))
