"""A program layer by layer: what it takes, how busy it is, what energy it uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pimc_isa.energy import EnergyReport
from pimc_isa.engines.timing import Timing, unit_of
from pimc_isa.layout import group_arrays, utilisation
from pimc_isa.program import Program, Tile

__all__ = ["LayerReport", "layer_report"]


@dataclass(frozen=True)
class LayerReport:
    """One layer: an ONNX node, or what the compiler added under a name of its own.

    ``arrays`` of all copies; ``copies`` is how many positions are worked on at once; ``utilisation`` the share of
    cells that hold weights; ``busy`` the share of time its busiest unit works in a filled pipeline; ``joules`` of one
    image.
    """

    name: str
    tiles: int
    arrays: int
    copies: int
    utilisation: float
    busy: float
    joules: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return dataclasses.asdict(self)


def layer_report(program: Program, timing: Timing, energy: EnergyReport) -> list[LayerReport]:
    """Return the layers in the order of their tiles."""
    layers: dict[str, list[tuple[Tile, set[str], set[str]]]] = {}
    for tile in program.tiles:
        for name, units, groups in _work(tile):
            layers.setdefault(name, []).append((tile, units, groups))
    busy = {key: cycles / max(1, timing.total_cycles) for key, cycles in timing.unit_busy.items()}
    filled = max(busy.values(), default=0) and _filled(timing)
    return [_layer(program, name, work, busy, filled, energy) for name, work in layers.items()]


def _filled(timing: Timing) -> float:
    """All cycles over those that a filled pipeline would take for as many images."""
    return timing.total_cycles / (timing.images * max(1, timing.interval_cycles))


def _work(tile: Tile) -> Iterator[tuple[str, set[str], set[str]]]:
    """Layers a tile works on, with the units and the crossbar groups each uses there."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    nodes = tile.nodes or ("",) * len(tile.code)
    for instr, node in zip(tile.code, nodes, strict=True):
        if instr.unit == "control":
            continue
        units, groups = found.setdefault(node or tile.name, (set(), set()))
        units.add(unit_of(instr))
        if instr.unit == "matrix":
            groups.add(getattr(instr, "group", ""))
    for name, (units, groups) in found.items():
        yield name, units, groups


def _layer(
    program: Program,
    name: str,
    work: list[tuple[Tile, set[str], set[str]]],
    busy: dict[tuple[int, str], float],
    filled: float,
    energy: EnergyReport,
) -> LayerReport:
    groups = [tile.group[g] for tile, _, names in work for g in sorted(names)]
    arrays = [group_arrays(program, g) for g in groups]
    used = sum(n * utilisation(program, g) for n, g in zip(arrays, groups, strict=True))
    chains = len({(g.n, g.groups, tile.number) for (tile, _, names) in work for g in [tile.group[x] for x in names]})
    distinct = len({(g.k, g.n, g.groups) for g in groups})
    strips = max(1, chains // max(1, distinct))
    return LayerReport(
        name=name,
        tiles=len(work),
        arrays=sum(arrays),
        copies=max((g.copies for g in groups), default=0) * strips,
        utilisation=used / sum(arrays) if arrays else 0.0,
        busy=filled
        * max((busy.get((tile.number, unit), 0.0) for tile, units, _ in work for unit in units), default=0.0),
        joules=sum(energy.layers.get(name, {}).values()),
    )
