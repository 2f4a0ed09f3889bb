"""A program layer by layer: what it takes, how busy it is, what energy it uses."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pimc_isa.crossbar.footprint import group_arrays, utilisation
from pimc_isa.energy import EnergyReport
from pimc_isa.engines.timing import Timing, unit_of
from pimc_isa.instructions import Mvm, Mvma
from pimc_isa.operands import Group, Range
from pimc_isa.program import Program, Tile

__all__ = ["LayerReport", "layer_report"]


@dataclass(frozen=True)
class LayerReport:
    """One layer: an ONNX node, or what the compiler added under a name of its own.

    ``arrays`` of all copies; ``copies`` is how many positions are worked on at once; ``utilisation`` the share of
    cells that hold weights; ``busy`` the share of time its busiest unit works in a filled pipeline; ``joules`` of one
    image. Where conversions are ranged: ``v_max`` and ``gain``, the largest sum in calibration, and what the range
    costs there: the share of sums that clip, ratio of signal to quantisation noise of the sums, root mean square error
    of the result in steps of its tensor.
    """

    name: str
    tiles: int
    arrays: int
    copies: int
    utilisation: float
    busy: float
    joules: float
    v_max: float | None = None
    gain: float | None = None
    largest_sum: int | None = None
    clipped: float | None = None
    sqnr_db: float | None = None
    error_lsb: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return dataclasses.asdict(self)


def layer_report(program: Program, timing: Timing, energy: EnergyReport, interval_cycles: int) -> list[LayerReport]:
    """Return the layers in the order of their tiles; ``interval_cycles`` is that of a filled pipeline."""
    layers: dict[str, list[_Work]] = {}
    for tile in program.tiles:
        for name, work in _work(tile).items():
            layers.setdefault(name, []).append(work)
    time = timing.images * max(1, interval_cycles)
    busy = {key: cycles / time for key, cycles in timing.busy.items()}
    plans = {plan["layer"]: plan for plan in json.loads(program.meta.get("range_plan", "[]"))}
    return [_layer(program, name, work, busy, energy, plans.get(name, {})) for name, work in layers.items()]


@dataclass
class _Work:
    """What one tile does for one layer: the units it uses, and the groups of crossbars."""

    tile: int
    units: set[str] = field(default_factory=set)
    groups: dict[str, Group] = field(default_factory=dict)


def _work(tile: Tile) -> dict[str, _Work]:
    """Layers a tile works on: by the ONNX node of each instruction, by the tile's name where there is none."""
    found: dict[str, _Work] = {}
    nodes = tile.nodes or ("",) * len(tile.code)
    for instr, node in zip(tile.code, nodes, strict=True):
        if instr.unit == "control":
            continue
        work = found.setdefault(node or tile.name, _Work(tile.number))
        work.units.add(unit_of(instr))
        if isinstance(instr, Mvm | Mvma):
            work.groups[instr.group] = tile.group[instr.group]
    return found


def _layer(
    program: Program,
    name: str,
    works: list[_Work],
    busy: Mapping[tuple[int, str], float],
    energy: EnergyReport,
    plan: Mapping[str, Any],
) -> LayerReport:
    groups = [group for work in works for group in work.groups.values()]
    arrays = [group_arrays(program, group) for group in groups]
    used = sum(n * utilisation(program, group) for n, group in zip(arrays, groups, strict=True))
    copies: Counter[tuple[Range, Range, Range]] = Counter()
    for group in groups:
        copies[group.k, group.n, group.groups] += group.copies
    return LayerReport(
        name=name,
        tiles=len({program.sharing[work.tile] for work in works}),
        arrays=sum(arrays),
        copies=min(copies.values(), default=0),
        utilisation=used / sum(arrays) if arrays else 0.0,
        busy=max((busy.get((work.tile, unit), 0.0) for work in works for unit in work.units), default=0.0),
        joules=sum(energy.layers.get(name, {}).values()),
        v_max=next((group.v_max for group in groups if group.v_max), None),
        gain=next((group.gain for group in groups if group.v_max), None),
        largest_sum=plan.get("largest"),
        clipped=plan.get("clipped"),
        sqnr_db=plan.get("sqnr_db"),
        error_lsb=plan.get("error_lsb"),
    )
