"""Layers that hold an epitome in place of their weights: all engines against the convolution that it stands for."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

import pimc_backends.isaac as isaac
from pimc.analysis.replicate import MappingError
from pimc.epitomes.epitome import reconstruct
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import Pass, PassError
from pimc.passes.fold_epitomes import FoldEpitomes
from pimc.passes.manager import run_passes
from pimc.passes.plan_file import PlanFile
from pimc_isa import numerics
from pimc_isa.check import check
from pimc_isa.engines import step
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.values import Executor
from pimc_isa.program import Program
from tests.properties.epitome_nets import direct, random_layer, small_crossbars
from tests.properties.test_engines_agree import assert_counts_agree
from tests.unit.isa.engines.tiny import same

Array = np.ndarray


def compiled(rng: Random, graph: Graph, name: str) -> tuple[Program, Conv] | None:
    """Folded whether that pays or not; None where no tile holds it."""
    machine = small_crossbars(rng.choice([8, 16, 32, 128]), rng.choice([8, 16, 128]), rng.choice([4, 96]))
    target = replace(isaac.target(replication=rng.choice(["none", "balanced"])), machine=machine)
    merge = rng.random() < 0.7
    passes: list[Pass] = [replace(p, merge=merge) if isinstance(p, FoldEpitomes) else p for p in isaac.passes()]
    plan = PlanFile({}, {"fold-epitomes": {name: {"folded": True}}})
    try:
        done = run_passes(graph, passes, target, plan=plan)
    except (MappingError, PassError):
        return None
    program = isaac.emit(done, target)
    check(program)
    assert all(group.rounds for tile in program.tiles for group in tile.groups)
    op = done[name]
    assert isinstance(op, Conv)
    return program, op


def expected(graph: Graph, name: str, x: Array) -> Array:
    op = graph[name]
    assert isinstance(op, Conv)
    constants = graph.constants
    weights = reconstruct(constants[op.epitome or ""], constants[op.index or ""])
    sums = direct(op, x.transpose(0, 2, 3, 1), weights).astype(np.int32)
    made = numerics.requantise(sums, constants[op.multiplier], constants[op.bias], op.y_zero, op.lo, op.hi)
    return np.asarray(made.transpose(0, 3, 1, 2))


def assert_folded_layer(seed: int) -> tuple[int, int, bool] | None:
    """Rounds, links of the chain, and whether some columns are stored flipped and others are not."""
    rng = Random(seed)
    graph, name = random_layer(rng)
    found = compiled(rng, graph, name)
    if found is None:
        return None
    program, op = found
    images = rng.randint(1, 2)
    x = np.random.default_rng(seed).integers(0, 256, (images, *graph.inputs[0].shape), np.uint8)
    slow, fast = step.run(program, {"input": x}, images), Executor(program).run({"input": x}, counts=True)
    want = expected(graph, name, x)
    np.testing.assert_array_equal(slow.outputs["output"], want)
    np.testing.assert_array_equal(fast.outputs["output"], want)
    same(simulate(program, images), slow.timing)
    assert_counts_agree(program, images, fast.tallies, slow)
    assert op.rounds is not None
    assert op.mapping is not None
    assert op.cells is not None
    polarity = program.tensors[f"{program.weights[0].name}.polarity"]
    return op.rounds.count, len(op.mapping.chain), bool(polarity.any() and not polarity.all())


@pytest.mark.parametrize("block", [0, 1, 2, *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 60))])
def test_folded_layers_compute_the_convolution_that_they_stand_for(block: int) -> None:
    """Merged and unmerged rounds, one tile and chains of them, copies in a tile, overlap, holes, wrapping, groups."""
    found = [assert_folded_layer(seed) for seed in range(10 * block, 10 * block + 10)]
    assert sum(each is not None for each in found) > 6


@pytest.mark.parametrize("seed", [53, 142, 300])
def test_chains_of_tiles_hold_parts_of_an_epitome(seed: int) -> None:
    """Of two to eight tiles, in several rounds; columns stored flipped stay exact where a round drives some rows."""
    found = assert_folded_layer(seed)
    assert found is not None
    rounds, links, flipped = found
    assert rounds > 3
    assert links > 1
    assert flipped
