"""Crossbars and busy time of ResNets whose layers are epitomes of one size, out of the compiler.

    python benchmarks/epitomes.py [--network resnet50] [--size 256] [--epitome 1024x256 ...] [--wraps] [--target isaac]
    python benchmarks/epitomes.py --bits 9 8 7 5 3 [--network resnet50] [--size 256] [--epitome 1024x256 ...]

Source: EPIM (arXiv 2311.07620) has a uniform variant whose layers share one epitome's shape (recalled). A test machine
makes counts that can be checked by hand: square crossbars, one column for a weight, no unit column. Every layer but the
first has weights whose blocks of a crossbar's size lie on those of its epitome in turn; the compiler folds those that
need fewer crossbars that way. No two channels are the same unless ``--wraps``: then what is the same is made once.
Prints one JSON line for each epitome: crossbars, and the cycles in which matrix units
work on one image (of every layer, its busiest tile), dense and folded.

With ``--bits``: crossbars of cells of 2 bits that hold weights of so many bits, sign included, as pairs of columns for
every slice of their magnitude. ``by_slices`` is EPIM's count (notes, 5.3), where each slice and each sign is on a
crossbar of its own: twice the slices times the crossbars of one column for a weight. The compiler puts a weight's
columns side by side: it needs more where they do not divide a crossbar's, fewer for layers with few outputs. Weights of
9 bits, the paper's widest, would take the four pairs of those of 8; nothing else is done with them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil

import numpy as np

from pimc.analysis.dataflow import Dataflow
from pimc.epitomes.codes import MOST, largest_code
from pimc.epitomes.epitome import reconstruct, tiled_index
from pimc.frontend import load_model
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import Pass
from pimc.passes.manager import run_passes
from pimc.passes.target import Target
from pimc.report.summary import arrays_of_one_copy
from pimc.targets import find_target
from pimc_backends import isaac_style
from pimc_backends.kit import ScheduledBackend, emit
from pimc_isa.engines.cycles import simulate
from pimc_isa.machine import Chip
from pimc_isa.program import Program
from pimc_models import zoo

__all__ = [
    "EPITOMES",
    "WIDTHS",
    "Counts",
    "counts",
    "crossbars",
    "lines",
    "narrowed",
    "paired_crossbars",
    "square_crossbars",
    "widths",
    "woven",
]

WIDTHS = (9, 8, 7, 5, 3)
EPITOMES = ((1024, 256), (512, 256), (256, 256))


@dataclass(frozen=True)
class Counts:
    """Crossbars of one copy, layers that are folded, and cycles of matrix units for one image."""

    arrays: int
    folded: int
    busy_cycles: int


def square_crossbars(size: int) -> ScheduledBackend:
    """A chip of ``size`` x ``size`` crossbars whose cells hold a whole weight, with room for any layer in a tile."""
    base = isaac_style.machine()
    array = replace(base.array, rows=size, columns=size, cell_bits=8, converter_bits=20, conversions_per_step=size)
    tile = replace(base.tile, arrays=256, memory_bytes=1 << 24)
    machine = replace(base, name=f"square{size}", array=array, tile=tile, chip=Chip(16, 16))
    return ScheduledBackend(machine.name, machine, Dataflow("A", cell_bits=8, encoding="plain"), "whole")


def paired_crossbars(size: int) -> ScheduledBackend:
    """The same of cells of 2 bits, for weights as sign and magnitude."""
    base = square_crossbars(size).machine()
    machine = replace(base, name=f"pairs{size}", array=replace(base.array, cell_bits=2), chip=Chip(32, 32))
    return ScheduledBackend(machine.name, machine, Dataflow("A", cell_bits=2, encoding="sides"), "pairs")


@cache
def _network(name: str) -> Graph:
    return load_model(zoo.build_int8(name).SerializeToString())


def woven(name: str, stored: tuple[int, int], tile: tuple[int, int], *, wraps: bool = False) -> Graph:
    """The network; every layer but the first is an epitome of so many rows and columns, in blocks of ``tile``."""
    graph = _network(name).copy()
    _, *layers = graph.of(Conv)
    for number, op in enumerate(layers):
        shape = graph.constants[op.weights].shape
        index = tiled_index((shape[0], shape[1], shape[2], shape[3]), stored, tile, wraps=wraps)
        epitome = np.random.default_rng(number).integers(-127, 128, stored).astype(np.int8)
        names = f"{op.name}.e", f"{op.name}.e.index"
        graph.constants |= {op.weights: reconstruct(epitome, index), names[0]: epitome, names[1]: index}
        graph.update(replace(op, epitome=names[0], index=names[1]))
    return graph


def counts(graph: Graph, target: Target, passes: Sequence[Pass]) -> Counts:
    """Of a network compiled for a target."""
    done = run_passes(graph, passes, target)
    program = emit(done, target)
    return Counts(arrays_of_one_copy(program), sum(op.rounds is not None for op in done.of(Conv)), _busy(program))


def narrowed(graph: Graph, bits: int) -> Graph:
    """The graph with random codes of so many bits (at most 8) in place of its own; epitomes keep their index."""
    graph, bits = graph.copy(), min(bits, MOST)
    top = largest_code(bits)
    for number, op in enumerate(list(graph.of(Conv))):
        held = graph.constants[op.epitome or op.weights]
        codes = np.random.default_rng(number).integers(-top, top + 1, held.shape).astype(np.int8)
        graph.constants[op.epitome or op.weights] = codes
        if op.index is not None:
            graph.constants[op.weights] = reconstruct(codes, graph.constants[op.index])
        graph.update(replace(op, bits=bits))
    return graph


def crossbars(graph: Graph, target: Target, passes: Sequence[Pass]) -> int:
    """Crossbars of one copy of a network, as it is cut for a target."""
    last = next(n for n, step in enumerate(passes) if step.to_stage == "mapped")
    done = run_passes(graph, passes[: last + 1], target)
    return sum(op.mapping.arrays for op in done.of(Conv) if op.mapping is not None)


def widths(network: str, size: int, bits: Sequence[int], epitomes: Sequence[tuple[int, int]]) -> Iterator[str]:
    """A line for each shape of epitomes and each width."""
    whole, pairs = square_crossbars(size), paired_crossbars(size)
    for shape in (None, *epitomes):
        graph = _network(network) if shape is None else woven(network, shape, (size, size))
        single = crossbars(graph, whole.target(replication="none"), whole.passes())
        for width in bits:
            target = pairs.target(replication="none")
            arrays = crossbars(narrowed(graph, width), target, pairs.passes())
            slices = ceil((width - 1) / target.machine.array.cell_bits)
            name = "dense" if shape is None else f"{shape[0]}x{shape[1]}"
            line = {"network": network, "size": size, "epitome": name, "bits": width, "pairs": slices}
            yield json.dumps({**line, "arrays": arrays, "by_slices": 2 * slices * single})


def _busy(program: Program) -> int:
    """Cycles of matrix units for one image, of every layer those of its busiest tile."""
    layers: dict[str, int] = {}
    names = {tile.number: tile.name for tile in program.tiles}
    for (tile, unit), cycles in simulate(program, 1).unit_busy.items():
        if unit.startswith("matrix"):
            layers[names[tile]] = max(layers.get(names[tile], 0), cycles)
    return sum(layers.values())


def lines(network: str, size: int, name: str, epitomes: Sequence[tuple[int, int]], *, wraps: bool) -> Iterator[str]:
    """What is printed: dense, then for each epitome; ``name`` of a target, '' for the test machine."""
    backend = find_target(name) if name else square_crossbars(size)
    target, passes = backend.target(replication="none"), backend.passes()
    dense = counts(_network(network), target, passes)
    flow = target.flow[target.conv_flow]
    tile = target.machine.array.rows, target.machine.array.columns // flow.columns
    yield json.dumps({"network": network, "size": tile[0], "epitome": "dense", "arrays": dense.arrays})
    for p, q in epitomes:
        made = counts(woven(network, (p, q), tile, wraps=wraps), target, passes)
        line = {"network": network, "size": tile[0], "epitome": f"{p}x{q}", "arrays": made.arrays}
        yield json.dumps({**line, "folded": made.folded, "busy": round(made.busy_cycles / dense.busy_cycles, 3)})


def main() -> None:
    """Compile and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50", choices=("resnet50", "resnet101"))
    parser.add_argument("--size", type=int, default=256, help="rows and columns of the test machine's crossbars")
    parser.add_argument("--epitome", nargs="+", default=[f"{p}x{q}" for p, q in EPITOMES], help="rows x columns")
    parser.add_argument("--wraps", action="store_true", help="let channels be the same")
    parser.add_argument("--target", default="", help="a target in place of the test machine")
    parser.add_argument("--bits", type=int, nargs="*", help=f"widths of weights (default: {WIDTHS})")
    args = parser.parse_args()
    epitomes = [(int(p), int(q)) for p, q in (text.split("x") for text in args.epitome)]
    if args.bits is not None:
        for line in widths(args.network, args.size, args.bits or WIDTHS, epitomes):
            print(line, flush=True)
        return
    for line in lines(args.network, args.size, args.target, epitomes, wraps=args.wraps):
        print(line, flush=True)


if __name__ == "__main__":
    main()
