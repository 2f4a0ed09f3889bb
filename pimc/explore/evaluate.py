"""What is found out about one design point, in a worker process: its peak, and how a network's program does on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pimc.comparison.area import common_area, with_area
from pimc.comparison.variant import Variant, without_values
from pimc.driver import emit
from pimc.explore.design import find_design
from pimc.explore.grid import Point
from pimc.ir.graph import Graph
from pimc.passes.manager import run_passes
from pimc.passes.target import Target
from pimc.targets import find_target
from pimc_isa.crossbar.footprint import outputs_per_array
from pimc_isa.energy import total
from pimc_isa.errors import PimcError
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine

__all__ = ["NetworkScore", "PeakScore", "PointTask", "least_area", "network_score", "peak_score"]


@dataclass(frozen=True)
class PointTask:
    """A point of a target's design space under some assumptions; ``area_mm2`` of tiles for the network."""

    target: str
    point: Point
    assumptions: tuple[tuple[str, str], ...] = ()
    area_mm2: float = 0.0


@dataclass(frozen=True)
class PeakScore:
    """A tile with every crossbar busy; a multiplication and an addition are two operations.

    ``error`` says why a point cannot be built, and then all else is 0.
    """

    gops_per_mm2: float = 0.0
    gops_per_watt: float = 0.0
    interval_steps: int = 0
    tile_mm2: float = 0.0
    tile_watt: float = 0.0
    weights_per_tile: int = 0
    error: str = ""


@dataclass(frozen=True)
class NetworkScore:
    """A network's program on a point, with a given area of tiles; energy is of what is done, without static power."""

    images_per_second: float = 0.0
    joules: float = 0.0
    tiles: int = 0
    chips: int = 0
    error: str = ""


def _target(task: PointTask) -> Target:
    return find_design(task.target).design(dict(task.point), dict(task.assumptions))


def peak_score(task: PointTask) -> PeakScore:
    """Peak of a point's tile: weights times two operations in every interval of its fastest flow."""
    try:
        target = _target(task)
    except PimcError as error:
        return PeakScore(error=_first_line(error))
    machine, flow = target.machine, _fastest(target)
    weights = _outputs(flow, machine) * machine.array.rows * machine.tile.arrays
    gops = 2 * weights / (flow.interval_cycles / machine.clock_hz) / 1e9
    tile = total(machine, "tile")
    watt = tile.power_mw / 1e3
    return PeakScore(gops / tile.area_mm2, gops / watt, flow.interval, tile.area_mm2, watt, weights)


def _fastest(target: Target) -> Flow:
    """The flow that multiplies most weights in a cycle."""
    return max(target.flows, key=lambda flow: _outputs(flow, target.machine) / flow.interval_cycles)


def _outputs(flow: Flow, machine: Machine) -> int:
    return outputs_per_array(flow.columns, machine.array)


@lru_cache(maxsize=1)
def _graph(model: bytes) -> Graph:
    from pimc.frontend import load_model

    return load_model(model)


def _variant(task: PointTask) -> Variant:
    return Variant(task.target, _target(task), without_values(find_target(task.target).passes()))


def least_area(task: PointTask, model: bytes) -> float:
    """Tile area in mm2 of the fewest tiles that hold one copy of a model; infinite for a point that cannot."""
    try:
        variant = _variant(task)
        return common_area(_graph(model), [variant])
    except PimcError:
        return float("inf")


def network_score(task: PointTask, model: bytes) -> NetworkScore:
    """Compile a model for a point and time its program."""
    try:
        variant = _variant(task)
        target = with_area(variant.target, task.area_mm2)
        compiled = emit(run_passes(_graph(model), variant.passes, target), target)
    except PimcError as error:
        return NetworkScore(error=_first_line(error))
    tiles = [t for t in compiled.program.tiles if t.kind == "tile"]
    return NetworkScore(
        images_per_second=compiled.program.machine.clock_hz / compiled.interval_cycles,
        joules=compiled.energy.joules,
        tiles=len(tiles),
        chips=1 + max(t.chip for t in tiles),
    )


def _first_line(error: PimcError) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
