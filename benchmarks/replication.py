"""What replication rules are worth: cycles between images, from the cycles engine, at a fixed number of tiles.

    python benchmarks/replication.py [--network resnet18] [--mesh 8x8]

Prints one JSON line for each rule, with the step model's estimate beside the measured interval.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import replace

from pimc.driver import lower
from pimc.passes.target import REPLICATIONS
from pimc.targets import find_target
from pimc_isa.engines.cycles import simulate
from pimc_isa.machine import Chip
from pimc_models import zoo


def main() -> None:
    """Compile with every rule and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet18", choices=sorted(zoo.TOPOLOGIES))
    parser.add_argument("--mesh", default="8x8", help="columns x rows of one chip's tiles")
    args = parser.parse_args()
    columns, rows = (int(n) for n in args.mesh.split("x"))
    backend = find_target("isaac")
    warnings.simplefilter("ignore")  # made-up calibration data does not change timing
    model, best = zoo.build(args.network), 0
    for rule in REPLICATIONS:
        target = backend.target(replication=rule)
        target = replace(target, machine=replace(target.machine, chip=Chip(columns, rows)))
        graph = lower(model, target, backend.passes())
        program = backend.emit(graph, target)
        interval = simulate(program, images=4).interval_cycles
        best = best or interval
        estimate = int(graph.meta["expected_interval_cycles"])
        tiles = len(program.tiles) - 1
        line = {"rule": rule, "tiles": tiles, "chips": int(graph.meta["chips"]), "estimate_cycles": estimate}
        print(
            json.dumps({**line, "interval_cycles": interval, "times_balanced": round(interval / best, 2)}), flush=True
        )


if __name__ == "__main__":
    main()
