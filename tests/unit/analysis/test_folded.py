"""What converters see of layers with epitomes, and the ranges that are chosen from it."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from pimc import driver
from pimc.analysis.calibrate import gemm_matrix, windows
from pimc.analysis.folded import FoldedLayer
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import PassError
from pimc.passes.manager import run_passes
from pimc.passes.plan_file import PlanFile
from pimc_isa.crossbar.cells import Cells, decode
from pimc_isa.crossbar.rounds import rounds_of
from pimc_isa.engines import step
from pimc_isa.engines.values import Executor
from pimc_isa.program import Program
from tests.properties.epitome_nets import random_layer
from tests.properties.test_engines_agree import assert_counts_agree

Array = np.ndarray
LOW: dict[str, Any] = {"array.rows": 16}


def compiled(seed: int, target: str, **options: str) -> tuple[Graph, Conv, Program, Array] | None:
    """A folded layer, its program, and the images that its ranges are chosen from; None where no tile holds it."""
    graph, name = random_layer(Random(seed))
    shape = graph.inputs[0].shape
    images = np.random.default_rng(seed).integers(0, 256, (3, *shape)).astype(np.uint8)
    graph.calibration = {"input": images}
    chosen, passes = driver.choose(target, replication="none", **LOW, **options)
    plan = PlanFile({}, {"fold-epitomes": {name: {"folded": True}}})
    try:
        done = run_passes(graph, passes, chosen, plan=plan)
    except PassError:
        return None
    op = done[name]
    assert isinstance(op, Conv)
    return done, op, driver.emit(done, chosen).program, images


def seen(done: Graph, op: Conv, program: Program, x: Array) -> Array:
    """Sums of every round, row block and channel, one after another, of what the program's rounds do; [n, windows]."""
    (tile,) = (tile for tile in program.tiles if tile.groups)
    (group,) = tile.groups
    weights = program.weight[group.weights]
    cells = Cells(*(program.tensors[f"{weights.name}.{part}"] for part in ("codes", "polarity", "centre")))
    held = decode(cells, weights)[0].astype(np.int64)
    if weights.bipolar:
        held -= np.repeat(cells.centre[0], weights.block_rows, axis=0)[: len(held)]
    found = []
    for done_round in rounds_of(program, group, program.machine.array.columns // weights.columns):
        for read in done_round.reads:
            found += list((x[:, read.inputs] @ held[np.ix_(read.rows, read.columns)]).T)
    return np.array(found)


@pytest.mark.parametrize("signed", ["off", "on"])
def test_speculation_and_signed_passes_go_with_rounds(signed: str) -> None:
    """RAELLA's guarded conversions of every round: both engines do the same, and count the same."""
    tried = 0
    for seed in range(5):
        found = compiled(seed, "raella", signed=signed)
        if found is None:
            continue
        _, _, program, images = found
        slow, fast = step.run(program, {"input": images[:1]}), Executor(program).run({"input": images[:1]}, counts=True)
        np.testing.assert_array_equal(slow.outputs["output"], fast.outputs["output"])
        assert_counts_agree(program, 1, fast.tallies, slow)
        tried += 1
    assert tried > 2


@pytest.mark.parametrize("target", ["neural-pim", "cascade"])
def test_ranges_are_chosen_from_the_sums_of_rounds(target: str) -> None:
    """And the program does the same in both engines."""
    tried = 0
    for seed in range(12):
        found = compiled(seed, target)
        if found is None:
            continue
        done, op, program, images = found
        every = [part for _, part in windows(op, images.transpose(0, 2, 3, 1))]
        vectors = np.concatenate(every)
        depth = done.constants[op.weights].shape[3]
        flat = vectors.reshape(len(vectors), op.groups, -1, depth).transpose(0, 2, 1, 3).reshape(len(vectors), -1)
        sums = seen(done, op, program, flat.astype(np.int64))
        layer = FoldedLayer.of(done, op, 16)
        assert np.sort(np.abs(layer.sums(vectors)[layer.sums(vectors) != 0])).tolist() == (
            np.sort(np.abs(sums[sums != 0])).tolist()
        )
        if op.scale is not None:
            (plan,) = json.loads(done.meta["range_plan"])
            assert plan["largest"] == np.abs(sums).max()
        x = {"input": images[:1]}
        slow, fast = step.run(program, x), driver.CompiledProgram(program).run(x)
        np.testing.assert_array_equal(slow.outputs["output"], fast.outputs["output"])
        tried += 1
    assert tried > 6


def test_the_largest_sum_of_a_bit_line() -> None:
    """Of two columns, one bit of weights and one of inputs, in any read."""
    tried = 0
    for seed in range(12):
        found = compiled(seed, "neural-pim")
        if found is None:
            continue
        done, op, _, images = found
        vectors = np.concatenate([part for _, part in windows(op, images.transpose(0, 2, 3, 1))])
        layer = FoldedLayer.of(done, op, 16)
        lines = [0]
        for bit in range(8):
            for place in range(8):
                field = replace(layer, reads=tuple(_one_bit(read, place) for read in layer.reads))
                lines.append(int(np.abs(field.sums(vectors >> bit & 1)).max()))
        assert layer.largest_line(vectors, tuple((n, n + 1) for n in range(8)), (1,) * 8) == max(lines)
        tried += 1
    assert tried > 6


def _one_bit(read: Any, place: int) -> Any:
    cells = read.cells.astype(np.int64)
    return replace(read, cells=(np.sign(cells) * (np.abs(cells) // 2**place % 2)).astype(np.float32))


def test_partial_sums_add_up_to_the_layer() -> None:
    for seed in range(12):
        found = compiled(seed, "isaac-style")
        if found is None:
            continue
        done, op, _, images = found
        vectors = np.concatenate([part for _, part in windows(op, images.transpose(0, 2, 3, 1))])
        matrix = gemm_matrix(done.constants[op.weights], op.groups).astype(np.int64)
        whole = np.einsum("mgk,gkn->mgn", vectors.astype(np.int64), matrix).reshape(len(vectors), -1)
        assert op.rounds is not None
        made = done.constants[op.rounds.copies] < 0
        parts = FoldedLayer.of(done, op, 16).sums(vectors).sum(axis=1)
        np.testing.assert_array_equal(parts[:, made], whole[:, made])
