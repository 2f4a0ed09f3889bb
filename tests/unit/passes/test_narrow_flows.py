"""Weights of few bits: flows with fewer slices hold the same numbers and cost fewer crossbars and conversions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest

from pimc.driver import choose
from pimc.epitomes.codes import FEWEST, MOST, largest_code, least_bits
from pimc.epitomes.epitome import reconstruct, tiled_index
from pimc.ir.evaluate import evaluate
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.ir.verify import VerifyError, verify
from pimc.passes.base import PassError
from pimc.passes.choose_flows import ChooseFlows
from pimc.passes.manager import run_passes
from pimc.passes.target import Target
from pimc.report.summary import arrays_of_one_copy, conversions_proved
from pimc.targets import find_target
from pimc_backends.kit import emit
from pimc_isa.check import check
from pimc_isa.energy import program_counts
from pimc_isa.engines import step
from pimc_isa.engines.values import Executor
from pimc_isa.program import Program
from tests.properties.epitome_nets import attach
from tests.unit.passes.graphs import Net

TARGETS: dict[str, dict[str, Any]] = {
    "isaac": {},
    "isaac differential": {"encoder": "differential"},
    "isaac-8b": {},
    "isaac-style": {},
    "isaac-style differential": {"encoder": "differential"},
    "cascade": {"ranges": "wide"},
    "neural-pim": {"ranges": "wide"},
    "neural-pim centred": {"ranges": "wide", "centre": "on"},
}


def net(bits: int) -> Graph:
    """Dense, depthwise and a wide convolution whose codes are all that so many bits have."""
    made = Net((6, 4, 5))
    x = made.conv(made.conv(made.x, 12), 12, groups=12)
    graph = made.finish(made.conv(x, 70))
    top = largest_code(bits)
    for op in list(graph.of(Conv)):
        shape = graph.constants[op.weights].shape
        codes = np.random.default_rng(1).integers(-top, top + 1, shape).astype(np.int8)
        codes.reshape(-1)[:2] = top, -top
        graph.constants[op.weights] = codes
    return graph


def target_of(label: str) -> Target:
    name, options = label.split()[0], TARGETS[label]
    made: Target = find_target(name).target(replication="none", **options)
    return made


def compiled(graph: Graph, label: str, how: str = "fit") -> tuple[Program, Target]:
    """Through the target's passes; layers have as many bits as they need."""
    target = target_of(label)
    steps = find_target(label.split()[0]).passes()
    passes = [replace(p, weight_bits=how) if isinstance(p, ChooseFlows) else p for p in steps]
    program = emit(run_passes(graph, passes, target), target)
    check(program)
    return program, target


def image(graph: Graph, engine: Callable[..., Any]) -> tuple[Any, Any]:
    (port,) = graph.inputs
    x = {port.name: np.random.default_rng(2).integers(0, 256, (2, *port.shape)).astype(np.uint8)}
    return evaluate(graph, x)["$output"], engine(x)["output"]


@pytest.mark.parametrize("bits", [7, 5, 3])
@pytest.mark.parametrize("label", TARGETS)
def test_narrow_flows_compute_the_same(label: str, bits: int) -> None:
    graph = net(bits)
    program, target = compiled(graph, label)
    want, made = image(graph, lambda x: Executor(program).run(x).outputs)
    np.testing.assert_array_equal(made, want)
    (flow,) = program.flows
    assert sum(flow.slices) + flow.bipolar >= bits
    array, usual = target.machine.array, target.flow[target.conv_flow]
    cells = ceil((bits - flow.bipolar) / array.cell_bits)
    assert len(flow.slices) == min(cells, len(usual.slices))
    assert (flow.name == f"{usual.name}-w{bits}") == (cells < len(usual.slices))


@pytest.mark.parametrize("label", ["isaac", "isaac differential"])
def test_the_step_engine_agrees(label: str) -> None:
    graph = net(3)
    program, _ = compiled(graph, label)
    want, made = image(graph, lambda x: step.run(program, x, 2).outputs)
    np.testing.assert_array_equal(made, want)


def test_pairs_are_those_of_epim() -> None:
    """Weights of 8, 7, 5 and 3 bits in 4, 3, 2 and 1 pairs of cells of 2 bits."""
    target = target_of("isaac differential")
    assert target.narrow is not None
    pairs = [target.narrow(bits) or target.flow[target.conv_flow] for bits in (8, 7, 5, 3)]
    assert [flow.slices for flow in pairs] == [(2,) * n for n in (4, 3, 2, 1)]
    assert all(flow.bipolar for flow in pairs)


@pytest.mark.parametrize("label", ["isaac", "isaac differential", "isaac-style"])
def test_fewer_slices_are_fewer_crossbars_and_conversions(label: str) -> None:
    """A conversion for each column of each row block and input bit, and for the few unit columns."""
    seen: dict[str, list[Any]] = {"arrays": [], "conversions": [], "columns": []}
    for bits in (8, 5, 3):
        program, _ = compiled(net(bits), label)
        layers = program_counts(program, 1).layers
        seen["arrays"].append(arrays_of_one_copy(program))
        seen["conversions"].append(sum(layer.get("adc_conversion", 0.0) for layer in layers.values()))
        seen["columns"].append(program.flows[0].columns)
    assert seen["arrays"] == sorted(seen["arrays"], reverse=True)
    assert seen["arrays"][0] > seen["arrays"][-1]
    positions, outputs = 24, 12 + 12 + 70
    for conversions, columns in zip(seen["conversions"], seen["columns"], strict=True):
        units, rest = divmod(conversions - positions * 8 * outputs * columns, positions * 8)
        assert (rest, bool(units)) == (0, label == "isaac")
        assert units < 0.1 * outputs * columns


def test_columns_of_one_sign_need_a_bit_more() -> None:
    """128 cells of 3 add up to 384: more than 8 converter bits hold, and said so; 9 do."""
    made = Net((4, 4, 32), 1)
    graph = made.finish(made.conv(made.x, 8))
    graph.constants[next(iter(graph.of(Conv))).weights][:] = 3
    proved = []
    for bits in (8, 9):
        wide: dict[str, Any] = {"array.converter_bits": bits} if bits > 8 else {}
        target, steps = choose("isaac", encoder="differential", **wide)
        program = emit(run_passes(graph, steps, target), target)
        want, found = image(graph, lambda x, p=program: Executor(p).run(x).outputs)
        proved.append(conversions_proved(program))
        assert np.array_equal(want, found) or bits == 8
    assert proved[0] < proved[1] == 1


def test_only_what_is_asked_for() -> None:
    """Narrow codes alone change nothing; codes of -128 fit no 8 bits with a sign."""
    assert {f.name for f in compiled(net(3), "isaac", "given")[0].flows} == {"isaac8"}
    graph = net(8)
    graph.constants[next(iter(graph.of(Conv))).weights].reshape(-1)[0] = -128
    done = ChooseFlows(weight_bits="fit").apply(graph, target_of("isaac"))
    assert [op.bits for op in done.of(Conv)] == [None, 8, 8]
    with pytest.raises(PassError, match="use given or fit"):
        ChooseFlows(weight_bits="few").apply(graph, target_of("isaac"))


def narrow_epitome(bits: int) -> Graph:
    """A convolution whose weights are cells of an epitome of 48 x 40, in codes of so many bits."""
    made = Net((4, 4, 16), 1)
    name = made.conv(made.x, 96)
    graph = made.finish(name)
    index = tiled_index((96, 3, 3, 16), (48, 40), (48, 40), wraps=False)
    attach(graph, name, index, (48, 40))
    top = largest_code(bits)
    graph.constants[f"{name}.e"] = np.random.default_rng(3).integers(-top, top + 1, (48, 40)).astype(np.int8)
    op = next(iter(graph.of(Conv)))
    graph.constants[op.weights] = reconstruct(graph.constants[f"{name}.e"], index)
    return graph


@pytest.mark.parametrize("label", ["isaac", "isaac differential"])
def test_folded_epitomes_have_narrow_flows(label: str) -> None:
    arrays = []
    for bits in (8, 3):
        graph = narrow_epitome(bits)
        program, _ = compiled(graph, label)
        assert program.rounds
        for engine in (lambda x, p=program: Executor(p).run(x).outputs, lambda x, p=program: step.run(p, x, 2).outputs):
            want, made = image(graph, engine)
            np.testing.assert_array_equal(made, want)
        arrays.append(arrays_of_one_copy(program))
    assert arrays[0] > arrays[1] == 1


def test_cells_that_no_weight_is_count_too() -> None:
    """Crossbars hold them; flows must."""
    graph = narrow_epitome(3)
    op = next(iter(graph.of(Conv)))
    assert op.epitome is not None
    graph.constants[op.epitome] = np.vstack([graph.constants[op.epitome], np.full((1, 40), 50, np.int8)])
    verify(graph)
    assert least_bits(graph.constants[op.weights]) == 3
    done = ChooseFlows(weight_bits="fit").apply(graph, target_of("isaac"))
    assert [op.bits for op in done.of(Conv)] == [7]


def test_a_target_without_narrow_flows_says_so() -> None:
    with pytest.raises(PassError, match=r"target raella has no flows for weights of 3 bits, as layer .*\n.*isaac"):
        ChooseFlows(weight_bits="fit").apply(net(3), find_target("raella").target())
    tall = find_target("isaac").target(flow="isaac16")
    with pytest.raises(PassError, match="no flows for weights of 3 bits"):
        ChooseFlows(weight_bits="fit").apply(net(3), tall)


def test_a_narrow_flow_is_offered_to_its_own_layers_only() -> None:
    graph = ChooseFlows(weight_bits="fit").apply(net(5), target_of("isaac"))
    op = next(iter(graph.of(Conv)))
    for forced in ("isaac8-w3", "isaac8-w5x"):
        with pytest.raises(PassError, match="cannot have flow"):
            ChooseFlows(flow=forced).apply(graph, target_of("isaac"))
    assert op.flow == "isaac8-w5"


def test_the_verifier_knows_bits() -> None:
    graph = net(5)
    op = next(iter(graph.of(Conv)))
    graph.update(replace(op, bits=5))
    verify(graph)
    for wrong, said in ((4, "more than 4 bits"), (9, "outside 2..8"), (1, "outside 2..8")):
        graph.update(replace(op, bits=wrong))
        with pytest.raises(VerifyError, match=said):
            verify(graph)


@pytest.mark.parametrize("bits", range(FEWEST, MOST + 1))
def test_codes_need_the_bits_that_hold_them(bits: int) -> None:
    top = largest_code(bits)
    assert [least_bits(np.array([0, code], np.int8)) for code in (top, -top)] == [bits, bits]
    assert least_bits(np.array([-top - 1], np.int8)) == bits + 1
    assert least_bits(np.zeros(3, np.int8)) == FEWEST
