"""RAELLA without retraining: trained int8 networks on its 7-bit converters, against onnxruntime int8.

    python benchmarks/raella_accuracy.py [--networks fashion,lite0] [--images 0] [--write]

Every row is one program, compiled with slices by error and run with all its conversions; conversions a multiplication
are those that the run counted. Zero + offset keeps the slices that the first row chose. ``--images`` takes the first
so many of each network's (0: all). ``--write`` puts the tables into docs/claims/raella-accuracy.md.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from page_sections import put_section
from raella_networks import NETWORKS, Trained

from pimc import driver
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.choose_flows import flow_of
from pimc.passes.manager import run_passes
from pimc_backends import raella

Array = np.ndarray
PAGE = Path(__file__).parents[1] / "docs" / "claims" / "raella-accuracy.md"
BATCH = 16


@dataclass(frozen=True)
class Case:
    """One row: options of the target; ``same``: with the slices of the first row."""

    name: str
    options: dict[str, Any]
    same: bool = False


CASES = (
    Case("centre + offset, speculation", {"signed": "off"}),
    Case("zero + offset, speculation, same slices", {"centre": "zero", "signed": "off"}, same=True),
    Case("centre + offset, bit by bit", {"speculation": "off", "signed": "off"}),
    Case("centre + offset, inputs driven as suits each layer", {}, same=True),
)


def lowered(network: Trained, case: Case, flows: dict[str, str]) -> tuple[Graph, Any]:
    """The network's graph, mapped; ``flows`` of the first row are kept where the case says so, else written down."""
    target = raella.target(**case.options)
    steps = raella.passes()
    flowed, others = steps[:2], steps[2:]
    graph = driver.lower(network.model, target, flowed, calibration=network.calibration)
    for op in list(graph.of(Conv)):
        if case.same:
            graph.update(replace(op, flow=flows[op.name]))
        else:
            flows.setdefault(op.name, flow_of(graph, op, target).name)
    return run_passes(graph, others, target), target


def ratios(graph: Graph, target: Any) -> tuple[int, float]:
    """Multiplications of an image, and slices of the weights, as a mean over them."""
    macs = {op.name: math.prod(op.shape[:2]) * graph.constants[op.weights].size for op in graph.of(Conv)}
    slices = sum(macs[op.name] * len(flow_of(graph, op, target).slices) for op in graph.of(Conv))
    return sum(macs.values()), slices / sum(macs.values())


def run(program: driver.CompiledProgram, x: Array) -> tuple[Array, float, float]:
    """The only output of all images, and conversions and joules of an image."""
    ran = program.run({program.program.inputs[0].name: x}, batch=BATCH)
    (y,) = ran.outputs.values()
    return y, ran.energy.actions["adc_conversion"], ran.energy.joules


def row(name: str, network: Trained, y: Array, figures: list[str]) -> str:
    """One line of a table."""
    reference = network.reference[: len(y)]
    ours, theirs = network.right(y), network.right(reference)
    lost, won = int((theirs & ~ours).sum()), int((~theirs & ours).sum())
    same = int((y.argmax(1) == reference.argmax(1)).sum())
    far = float(np.abs(y - reference).max())
    return f"| {name} | {int(ours.sum())} | {lost} / {won} | {same} | {far:.3g} | {' | '.join(figures)} |"


def table(name: str, network: Trained) -> Iterator[str]:
    """The table of one network."""
    yield f"### {name}, {len(network.x)} images"
    yield ""
    yield "| | right | lost / won | same class | largest difference | conversions / MAC | slices, mean | mJ |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    yield row("onnxruntime int8", network, network.reference, ["-"] * 3)
    flows: dict[str, str] = {}
    for case in CASES:
        begin = time.perf_counter()
        graph, target = lowered(network, case, flows)
        macs, slices = ratios(graph, target)
        y, conversions, joules = run(driver.CompiledProgram(raella.emit(graph, target)), network.x)
        yield row(case.name, network, y, [f"{conversions / macs:.4f}", f"{slices:.2f}", f"{1e3 * joules:.4f}"])
        print(f"{name}: {case.name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    yield ""


def main() -> None:
    """Measure and print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in given.networks.split(","):
        network = NETWORKS[name]()
        some = slice(given.images or None)
        text = "\n".join(table(name, replace(network, x=network.x[some], reference=network.reference[some])))
        if given.write:
            put_section(PAGE, name, text)
        else:
            print(text, flush=True)


if __name__ == "__main__":
    main()
