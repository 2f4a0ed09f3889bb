"""Neural-PIM's comparison with ISAAC-style and CASCADE-style chips, counted from compiled programs.

    python benchmarks/claims.py [--measure [NETWORK ...]] [--jobs N]

Writes docs/claims/neural-pim.md from docs/claims/neural-pim.json. ``--measure`` first compiles and times the networks
named (or all) and renews their counts in the JSON file: about twenty minutes of one core. Programs have seeded weights:
counts and times depend on shapes only. The three chips are measured on every network, their variants on `VARIED`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import claims_page

from pimc.analysis.replicate import MappingError
from pimc.comparison.area import with_area
from pimc.comparison.variant import without_values
from pimc.driver import choose
from pimc.explore import explore
from pimc.explore.figure import figure
from pimc.frontend import load_model
from pimc.ir.graph import Graph
from pimc.passes.base import Pass
from pimc.passes.manager import run_passes
from pimc.passes.map_weights import relayed_plan, resources
from pimc.passes.target import Target
from pimc.targets import find_target
from pimc_isa.crossbar.footprint import group_arrays
from pimc_isa.energy import program_energy
from pimc_isa.engines.cycles import simulate
from pimc_models import zoo

DATA = Path(__file__).parents[1] / "docs" / "claims" / "neural-pim.json"

NETWORKS = ("alexnet", "vgg16", "vgg19", "resnet50", "resnet101", "inception_v3", "googlenet", "mobilenet_v2")

#: Networks that the variants are measured on: none needs many chips, all kinds of layers occur.
VARIED = ("googlenet", "mobilenet_v2", "resnet50", "inception_v3")

#: The network of the design space: small enough for one chip of the smallest arrays.
SPACE_NETWORK = "squeezenet1_1"

#: Area of the tiles of one chip of the paper in mm2.
CHIP_MM2 = 63.5


@dataclass(frozen=True)
class Chip:
    """A target with options.

    ``window`` lengthens the interval between positions to that many steps; ``area`` multiplies the area.
    """

    target: str
    options: dict[str, Any] = field(default_factory=dict)
    window: int | None = None
    area: int = 1


#: The chips compared; the others are variants of theirs.
MAIN = ("neural-pim", "isaac-style", "cascade")

#: Every chip that programs are compiled for, by the name it has on the page.
CHIPS = {
    "neural-pim": Chip("neural-pim", {"centre": "off"}),
    "neural-pim, window 2": Chip("neural-pim", {"centre": "off", "held_copies": 2}),
    "isaac-style": Chip("isaac-style", {"encoder": "differential"}),
    "isaac-style, window 9": Chip("isaac-style", {"encoder": "differential"}, 9),
    "isaac-style, window 10": Chip("isaac-style", {"encoder": "differential"}, 10),
    "isaac-style, flipped": Chip("isaac-style"),
    "cascade": Chip("cascade", {"encoder": "differential"}),
    "cascade, window 9": Chip("cascade", {"encoder": "differential"}, 9),
    "cascade, 50 ns": Chip("cascade", {"encoder": "differential", "cycle_ns": 50}),
    "cascade, 15 conversions": Chip("cascade", {"encoder": "differential", "summed_columns": 1}),
    "cascade, flipped": Chip("cascade"),
    "neural-pim, twice the area": Chip("neural-pim", {"centre": "off"}, area=2),
    "isaac-style, twice the area": Chip("isaac-style", {"encoder": "differential"}, area=2),
    "cascade, twice the area": Chip("cascade", {"encoder": "differential"}, area=2),
}


def target_of(chip: Chip) -> tuple[Target, tuple[Pass, ...]]:
    """The target and passes of a chip."""
    target, passes = choose(chip.target, **chip.options)
    if chip.window is not None:
        flows = tuple(replace(f, interval=chip.window) for f in target.flows)
        target = replace(target, flows=flows)
    return target, without_values(passes)


@cache
def graph_of(network: str) -> Graph:
    """A network's graph; one at a time is in memory."""
    return load_model(zoo.build_int8(network))


def chips_needed(network: str) -> int:
    """Chips of 63.5 mm2 of tiles with which every chip compared holds one copy of the network."""
    return max(_needed(network, CHIPS[name]) for name in MAIN)


def _needed(network: str, chip: Chip) -> int:
    target, passes = target_of(chip)
    for count in itertools.count(1):
        alone = replace(with_area(target, count * CHIP_MM2), replication="none")
        try:
            run_passes(graph_of(network), passes, alone, stop_after="map-weights")
        except MappingError:
            continue
        return count
    raise AssertionError


def measure(task: tuple[str, str, int]) -> dict[str, Any]:
    """Compile and time a network for one chip; the result is what the page is made of."""
    network, name, count = task
    chosen, passes = target_of(CHIPS[name])
    area = count * CHIPS[name].area * CHIP_MM2
    target = with_area(chosen, area)
    program = find_target(target.name).emit(run_passes(graph_of(network), passes, target), target)
    tiles = [tile for tile in program.tiles if tile.kind == "tile"]
    actions = program_energy(program).actions
    return {
        "area_mm2": area,
        "tiles_allowed": target.tiles,
        "tiles": len(tiles),
        "chips": 1 + max(tile.chip for tile in tiles),
        "arrays": sum(group_arrays(program, group) for tile in tiles for group in tile.groups),
        "interval_cycles": simulate(program, images=3).interval_cycles,
        "actions": {action: round(n, 3) for action, n in sorted(actions.items()) if n},
    }


def plan_cycles(task: tuple[str, str, int]) -> int:
    """Cycles between images by the mapper's step model on the same area, with links that are never the limit."""
    network, name, count = task
    chosen, passes = target_of(CHIPS[name])
    wide = replace(chosen.machine.network, link_bytes_per_cycle=1 << 16)
    target = with_area(
        replace(chosen, machine=replace(chosen.machine, network=wide)), count * CHIPS[name].area * CHIP_MM2
    )
    graph = run_passes(graph_of(network), passes, target, stop_after="choose-flows")
    return relayed_plan(graph, resources(graph, target), "balanced").interval_cycles


def renew(networks: Sequence[str], jobs: int, path: Path, missing: bool) -> None:
    """Measure networks (or what is missing of them) and put the counts into the JSON file as they come."""
    data = read(path)
    programs, plans = data["programs"], data["plans"]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        needs = dict(zip(networks, pool.map(chips_needed, networks), strict=True))
        planned = [(network, name, needs[network]) for network in networks for name in CHIPS]
        for (network, name, _), cycles in zip(planned, pool.map(plan_cycles, planned), strict=True):
            plans.setdefault(network, {})[name] = cycles
            print(f"{network}: {name}: planned {cycles} cycles", flush=True)
        write(path, data)
        tasks = [(network, name, needs[network]) for network in networks for name in MAIN]
        tasks += [(network, name, needs[network]) for network in networks if network in VARIED for name in CHIPS]
        tasks = [t for t in dict.fromkeys(tasks) if not (missing and t[1] in programs.get(t[0], {}))]
        for (network, name, _), found in zip(tasks, pool.map(measure, tasks), strict=True):
            programs.setdefault(network, {})[name] = found
            write(path, data)
            print(f"{network}: {name}: {found['interval_cycles']} cycles, {found['tiles']} tiles", flush=True)


def scores(jobs: int) -> dict[str, Any]:
    """A network's program for every point of the paper's grid, all on the same area."""
    model = zoo.build_int8(SPACE_NETWORK).SerializeToString(deterministic=True)
    found = explore("neural-pim", claims_page.GRID, model=model, network=SPACE_NETWORK, jobs=jobs, progress=print)
    points = {found.name(s.point): asdict(s.network) for s in found.points if s.network}
    return {"network": found.network, "area_mm2": found.area_mm2, "points": points}


def read(path: Path) -> dict[str, Any]:
    """The counts so far."""
    data: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"programs": {}, "plans": {}}
    return data


def write(path: Path, data: dict[str, Any]) -> None:
    """The counts, in the order of the tables above."""
    ordered = {
        part: {n: {c: data[part][n][c] for c in CHIPS if c in data[part][n]} for n in NETWORKS if n in data[part]}
        for part in ("programs", "plans")
    } | {part: found for part, found in data.items() if part == "space"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure where asked, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", metavar="NETWORK", default=None)
    parser.add_argument("--space", action="store_true", help="compile a network for the design space's points")
    parser.add_argument("--missing", action="store_true", help="measure only what the JSON file does not have")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data", type=Path, default=DATA)
    args = parser.parse_args()
    if args.measure is not None:
        renew(args.measure or NETWORKS, args.jobs, args.data, args.missing)
    if args.space:
        write(args.data, read(args.data) | {"space": scores(args.jobs)})
    found = read(args.data)
    args.data.with_suffix(".md").write_text(claims_page.page(found), encoding="utf-8")
    drawing = figure(claims_page.space(found.get("space", {})))
    args.data.with_name(f"{args.data.stem}-space.svg").write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main()
