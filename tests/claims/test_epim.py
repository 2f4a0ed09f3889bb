"""EPIM's uniform epitomes: crossbars and busy time out of the compiler, on crossbars that can be counted by hand.

Claims, derived (the paper's own table could not be had): a layer of ceil(R / S) * ceil(C / S) blocks on a folded
epitome of p x q takes p * q / S^2 crossbars of S x S, and ceil(blocks / crossbars) rounds. So do ResNet-50's and -101's
classifier and all convolutions but the first, where there are more blocks than crossbars; positions are weighed by the
rounds, relative to dense. W[128, 192, 3, 3] from E[96, 96, 3, 3]: 21 crossbars on isaac.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from math import ceil, prod
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import pimc_backends.isaac as isaac
from pimc.epitomes.epitome import Sampler, tiled_index
from pimc.ir.evaluate import evaluate
from pimc.ir.ops import Conv
from pimc.passes.manager import run_passes
from pimc.report.summary import arrays_of_one_copy
from pimc_backends.kit import emit
from pimc_isa.check import check
from pimc_isa.crossbar.footprint import group_arrays
from pimc_isa.energy import program_counts
from pimc_isa.engines.values import Executor
from tests.properties.epitome_nets import attach
from tests.unit.passes.graphs import Net

ROOT = Path(__file__).parents[2]
SHAPES = ((1024, 256), (512, 256), (256, 256))
CLAIMED = {
    ("resnet50", 256): (422, (168, 99, 54), (1.13, 1.47, 2.10)),
    ("resnet50", 128): (1576, (576, 340, 197), (1.08, 1.26, 1.75)),
    ("resnet101", 256): (711, (372, 201, 105), (1.21, 1.68, 2.60)),
    ("resnet101", 128): (2732, (1392, 748, 401), (1.16, 1.51, 2.30)),
}


@pytest.fixture(scope="module")
def epitomes() -> Iterator[ModuleType]:
    """The script that counts."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("epitomes")
    sys.path.remove(str(ROOT / "benchmarks"))


def by_hand(layers: list[tuple[int, int, int]], size: int, stored: tuple[int, int]) -> tuple[int, int]:
    """Crossbars, and positions times rounds, of layers of (rows, outputs, positions)."""
    arrays = rounds = 0
    crossbars = prod(stored) // size**2
    for number, (rows, outputs, positions) in enumerate(layers):
        blocks = ceil(rows / size) * ceil(outputs / size)
        folds = number > 0 and blocks > crossbars
        arrays += crossbars if folds else blocks
        rounds += positions * (ceil(blocks / crossbars) if folds else 1)
    return arrays, rounds


def shown(epitomes: ModuleType, network: str, size: int, stored: tuple[int, int] | None) -> tuple[int, int]:
    """Crossbars and cycles out of the compiler."""
    backend = epitomes.square_crossbars(size)
    graph = epitomes.woven(network, stored or (size, size), (size, size))
    if stored is None:
        for op in list(graph.of(Conv)):
            graph.update(replace(op, epitome=None, index=None))
    made = epitomes.counts(graph, backend.target(replication="none"), backend.passes())
    return made.arrays, made.busy_cycles


def test_resnet50_on_crossbars_of_256(epitomes: ModuleType) -> None:
    """422 crossbars dense, 168 folded, and 1.13 times the positions."""
    dense, folded = shown(epitomes, "resnet50", 256, None), shown(epitomes, "resnet50", 256, (1024, 256))
    assert (dense[0], folded[0]) == (422, 168)
    assert folded[1] / dense[1] == pytest.approx(1.13, abs=0.005)
    graph = epitomes.woven("resnet50", (256, 256), (256, 256))
    held = [(op, graph.constants[op.weights]) for op in graph.of(Conv)]
    layers = [(w[0].size, len(w), op.shape[0] * op.shape[1]) for op, w in held]
    assert by_hand(layers, 256, (1024, 256))[0] == 168
    hand = by_hand(layers, 256, (1024, 256))[1] / sum(positions for *_, positions in layers)
    assert folded[1] / dense[1] == pytest.approx(hand, rel=1e-9)


def test_an_aligned_epitome_costs_the_cells_and_conversions_of_the_dense_layer(epitomes: ModuleType) -> None:
    """Every weight is used once either way; rounds are paid in inputs read again and in sums read, added and written.

    96 channels of 576 weights on a crossbar of 64 x 64 in turn: every channel is made in 9 rounds.
    """
    backend = epitomes.square_crossbars(64)
    target, counted = backend.target(replication="none"), []
    for stored in (None, (64, 64)):
        net = Net((4, 4, 64), 1)
        name = net.conv(net.x, 96)
        graph = net.finish(name)
        if stored:
            attach(graph, name, tiled_index((96, 3, 3, 64), stored, stored, wraps=False), stored)
        program = emit(run_passes(graph, backend.passes(), target), target)
        counted.append(program_counts(program, 1).layers[name])
    dense, folded = counted
    for action in ("cell_read", "dac_drive", "adc_conversion", "shift_add", "input_count"):
        assert folded[action] == dense[action] > 0, action
    positions, again = 16, 9 - 1
    assert folded["merge_add"] - dense["merge_add"] == positions * again * 96
    inputs, sums = 2 * 9 * 64 - 9 * 64, 2 * again * 4 * 96
    assert folded["memory_byte"] - dense["memory_byte"] == positions * (inputs + sums)


def test_crossbars_by_bits(epitomes: ModuleType) -> None:
    """Pairs of columns for each slice: 4, 4, 3, 2 and 1 for weights of 9, 8, 7, 5 and 3 bits; folds as before."""
    lines = [json.loads(line) for line in epitomes.widths("resnet50", 256, epitomes.WIDTHS, [(1024, 256)])]
    assert [line["pairs"] for line in lines] == [4, 4, 3, 2, 1] * 2
    assert [line["by_slices"] for line in lines] == [
        *(2 * pairs * 422 for pairs in (4, 4, 3, 2, 1)),
        *(2 * pairs * 168 for pairs in (4, 4, 3, 2, 1)),
    ]
    graph = epitomes.woven("resnet50", (256, 256), (256, 256))
    shapes = [graph.constants[op.weights].shape for op in graph.of(Conv)]
    for line in lines[:5]:
        across = 256 // (2 * line["pairs"])
        assert line["arrays"] == sum(ceil(prod(s[1:]) / 256) * ceil(s[0] / across) for s in shapes)
    assert [line["arrays"] for line in lines[5:]] == [1190, 1190, 1035, 595, 304]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "size"), CLAIMED)
def test_resnets(epitomes: ModuleType, network: str, size: int) -> None:
    arrays, folded, busy = CLAIMED[network, size]
    dense = shown(epitomes, network, size, None)
    made = [shown(epitomes, network, size, shape) for shape in SHAPES]
    assert dense[0] == arrays
    assert tuple(each[0] for each in made) == folded
    assert [each[1] / dense[1] for each in made] == pytest.approx(busy, abs=0.005)


def test_a_layer_on_isaac() -> None:
    """21 crossbars of 128 x 128 in place of 56, and the same results."""
    net = Net((3, 3, 192), 1)
    name = net.conv(net.x, 128)
    graph, target = net.finish(name), isaac.target(replication="none")
    sampler = Sampler.evenly((128, 3, 3, 192), (96, 3, 3, 96), (64, 64))
    attach(graph, name, sampler.index(), sampler.stored)
    program = isaac.emit(run_passes(graph, isaac.passes(), target), target)
    check(program)
    assert sum(group_arrays(program, group) for tile in program.tiles for group in tile.groups) == 21
    plain = run_passes(graph, [p for p in isaac.passes() if p.name != "fold-epitomes"], target)
    mapping = plain[name].mapping
    assert mapping is not None
    assert mapping.arrays == 56
    x = np.random.default_rng(0).integers(0, 256, (2, 192, 3, 3)).astype(np.uint8)
    want = evaluate(graph, {"input": x})["$output"]
    np.testing.assert_array_equal(Executor(program).run({"input": x}).outputs["output"], want)


@pytest.mark.parametrize("case", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 5))])
def test_the_page_has_what_the_compiler_gives(case: int, epitomes: ModuleType) -> None:
    """``python benchmarks/epitomes_page.py --write`` makes it; the fixture lets scripts be found."""
    made = importlib.import_module("epitomes_page")
    text = made.PAGE.read_text(encoding="utf-8")
    assert text.startswith(made.HEAD)
    assert made.section(*made.CASES[case]) in text


@pytest.mark.slow
def test_resnet50_on_isaac(epitomes: ModuleType) -> None:
    """2,260 crossbars in place of 6,260, and every logit what the graph makes of the image."""
    graph, target = epitomes.woven("resnet50", (1024, 256), (128, 32)), isaac.target(replication="none")
    program = isaac.emit(run_passes(graph, isaac.passes(), target), target)
    check(program)
    assert arrays_of_one_copy(program) == 2260
    (port,) = graph.inputs
    image = {port.name: np.random.default_rng(0).standard_normal((1, *port.shape)).astype(np.float32)}
    want, made = evaluate(graph, image, keep=False), Executor(program).run(image).outputs
    for name, value in made.items():
        assert len(np.unique(value)) > 1
        np.testing.assert_array_equal(value, want[f"${name}"])
