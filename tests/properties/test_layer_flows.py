"""Layers of one network with flows of their own: other slices, columns, encodings, intervals, and all engines agree."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc.analysis.dataflow import Dataflow, on_machine
from pimc.analysis.facts import Facts
from pimc.analysis.replicate import MappingError
from pimc.ir.evaluate import evaluate
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.manager import run_passes
from pimc.passes.plan_file import PlanFile
from pimc.passes.target import Target
from pimc_backends import isaac_style
from pimc_backends.kit import analog_pipeline, emit, make_target
from pimc_isa.check import check
from pimc_isa.engines import step
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.noise import parse_noise
from pimc_isa.engines.values import Executor
from pimc_isa.machine import Chip
from pimc_isa.program import Program
from tests.properties.nets import graphs
from tests.unit.isa.engines.tiny import same
from tests.unit.passes.graphs import Net

#: Eight bits as papers cut them and as none does, sixteen bits, W+ and W- together and apart.
DATAFLOWS = {
    "paper": Dataflow("A", weight_slicing=(4, 2, 2)),
    "odd": Dataflow("A", weight_slicing=(3, 1, 4), input_slicing=(1, 2, 2, 1, 2)),
    "fine": Dataflow("A", weight_slicing=(1,) * 8, input_slicing=(1,) * 8),
    "16": Dataflow("A", input_bits=16, weight_bits=16),
    "pairs": Dataflow("A", encoding="pairs", weight_slicing=(2, 2, 4)),
    "sides": Dataflow("A", encoding="sides", input_slicing=(2, 1, 1, 2, 2)),
}


def target(converter_bits: int, arrays: int = 64) -> Target:
    """A chip with 4-bit cells and 2-bit DACs that offers all of them; 14-bit converters lose nothing."""
    base = isaac_style.machine()
    array = replace(base.array, cell_bits=4, dac_bits=2, converter_bits=converter_bits, input_sum_copies=8)
    chip = replace(base, array=array, tile=replace(base.tile, arrays=arrays), chip=Chip(6, 6))
    (name, first), *rest = ((name, on_machine(dataflow, chip)) for name, dataflow in DATAFLOWS.items())
    return make_target("isaac-style", chip, first, name, more=dict(rest))


def compiled(graph: Graph, chip: Target, flows: dict[str, str]) -> Program:
    """With a flow forced on each layer, as a plan file does."""
    plan = PlanFile({}, {"choose-flows": {name: {"flow": flow} for name, flow in flows.items()}})
    done = run_passes(graph, analog_pipeline(), chip, plan=plan)
    assert {op.name: op.flow for op in done.of(Conv)} == flows
    program = emit(done, chip)
    check(program)
    return program


def drawn(graph: Graph, rng: Random) -> dict[str, str]:
    return {op.name: rng.choice(list(DATAFLOWS)) for op in graph.of(Conv)}


@settings(max_examples=6, deadline=None, derandomize=True)
@given(graphs(), st.randoms(use_true_random=False), st.sampled_from([2, 8, 64]), st.sampled_from([14, 14, 6]))
def test_every_layer_may_have_any_flow(graph: Graph, rng: Random, arrays: int, bits: int) -> None:
    """Converters of 14 bits: the integer product, whatever the flows. Of 6 bits: what the referee says."""
    chip, flows = target(bits, arrays), drawn(graph, rng)
    try:
        program = compiled(graph, chip, flows)
    except MappingError:
        return
    assert {f.name for f in program.flows} == set(flows.values())
    x = {"input": np.random.default_rng(rng.randrange(1 << 32)).integers(0, 256, (2, *graph.inputs[0].shape), np.uint8)}
    made, slow = Executor(program).run(x).outputs["output"], step.run(program, x, 2)
    same(simulate(program, 2), slow.timing)
    np.testing.assert_array_equal(made, slow.outputs["output"])
    noise = parse_noise(rng.randrange(99), "device:cell=0.2,read=0.02")
    noisy, slow = Executor(program, noise=noise).run(x).outputs["output"], step.run(program, x, 2, noise=noise)
    np.testing.assert_array_equal(noisy, slow.outputs["output"])
    if bits == 14:
        np.testing.assert_array_equal(made, evaluate(graph, x)["$output"])


def by_rows(facts: Facts, target: Target) -> tuple[str, ...]:
    """Short columns in few wide slices, tall ones in narrow ones."""
    return ("paper",) if facts.k <= 64 else ("fine", "16")


def test_a_target_chooses_by_the_facts_of_a_layer() -> None:
    """27 rows of weights, then 72, then 8: two flows in one program, each with its interval, slices and columns."""
    net = Net((9, 7, 3))
    graph = net.finish(net.conv(net.conv(net.conv(net.x, 8), 8), 5, 1, 1, 0))
    chip = replace(target(14), offer=by_rows)
    program = emit(run_passes(graph, analog_pipeline(), chip), chip)
    groups = [(g.k[1], g.flow, program.weight[g.weights].slices) for tile in program.tiles for g in tile.groups]
    assert groups == [(27, "paper", (2, 2, 4)), (72, "fine", (1,) * 8), (8, "paper", (2, 2, 4))]
    assert [(f.name, f.interval) for f in program.flows] == [("paper", 4), ("fine", 8)]
    x = {"input": np.random.default_rng(1).integers(0, 256, (2, 3, 9, 7), np.uint8)}
    made, slow = Executor(program).run(x).outputs["output"], step.run(program, x, 2)
    np.testing.assert_array_equal(made, evaluate(graph, x)["$output"])
    np.testing.assert_array_equal(made, slow.outputs["output"])
    same(simulate(program, 2), slow.timing)


@pytest.mark.parametrize("flow", ["fine", "16"])
def test_one_layers_flow_leaves_the_others_alone(flow: str) -> None:
    """Cells, groups and values of the other layers are those of the program without it."""
    net = Net((9, 7, 3))
    graph = net.finish(net.conv(net.conv(net.conv(net.x, 8), 8), 5, 1, 1, 0))
    first, second, third = (op.name for op in graph.of(Conv))
    usual = compiled(graph, target(14), dict.fromkeys((first, second, third), "paper"))
    other = compiled(graph, target(14), {first: "paper", second: flow, third: "paper"})
    changed = {w.name for w in usual.weights} - {w.name for w in usual.weights if w in other.weights}
    assert len(changed) == 1
    for name, value in usual.tensors.items():
        if name.partition(".")[0] not in changed:
            np.testing.assert_array_equal(value, other.tensors[name])
    x = {"input": np.random.default_rng(1).integers(0, 256, (2, 3, 9, 7), np.uint8)}
    one, two = (Executor(p).run(x).outputs["output"] for p in (usual, other))
    np.testing.assert_array_equal(one, two)
