"""The choose-flows pass: what layers are offered, what is printed, planned and forced, and isaac's 16-bit flow."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pimc
from pimc.analysis.cut import Cut, arrays_per_tile, row_cycles
from pimc.analysis.facts import Facts, Resources, facts_of
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.ir.text import parse_graph, print_graph
from pimc.passes.base import Pass, PassError
from pimc.passes.choose_flows import ChooseFlows
from pimc.passes.choose_ranges import ChooseRanges, needs_calibration
from pimc.passes.manager import run_passes
from pimc.passes.map_weights import resources
from pimc.passes.plan_file import PlanFile, plan_text, read_plan
from pimc.passes.target import Target, TargetError
from pimc.targets import find_target, target_names
from pimc_backends import isaac, neural_pim
from pimc_backends.kit import analog_pipeline, emit, make_target
from pimc_isa import binary
from pimc_isa.crossbar.footprint import group_footprint
from pimc_isa.engines import step
from pimc_isa.engines.values import Executor
from pimc_isa.errors import FlowError
from pimc_models import fashion
from tests.unit.passes.graphs import Net

CONV = "residual32/body/conv1/Conv"
TALL = "isaac16"


def three() -> Graph:
    """Dense, depthwise and pointwise convolutions."""
    net = Net((8, 6, 5))
    x = net.conv(net.conv(net.x, 12), 12, groups=12)
    return net.finish(net.conv(x, 5, 1, 1, 0))


def lowered(graph: Graph, target: Target | None = None, **flows: str) -> Graph:
    """Through isaac's pipeline, with flows forced on some layers."""
    plan = PlanFile({}, {"choose-flows": {name: {"flow": flow} for name, flow in flows.items()}})
    return run_passes(graph, isaac.passes(), target or isaac.target(), plan=plan)


def flows(graph: Graph) -> list[str | None]:
    return [op.flow for op in graph.of(Conv)]


# ---- the pass ----


@pytest.mark.parametrize("name", target_names())
def test_it_is_the_first_pass_of_every_target(name: str) -> None:
    assert isinstance(find_target(name).passes()[0], ChooseFlows)


def test_every_layer_gets_what_its_target_offers_first() -> None:
    graph = three()
    assert flows(ChooseFlows().apply(graph, isaac.target())) == ["isaac8"] * 3
    assert flows(ChooseFlows().apply(graph, isaac.target(flow=TALL))) == [TALL] * 3
    assert flows(ChooseFlows(flow=TALL).apply(graph, isaac.target())) == [TALL] * 3
    assert flows(graph) == [None] * 3


def test_an_offer_sees_the_layers_facts_and_the_targets_options() -> None:
    def offer(facts: Facts, target: Target) -> tuple[str, ...]:
        return ("isaac8", TALL) if facts.groups > 1 or target.chips == 2 else (TALL,)

    target = replace(isaac.target(), offer=offer)
    assert flows(ChooseFlows().apply(three(), target)) == [TALL, "isaac8", TALL]
    assert flows(ChooseFlows().apply(three(), replace(target, chips=2))) == ["isaac8"] * 3
    with pytest.raises(PassError, match="layer v1 cannot have flow 'isaac8': target isaac offers it isaac16"):
        ChooseFlows(flow="isaac8").apply(three(), target)


@pytest.mark.parametrize(
    ("offered", "message"),
    [((), "offers layer v1 no flow; it has isaac16, isaac8"), (("isaac8", "x"), "offers layer v1 flow 'x', which it")],
)
def test_offers_that_cannot_be(offered: tuple[str, ...], message: str) -> None:
    target = replace(isaac.target(), offer=lambda facts, target: offered)
    with pytest.raises(TargetError, match=message):
        ChooseFlows().apply(three(), target)


def test_the_flow_stands_in_the_text_and_comes_back() -> None:
    graph = ChooseFlows().apply(three(), isaac.target())
    graph.stage = "flowed"
    text = print_graph(graph)
    assert text.count('flow = "isaac8"') == 3
    assert flows(parse_graph(text, graph.constants)) == ["isaac8"] * 3


def test_the_verifier_wants_a_flow_from_then_on() -> None:
    class Forgets(ChooseFlows):
        """A pass that leaves a layer without."""

        def apply(self, graph: Graph, target: Target) -> Graph:
            made = super().apply(graph, target)
            made.update(replace(next(iter(made.of(Conv))), flow=None))
            return made

    with pytest.raises(PassError, match="%v1: flow is not decided at stage flowed"):
        run_passes(three(), [Forgets()], isaac.target())


# ---- plan files, and passes that read the op ----


def test_a_plan_holds_the_flow_of_every_layer_and_forces_it(tmp_path: Path) -> None:
    graph = lowered(three(), v2=TALL)
    assert flows(graph) == ["isaac8", TALL, "isaac8"]
    plan = tmp_path / "plan.toml"
    plan.write_text(plan_text(graph, isaac.passes()), encoding="utf-8")
    assert f'[choose-flows."v2"]\nflow = "{TALL}"\n' in plan.read_text(encoding="utf-8")
    again = run_passes(three(), isaac.passes(), isaac.target(), plan=read_plan(plan))
    assert print_graph(again) == print_graph(graph)


def test_a_flow_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(PassError, match="layer v3 cannot have flow 'npim8': target isaac has isaac16, isaac8"):
        lowered(three(), v3="npim8")
    with pytest.raises(FlowError, match="layer v1 has flow None, but there are isaac8"):
        Resources(isaac.machine(), (isaac.flow(),)).flow(facts_of(three(), three()["v1"]))


def test_a_flow_changed_behind_the_cells_is_refused() -> None:
    """As an edited text of a graph can say."""
    graph = run_passes(three(), isaac.passes(), isaac.target(), stop_after="place")
    graph.update(replace(next(iter(graph.of(Conv))), flow=TALL))
    with pytest.raises(PassError, match=r"v1 is stored in the slices \(2, 2, 2, 2\), flow isaac16 reads"):
        run_passes(graph, isaac.passes()[-1:], isaac.target())


def test_pairs_of_columns_are_no_single_ones() -> None:
    target = neural_pim.target(ranges="wide")
    graph = run_passes(three(), analog_pipeline(), target, stop_after="place")
    single = replace(target, flows=(replace(isaac.flow(), name="npim8", slices=(1,) * 8),))
    with pytest.raises(
        PassError, match=r"v1 is not stored in the columns .single ones or pairs. that flow npim8 reads"
    ):
        run_passes(graph, analog_pipeline()[-1:], single)


def test_cuts_ask_each_layer_for_its_columns_and_interval() -> None:
    """Closed forms: 8 columns of an output instead of 4, 16 steps of a position instead of 8."""
    net = Net((8, 6, 20))
    graph = net.finish(net.conv(net.conv(net.x, 30), 50))
    chosen = lowered(graph, v2=TALL)
    res = resources(chosen, isaac.target())
    assert {flow.name for flow in res.flows} == {"isaac8", TALL}
    for name, k, n, columns, steps in (("v1", 180, 30, 4, 8), ("v2", 270, 50, 8, 16)):
        facts = facts_of(chosen, chosen[name])
        assert arrays_per_tile(facts, Cut(), res) == ceil(k / 128) * ceil(n / (128 // columns))
        assert row_cycles(facts, Cut(copies=2), res) == ceil(6 / 2) * steps * 120


def test_the_same_weights_are_stored_once_for_each_encoding() -> None:
    graph = three()
    graph.add(replace(graph["v1"], name="twin", views=(), node="twin"))
    made = lowered(graph, twin=TALL)
    plain, tall = (op.cells for op in (made["v1"], made["twin"]) if isinstance(op, Conv))
    assert plain is not None
    assert tall is not None
    assert (plain.codes, tall.codes) == ("v1.w.codes", f"v1.w.{TALL}.codes")
    assert (plain.slices, tall.slices) == ((2,) * 4, (2,) * 8)
    codes = [made.constants[cells.codes].astype(np.int32) for cells in (plain, tall)]
    assert [c.max() < 256 for c in codes] == [True, False]


# ---- ranged and plain conversions in one network ----


def mixed() -> Target:
    """Neural-PIM's chip, which may also convert every column as ISAAC does."""
    machine = neural_pim.machine()
    wide = replace(machine, array=replace(machine.array, conversions_per_step=64, dac_bits=4, converter_bits=12))
    each = replace(neural_pim.DATAFLOW, kind="A", ranged=False, converter_bits=12)
    return make_target("neural-pim", wide, neural_pim.DATAFLOW, "npim8", more={"each": each})


def test_only_layers_with_ranged_conversions_get_a_range() -> None:
    passes: list[Pass] = [ChooseRanges(force="0.25/8") if isinstance(p, ChooseRanges) else p for p in analog_pipeline()]
    plan = PlanFile({}, {"choose-flows": {"v1": {"flow": "each"}, "v3": {"flow": "each"}}})
    graph = run_passes(three(), passes, mixed(), plan=plan)
    assert [(op.flow, op.scale) for op in graph.of(Conv)] == [("each", None), ("npim8", (0.25, 8.0)), ("each", None)]
    program = emit(graph, mixed())
    x = {"input": np.random.default_rng(0).integers(0, 256, (2, 5, 8, 6), np.uint8)}
    made = Executor(program).run(x).outputs["output"]
    np.testing.assert_array_equal(made, step.run(program, x, 2).outputs["output"])


def test_ranges_come_from_the_layers_own_flow() -> None:
    graph = three()
    graph.calibration = {"input": np.random.default_rng(1).integers(0, 256, (3, 5, 8, 6), np.uint8)}
    plan = PlanFile({}, {"choose-flows": {"v1": {"flow": "each"}}})
    made = run_passes(graph, analog_pipeline(), mixed(), plan=plan)
    alone = run_passes(graph, analog_pipeline(), mixed())
    scales = [[op.scale for op in g.of(Conv)] for g in (made, alone)]
    assert scales[0] == [None, *scales[1][1:]]
    assert None not in scales[1]


def test_calibration_is_asked_for_where_a_flow_that_may_be_chosen_is_ranged() -> None:
    assert needs_calibration(mixed(), analog_pipeline())
    assert needs_calibration(mixed(), [ChooseFlows("npim8"), ChooseRanges()])
    assert not needs_calibration(mixed(), [ChooseFlows("each"), ChooseRanges()])


# ---- isaac's 16-bit flow on 8-bit networks ----


WAYS: dict[str, dict[str, Any]] = {
    "option": {"target_options": {"flow": TALL}},
    "passes": {"passes": f"choose-flows{{flow={TALL}}}"},
    "plan": {"plan": f'[choose-flows]\nflow = "{TALL}"\n'},
}


@pytest.mark.parametrize("way", WAYS)
def test_sixteen_bits_for_all_layers_is_onnxruntime(way: str, tmp_path: Path) -> None:
    how = dict(WAYS[way])
    if "plan" in how:
        (tmp_path / "plan.toml").write_text(how["plan"], encoding="utf-8")
        how["plan"] = tmp_path / "plan.toml"
    program = pimc.compile(fashion.int8_path(), **how)
    assert [flow.name for flow in program.program.flows] == [TALL]
    assert program.verify(fashion.load_test()[0][:4]).passed
    usual = pimc.compile(fashion.int8_path())
    assert program.interval_cycles == 2 * usual.interval_cycles


def test_sixteen_bits_for_one_layer_is_onnxruntime(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(f'[choose-flows."{CONV}"]\nflow = "{TALL}"\n', encoding="utf-8")
    program = pimc.compile(fashion.int8_path(), plan=plan)
    assert program.verify(fashion.load_test()[0][:4]).passed
    groups = [g for tile in program.program.tiles for g in tile.groups]
    assert {g.flow for g in groups} == {"isaac8", TALL}
    usual = pimc.compile(fashion.int8_path()).program
    before = {g.weights: group_footprint(usual, g) for t in usual.tiles for g in t.groups}
    for g in groups:
        place, twice = group_footprint(program.program, g), 1 + (g.flow == TALL)
        assert place.columns == twice * before[g.weights].columns
    assert binary.from_bytes(binary.to_bytes(program.program)).flows == program.program.flows


def test_the_referee_agrees_on_sixteen_bits() -> None:
    graph = lowered(three(), isaac.target(flow=TALL), v3="isaac8")
    program = isaac.emit(graph, isaac.target())
    x = {"input": np.random.default_rng(3).integers(0, 256, (2, 5, 8, 6), np.uint8)}
    usual = isaac.emit(lowered(three()), isaac.target())
    made = Executor(program).run(x).outputs["output"]
    np.testing.assert_array_equal(made, step.run(program, x, 2).outputs["output"])
    np.testing.assert_array_equal(made, Executor(usual).run(x).outputs["output"])


def test_an_unknown_flow_of_isaac() -> None:
    with pytest.raises(TargetError, match="target isaac has no flow 'isaac32'; it has isaac16, isaac8"):
        pimc.compile(fashion.int8_path(), target_options={"flow": "isaac32"})
