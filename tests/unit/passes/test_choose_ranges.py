"""The choose-ranges pass: which convolutions get a scale, from what data, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pimc.analysis.calibrate import Coded, Watch, gemm_matrix, observe, windows
from pimc.analysis.ranges import RANGES
from pimc.ir.evaluate import evaluate
from pimc.ir.graph import Graph
from pimc.ir.ops import CellPlan, Conv
from pimc.passes.base import PassError
from pimc.passes.choose_ranges import ChooseRanges, converter_of, needs_calibration
from pimc.passes.spec import parse_pipeline
from pimc.passes.target import Target
from pimc_backends import isaac, isaac_style
from pimc_isa.crossbar.cells import encode_differential
from pimc_isa.flow import Flow, parse_flow
from tests.unit.passes.graphs import Net

ROWS = 16


def flow(name: str = "one", convert: str = "signed 8 ranged") -> Flow:
    """One conversion of the whole dot product: Neural-PIM's dataflow in miniature."""
    return parse_flow(
        f""".flow {name} input_bits=8 slices={",".join("1" * 8)} step_cycles=10 interval=3 latency=7
        @0 load
        @1 drive 0:4
        @1 read pairs
        @2 fold >>4
        @2 drive 4:8
        @2 read pairs
        @3 fold >>4
        @4 convert {convert}
        @5 merge
        @6 scale
        @6 store
        """
    )


def target(ranges: str = "gain", *flows: Flow) -> Target:
    return Target("t", isaac.machine(), flows or (flow(),), (flows or (flow(),))[0].name, ranges=ranges)


def programmed(name: str = "one", *, centred: bool = False) -> Graph:
    """Convolutions with flows and cells: dense, strided, grouped and depthwise ones, and an addition."""
    net = Net((9, 9, 8))
    a = net.conv(net.x, 12)
    b = net.conv(a, 12, stride=2, groups=4)
    c = net.conv(b, 12, groups=12)
    net.conv(net.add(b, c), 5, kernel=1, pad=0)
    graph = net.graph
    for op in list(graph.of(Conv)):
        matrix = gemm_matrix(graph.constants[op.weights], op.groups)
        coded = encode_differential(matrix, (1,) * 8, ROWS, centred=centred)
        names = [f"{op.name}.{part}" for part in ("codes", "polarity", "centre")]
        graph.constants |= dict(zip(names, (coded.codes, coded.polarity, coded.centre), strict=True))
        cells = CellPlan(names[0], names[1], names[2], (1,) * 8, ROWS, bipolar=True)
        graph.update(replace(op, cells=cells, flow=name))
    graph.calibration = {"input": np.random.default_rng(1).integers(0, 256, (3, 8, 9, 9), np.uint8)}
    return graph


def scales(graph: Graph) -> list[tuple[float, float] | None]:
    return [op.scale for op in graph.of(Conv)]


@pytest.mark.parametrize("centred", [False, True])
def test_watching_changes_no_value(centred: bool) -> None:
    graph = programmed(centred=centred)
    watch = Watch(ROWS, 3, coded={op.name: Coded.of(graph, op) for op in graph.of(Conv)})
    exact = evaluate(graph, graph.calibration)
    watched = evaluate(graph, graph.calibration, sums=watch)
    assert all(np.array_equal(exact[name], watched[name]) for name in exact)
    assert list(watch.layers) == [op.name for op in graph.of(Conv)]


@pytest.mark.parametrize("centred", [False, True])
def test_the_largest_sum_and_line_are_those_of_all_windows(centred: bool) -> None:
    """Of what the cells hold: weights less the mean of their column where they are centred."""
    graph = programmed(centred=centred)
    seen = observe(graph, graph.calibration, ROWS, ((0, 4), (4, 8)), (1,) * 8)
    values = evaluate(graph, graph.calibration)
    for op in graph.of(Conv):
        assert op.cells is not None
        weights = graph.constants[op.cells.codes].astype(np.int64)
        assert graph.constants[op.cells.centre].any() == centred
        vectors = np.concatenate([v for _, v in windows(op, values[op.inputs[0]])]).astype(np.int64)
        largest = line = 0
        for first in range(0, weights.shape[1], ROWS):
            x, w = vectors[:, :, first : first + ROWS], weights[:, first : first + ROWS]
            largest = max(largest, int(np.abs(np.einsum("mgk,gkn->mgn", x, w)).max()))
            for low in (0, 4):
                for bit in range(8):
                    cells = np.sign(w) * (np.abs(w) >> bit & 1)
                    line = max(line, int(np.abs(np.einsum("mgk,gkn->mgn", x >> low & 15, cells)).max()))
        assert seen[op.name].largest == largest
        assert 0.5 * line <= seen[op.name].line <= line


@pytest.mark.parametrize("ranges", ["gain", "power2", "published"])
def test_every_ranged_convolution_gets_a_scale(ranges: str) -> None:
    graph = programmed()
    before = scales(graph)
    after = ChooseRanges().apply(graph, target(ranges))
    assert before == scales(graph) == [None] * 4
    assert all(scale is not None and scale[0] in RANGES for scale in scales(after))
    if ranges == "published":
        assert {scale[1] for scale in scales(after) if scale} == {1.0}
    plan = json.loads(after.meta["range_plan"])
    assert [(entry["v_max"], entry["gain"]) for entry in plan] == scales(after)
    assert after.meta["ranges"] == ranges
    again = ChooseRanges().apply(graph, target(ranges))
    assert (scales(again), again.meta) == (scales(after), after.meta)


def test_the_pass_option_goes_before_the_target() -> None:
    (step,) = parse_pipeline("choose-ranges{ranges=published}", {"choose-ranges": ChooseRanges})
    assert {scale[1] for scale in scales(step.apply(programmed(), target("gain"))) if scale} == {1.0}


def test_forced_ranges_need_no_data() -> None:
    (step,) = parse_pipeline("choose-ranges{force=0.25/8}", {"choose-ranges": ChooseRanges})
    graph = programmed()
    graph.calibration = {}
    assert scales(step.apply(graph, target())) == [(0.25, 8.0)] * 4
    with pytest.raises(PassError, match="not of the form V_MAX/GAIN"):
        ChooseRanges(force="8").apply(graph, target())


def test_data_is_asked_for() -> None:
    graph = programmed()
    graph.calibration = {}
    with pytest.raises(PassError, match="there is none for input\ngive typical inputs with --calibration"):
        ChooseRanges().apply(graph, target())
    assert needs_calibration(target(), [ChooseRanges()])
    assert not needs_calibration(target("wide"), [ChooseRanges()])
    assert not needs_calibration(target(), [ChooseRanges(force="0.5/1")])
    assert not needs_calibration(target(), [])
    assert not needs_calibration(Target("i", isaac.machine(), (isaac.flow(),), "isaac8"), [ChooseRanges()])


def test_unknown_ranges() -> None:
    with pytest.raises(PassError, match="ranges 'best' do not exist; choose one of gain, power2, published, wide"):
        ChooseRanges(ranges="best").apply(programmed(), target())


def test_wide_ranges_count_single_units() -> None:
    wide = flow("wide", "signed 24 ranged")
    graph = ChooseRanges().apply(programmed("wide"), target("wide", wide))
    converter = converter_of(wide, ROWS)
    assert converter is not None
    for scale in scales(graph):
        assert scale is not None
        assert converter.step(*scale) == 1.0
    with pytest.raises(PassError, match="need a flow that converts to at least 21 bits"):
        ChooseRanges().apply(programmed(), target("wide"))


def test_flows_without_ranges_are_left_alone() -> None:
    graph = programmed("isaac8x1")
    other = isaac_style.target(encoder="differential")
    assert scales(ChooseRanges().apply(graph, other)) == [None] * 4
