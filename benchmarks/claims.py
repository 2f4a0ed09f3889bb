"""Neural-PIM's comparison with ISAAC-style and CASCADE-style chips, counted from compiled programs.

    python benchmarks/claims.py [--measure [NETWORK ...]] [--jobs N]

Writes docs/claims/neural-pim.md from docs/claims/neural-pim.json. ``--measure`` first compiles and times the networks
named (or all) for every chip and renews their counts in the JSON file: about a quarter of an hour on two cores. Programs
have seeded weights: counts and times depend on shapes only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import claims_page

from pimc.comparison.area import tile_area, with_area
from pimc.comparison.variant import without_values
from pimc.driver import emit, plan
from pimc.frontend import load_model
from pimc.ir.graph import Graph
from pimc.passes.base import Pass
from pimc.passes.manager import run_passes
from pimc.passes.target import Target
from pimc.report.summary import summary
from pimc_models import zoo

DATA = Path(__file__).parents[1] / "docs" / "claims" / "neural-pim.json"

NETWORKS = ("alexnet", "vgg16", "vgg19", "resnet50", "resnet101", "inception_v3", "googlenet", "mobilenet_v2")

#: Area of the tiles of one chip of the paper in mm2.
CHIP_MM2 = 63.5


@dataclass(frozen=True)
class Chip:
    """A target with options; ``window`` lengthens the interval between positions to that many steps."""

    target: str
    options: dict[str, Any] = field(default_factory=dict)
    window: int | None = None


#: Every chip that programs are compiled for, by the name it has on the page.
CHIPS = {
    "neural-pim": Chip("neural-pim"),
    "neural-pim, window 2": Chip("neural-pim", {"held_copies": 2}),
    "isaac-style": Chip("isaac-style", {"encoder": "differential"}),
    "isaac-style, window 9": Chip("isaac-style", {"encoder": "differential"}, 9),
    "isaac-style, window 10": Chip("isaac-style", {"encoder": "differential"}, 10),
    "isaac-style, flipped": Chip("isaac-style"),
    "cascade": Chip("cascade", {"encoder": "differential"}),
    "cascade, window 9": Chip("cascade", {"encoder": "differential"}, 9),
    "cascade, 50 ns": Chip("cascade", {"encoder": "differential", "cycle_ns": 50}),
    "cascade, 15 conversions": Chip("cascade", {"encoder": "differential", "summed_columns": 1}),
    "cascade, flipped": Chip("cascade"),
}


def target_of(chip: Chip) -> tuple[Target, tuple[Pass, ...]]:
    """The target and passes of a chip."""
    target, passes = plan(chip.target, **chip.options)
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
    return max(_needed(network, chip) for chip in CHIPS.values())


def _needed(network: str, chip: Chip) -> int:
    target, passes = target_of(chip)
    alone = replace(target, replication="none")
    mapped = run_passes(graph_of(network), passes, alone, stop_after="map-weights")
    tiles = sum(
        len(op.mapping.strips) * len(op.mapping.parts) * len(op.mapping.chain)
        for op in mapped.ops()
        if op.mapping is not None
    )
    return -(-tiles // int(CHIP_MM2 / tile_area(target.machine) + 1e-6))


def measure(task: tuple[str, str, int]) -> dict[str, Any]:
    """Compile and time a network for one chip; the result is what the page is made of."""
    network, name, count = task
    chosen, passes = target_of(CHIPS[name])
    target = with_area(chosen, count * CHIP_MM2)
    compiled = emit(run_passes(graph_of(network), passes, target), target)
    found = summary(compiled.program)
    return {
        "area_mm2": count * CHIP_MM2,
        "tiles_allowed": target.tiles,
        **{key: found[key] for key in ("tiles", "chips", "arrays", "arrays_one_copy")},
        "interval_cycles": compiled.interval_cycles,
        "actions": {action: round(n, 3) for action, n in sorted(compiled.energy.actions.items()) if n},
    }


def renew(networks: Sequence[str], jobs: int, data: dict[str, Any]) -> None:
    """Measure networks and put the counts into ``data``."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        needs = list(pool.map(chips_needed, networks))
        tasks = [(network, name, count) for network, count in zip(networks, needs, strict=True) for name in CHIPS]
        for (network, name, _), found in zip(tasks, pool.map(measure, tasks), strict=True):
            data.setdefault(network, {})[name] = found
            print(f"{network}: {name}: {found['interval_cycles']} cycles, {found['tiles']} tiles", flush=True)


def main() -> None:
    """Measure where asked, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", metavar="NETWORK", choices=[*NETWORKS, []])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data", type=Path, default=DATA)
    args = parser.parse_args()
    data = json.loads(args.data.read_text()) if args.data.exists() else {}
    if args.measure is not None:
        renew(args.measure or NETWORKS, args.jobs, data)
        ordered = {network: data[network] for network in NETWORKS if network in data}
        args.data.parent.mkdir(parents=True, exist_ok=True)
        args.data.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
        data = ordered
    args.data.with_suffix(".md").write_text(claims_page.page(data), encoding="utf-8")


if __name__ == "__main__":
    main()
