"""Replication against closed forms, against the cycles engine, and against other rules."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest

import pimc_backends.isaac as isaac
from pimc.analysis.cut import base_cut, cut_cycles
from pimc.analysis.facts import Resources, facts_of
from pimc.analysis.replicate import STRATEGIES, MappingError, make_plan
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.choose_flows import ChooseFlows
from pimc.passes.manager import run_passes
from pimc.passes.target import REPLICATIONS
from pimc_isa.engines.cycles import simulate
from pimc_isa.program import Program
from tests.properties.nets import small_machine
from tests.unit.analysis.topologies import resnet18


def _compile(graph: Graph, replication: str = "balanced", mesh: tuple[int, int] = (14, 12)) -> Program:
    target = replace(isaac.target(replication=replication), machine=small_machine(96, 65536, mesh))
    return isaac.emit(run_passes(graph, isaac.passes(), target), target)


def _flowed(size: int = 224) -> Graph:
    """ResNet-18 whose layers have their flows."""
    return ChooseFlows().apply(resnet18(size), isaac.target())


def _res(chips: int | None = None) -> Resources:
    return Resources(isaac.machine(), (isaac.flow(),), chips)


def test_arrays_of_one_copy_are_row_blocks_times_column_blocks() -> None:
    graph = _flowed()
    blocks = 0
    for op in graph.of(Conv):
        outputs, rows = graph.constants[op.weights].shape[0], graph.constants[op.weights][0].size
        blocks += ceil(rows / 128) * ceil(outputs * 4 / 128)
    assert make_plan(graph, _res()).arrays_one_copy == blocks


def test_every_strategy_of_the_command_line_exists() -> None:
    assert set(REPLICATIONS) == set(STRATEGIES)


def test_balanced_beats_isaacs_rule_and_equal_copies_in_the_cycles_engine() -> None:
    """On a chip of 64 tiles, a little more than one copy needs."""
    graph = resnet18()
    interval = {s: simulate(_compile(graph, s, (8, 8)), images=3).interval_cycles for s in REPLICATIONS}
    assert interval["balanced"] < interval["stride2"] / 2
    assert interval["balanced"] < interval["equal"] / 15
    assert interval["balanced"] < interval["none"] / 15


def test_step_model_is_close_to_the_cycles_engine() -> None:
    graph = resnet18()
    plan = make_plan(_flowed(), _res())
    measured = simulate(_compile(graph), images=3).interval_cycles
    assert plan.interval_cycles <= measured <= 1.1 * plan.interval_cycles


def test_copies_follow_positions_and_dense_layers_have_one() -> None:
    graph = _flowed()
    plan = make_plan(graph, _res())
    names = [op.name for op in graph.of(Conv)]
    copies = {n: plan.cuts[n].strips * plan.cuts[n].copies for n in names}
    assert copies[names[-1]] == 1
    assert copies[names[0]] > copies[names[5]] > copies[names[-2]]


def test_more_chips_are_used_only_when_asked_or_needed() -> None:
    graph = _flowed(64)
    assert make_plan(graph, _res()).chips == 1
    small = replace(_res(), machine=small_machine(96, 65536, (4, 4)))
    needed = make_plan(graph, small)
    assert needed.chips == ceil(needed.tiles / 16) > 1


def test_too_few_chips_is_an_error_that_names_the_remedy() -> None:
    res = replace(_res(), machine=small_machine(96, 65536, (4, 4)), chips=1)
    with pytest.raises(MappingError, match=r"--chips \d"):
        make_plan(_flowed(64), res)


def test_layer_that_fits_no_tile_is_an_error_that_names_it() -> None:
    res = replace(_res(), machine=small_machine(96, 100, (4, 4)))
    with pytest.raises(MappingError, match="fits no tile"):
        make_plan(_flowed(64), res)


def test_a_cut_never_gets_slower_with_more_tiles() -> None:
    graph = _flowed()
    res = _res()
    for op in graph.of(Conv):
        facts = facts_of(graph, op)
        cut = base_cut(facts, res, (1,))
        assert cut is not None
        times = [cut_cycles(facts, replace(cut, strips=s), res) for s in range(1, facts.shape[1] + 1)]
        assert times == sorted(times, reverse=True)
