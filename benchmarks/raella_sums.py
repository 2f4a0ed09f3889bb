"""How many column sums a 7-bit converter holds, along RAELLA's ablation, on networks with trained weights.

    python benchmarks/raella_sums.py [--networks lite0,opennsfw] [--windows 128] [--write]

A column sum is that of one conversion: one input slice, one weight slice, one row block; it is held where it lies in
-64..63. Shares are weighted by each layer's conversions. Inputs are those of an ideal chip, from calibration images;
slicings are the ones that pass choose-slices takes. Convolutions with a channel in each group are told apart. A few
minutes of one core for a network. ``--write`` puts the table into docs/claims/raella-accuracy.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from page_sections import put_section
from raella_networks import NETWORKS, Trained

from pimc import driver
from pimc.analysis.calibrate import gemm_matrix, watched
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.choose_flows import flow_of
from pimc.passes.slice_weights import centres_of
from pimc.passes.target import Target
from pimc_backends import raella
from pimc_isa.crossbar.cells import row_blocks, slice_shifts

Array = np.ndarray
PAGE = Path(__file__).parents[1] / "docs" / "claims" / "raella-accuracy.md"
LOWEST, HIGHEST, WHOLE, BITS = -64, 63, (4, 4), (1,) * 8
PAPER = (2.2, 59.2, 82.1, 98.0, 99.9)


@dataclass(frozen=True)
class Stage:
    """A row of the ablation: centres or unsigned codes, slices of weights (None: those chosen) and of inputs."""

    name: str
    centred: bool
    weights: tuple[int, ...] | None
    inputs: tuple[int, ...]


#: Slices with the low bits first.
STAGES = (
    Stage("unsigned codes, 4-bit slices of weights and inputs", False, WHOLE, WHOLE),
    Stage("+ centre and offset", True, WHOLE, WHOLE),
    Stage("+ adaptive slices of weights", True, None, WHOLE),
    Stage("+ inputs in slices of 4, 2, 2 bits (speculation)", True, None, (2, 2, 4)),
    Stage("inputs bit by bit (recovery)", True, None, BITS),
)


def fields(codes: Array, slices: tuple[int, ...]) -> Iterator[Array]:
    """Each slice of signed magnitudes, with their sign."""
    for low, width in zip(slice_shifts(slices), slices, strict=True):
        yield (np.sign(codes) * (np.abs(codes) >> low & (1 << width) - 1)).astype(np.float32)


def held(vectors: Array, matrix: Array, centres: Array, slices: tuple[int, ...], inputs: tuple[int, ...]) -> float:
    """Share of the column sums that a converter holds, of windows u8 [m, groups, k] and weights [groups, k, n]."""
    found = total = 0
    for block, rows in row_blocks(matrix.shape[1], raella.machine().array.rows):
        x = vectors[:, :, rows].transpose(1, 0, 2).astype(np.int64)
        own = matrix[:, rows].astype(np.int64) - centres[:, block, None]
        for a in fields(x, inputs):
            for w in fields(own, slices):
                sums = np.matmul(a, w)
                found += int(((sums >= LOWEST) & (sums <= HIGHEST)).sum())
                total += sums.size
    return found / total


def shares(graph: Graph, target: Target, windows: int) -> dict[bool, list[float]]:
    """Per cent of the sums that are held, by stage; of depthwise layers (True) and of the others."""
    seen = watched(graph, graph.calibration, target.machine.array.rows)
    sums = {kind: np.zeros((len(STAGES), 2)) for kind in (False, True)}
    for op in graph.of(Conv):
        print(op.name, file=sys.stderr, flush=True)
        vectors = seen[op.name]
        some = vectors[:: max(1, len(vectors) // windows)][:windows]
        for n, stage in enumerate(STAGES):
            share, weight = of_layer(graph, op, target, some, stage)
            sums[op.groups > 1][n] += share * weight, weight
    return {kind: [100 * a / b if b else math.nan for a, b in table] for kind, table in sums.items()}


def of_layer(graph: Graph, op: Conv, target: Target, windows: Array, stage: Stage) -> tuple[float, float]:
    """A layer's share in a stage, and its conversions for an image."""
    matrix, rows = gemm_matrix(graph.constants[op.weights], op.groups), target.machine.array.rows
    slices = stage.weights or flow_of(graph, op, target).slices
    blocks = -(-matrix.shape[1] // rows)
    if stage.centred:
        centres = centres_of(matrix, slices, rows, target.centre)
    else:
        centres = np.full((matrix.shape[0], blocks, matrix.shape[2]), -128)
    conversions = math.prod(op.shape) * blocks * len(slices) * len(stage.inputs)
    return held(windows, matrix, centres, slices, stage.inputs), conversions


def lowered(network: Trained) -> tuple[Graph, Target]:
    """The network with its slices chosen."""
    target = raella.target()
    first = raella.passes()[:2]
    return driver.lower(network.model, target, first, calibration=network.calibration), target


def table(found: dict[str, dict[bool, list[float]]]) -> Iterator[str]:
    """The rows of the page."""
    names = [(network, kind) for network, kinds in found.items() for kind in (False, True)]
    names = [(network, kind) for network, kind in names if not math.isnan(found[network][kind][0])]
    titles = [f"{network}, depthwise" if kind else network for network, kind in names]
    yield "| share of column sums in -64..63, per cent | " + " | ".join(titles) + " | paper, ResNet-18 |"
    yield "| --- |" + " --- |" * (len(titles) + 1)
    for n, (stage, paper) in enumerate(zip(STAGES, PAPER, strict=True)):
        figures = [f"{found[network][kind][n]:.2f}" for network, kind in names]
        yield f"| {stage.name} | {' | '.join(figures)} | {paper} |"


def main() -> None:
    """Measure and print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="lite0,opennsfw")
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for name in given.networks.split(","):
        graph, target = lowered(NETWORKS[name]())
        found[name] = shares(graph, target, given.windows)
    text = "\n".join(table(found))
    if given.write:
        put_section(PAGE, "sums", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
