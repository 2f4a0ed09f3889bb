"""What rounds cost: cycles in closed form, actions counted by hand, and one full round against none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimc_backends import cascade, isaac, neural_pim
from pimc_isa.crossbar.footprint import (
    group_actions,
    group_arrays,
    group_burst_cycles,
    group_burst_occupancy,
    outputs_per_array,
)
from pimc_isa.crossbar.rounds import copied, rounds_of
from pimc_isa.define import Context
from pimc_isa.flow import Flow
from pimc_isa.instructions import Mvm, Mvma
from pimc_isa.machine import Machine
from pimc_isa.operands import Buffer, Group, Rounds, RowExpr, Slab, Weights, Window
from pimc_isa.program import Program, Tile
from tests.unit.isa.engines.rounds_nets import Table, span, tables

Array = np.ndarray

DST = Slab("acc", RowExpr(b=3), cols=(2, 9))  # 7 positions
TARGETS: tuple[tuple[Machine, Flow], ...] = (
    (isaac.machine(), isaac.flow()),
    (cascade.machine(), cascade.flow()),
    (neural_pim.machine(), neural_pim.flow()),
)


def program(target: tuple[Machine, Flow], patches: tuple[Table, ...], copies: list[int], count: int) -> Program:
    """200 inputs (5x5 over 8 channels), weights of 200 rows x 40 outputs, and a group in rounds on three copies."""
    machine, flow = target
    weights = Weights("w", 1, 200, 40, 128, flow.slices, flow.bipolar)
    x = Buffer("x", "u8", 20, 20, 8, (0, 20), (0, 8), 5)
    acc = Buffer("acc", "i32", 16, 16, len(copies), (0, 16), (0, len(copies)), 2)
    group = Group("g", "w", flow.name, (0, 200), (0, 40), (0, 1), 3, rounds="r")
    tile = Tile(1, "t", "tile", 0, 0, 0, (x, acc), (Window("k", (5, 5)),), (group,))
    held, rounds = tables(patches, weights, copies), Rounds("r", 200, (0, len(copies)), count)
    return Program(machine, (tile,), (), (flow,), (weights,), (), (), held, {}, (rounds,))


FULL = (Table(0, 0, span(0, 0, 200), span(0, 0, 40)),)


def actions(p: Program) -> dict[str, float]:
    return Mvm(DST, "x", "k", "g").actions(Context(p, p.tiles[0]))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[0].name)
def test_one_full_round_is_what_a_group_without_rounds_does(target: tuple[Machine, Flow]) -> None:
    p = program(target, FULL, [-1] * 40, 1)
    group = p.tiles[0].groups[0]
    plain = replace(group, rounds="")
    bare = replace(p, tiles=(replace(p.tiles[0], groups=(plain,)),))
    assert actions(p) == actions(bare)
    for cycles in (group_burst_cycles, group_burst_occupancy):
        assert cycles(p, group, 16) == cycles(bare, plain, 16)
    assert group_arrays(p, group) == group_arrays(bare, plain)


@pytest.mark.parametrize(("positions", "copies", "rounds"), [(16, 3, 5), (15, 3, 1), (1, 1, 4), (7, 7, 2), (7, 1, 3)])
def test_a_burst_takes_one_interval_for_each_round_of_the_busiest_copy(
    positions: int, copies: int, rounds: int
) -> None:
    """ISAAC: 14 steps of latency, 8 of interval, 120 cycles each."""
    patches = tuple(Table(n, 0, {0: 0}, {n: n}) for n in range(rounds))
    p = program(TARGETS[0], patches, [-1] * rounds, rounds)
    group = replace(p.tiles[0].groups[0], copies=copies)
    turns = -(-positions // copies) * rounds
    assert group_burst_cycles(p, group, positions) == (14 + (turns - 1) * 8) * 120
    assert group_burst_occupancy(p, group, positions) == turns * 8 * 120


#: Channels 0 to 29 of rows 100 to 149 (both row blocks) and outputs 5 to 34 (both crossbars side by side), then
#: channels 10 to 19 once more from rows 0 to 9, of outputs 30 to 39 (31 lie side by side with 0, 32 on not).
PATCHES = (
    Table(0, 0, span(100, 20, 50), span(5, 0, 30)),
    Table(1, 1, span(0, 190, 10), span(30, 10, 10)),
)


def test_actions_of_rounds_counted_by_hand() -> None:
    p = program(TARGETS[0], PATCHES, [*[-1] * 30, 4, 5, 6], 2)
    rows, sums, arrays = 2 * 50 + 2 * 10, 2 * 30 + 10, 4 + 2
    inputs, made, added, copies = 50 + 10, 30 + 10, 10, 3
    moved = inputs + 4 * (made + added + 2 * copies)
    assert actions(p) == {
        "memory_byte": 7 * moved,
        "bus_byte": 7 * moved,
        "input_register_byte": 7 * rows * 2,
        "dac_drive": 7 * rows * 8,
        "cell_read": 7 * 8 * (50 * (4 * 30 + 2) + 10 * (4 * 10 + 2)),  # a unit column on each crossbar
        "sample_hold": 7 * (sums * 4 + arrays) * 8,
        "adc_conversion": 7 * (sums * 4 + arrays) * 8,
        "shift_add": 7 * (sums * 4 * 8 + arrays * 8 + sums),
        "output_register_byte": 7 * sums * 8 * 2 * 3,
        "merge_add": 7 * (sums + added),
    }
    more = Mvma(DST, "x", "k", "g").actions(Context(p, p.tiles[0]))
    assert more["memory_byte"] == 7 * (moved + 4 * 33)
    assert more["vector_element"] == 7 * 33


def test_scaling_is_once_for_each_channel_that_a_round_makes() -> None:
    p = program(TARGETS[2], PATCHES, [-1] * 30, 2)
    found = group_actions(Context(p, p.tiles[0]), DST, "x", "k", "g")
    assert found["scale_multiply"] == 7 * (30 + 10)
    assert found["adc_conversion"] == 7 * (2 * 30 + 10)


def test_inputs_on_several_crossbars_are_read_once_in_a_round() -> None:
    """Two merged patches that share a half of their inputs."""
    patches = (Table(0, 0, span(0, 0, 20), span(0, 0, 4)), Table(0, 0, span(130, 10, 20), span(0, 4, 4)))
    p = program(TARGETS[0], patches, [-1] * 8, 1)
    found = actions(p)
    assert found["memory_byte"] == 7 * (30 + 4 * 8)
    assert found["dac_drive"] == 7 * 40 * 8


def test_crossbars_of_a_round() -> None:
    p = program(TARGETS[0], PATCHES, [*[-1] * 30, 4, 5, 6], 2)
    group = p.tiles[0].groups[0]
    first, second = rounds_of(p, group, outputs_per_array(4, p.machine.array))
    where = [(r.block, int(r.rows[0]), len(r.rows), int(r.columns[0]), len(r.columns)) for r in first.reads]
    assert where == [(0, 100, 28, 5, 27), (1, 128, 22, 5, 27), (0, 100, 28, 32, 3), (1, 128, 22, 32, 3)]
    assert [(len(r.rows), len(r.columns)) for r in second.reads] == [(10, 2), (10, 8)]
    assert second.added.all()
    assert not first.added.any()
    np.testing.assert_array_equal(second.channels, np.arange(10, 20))
    np.testing.assert_array_equal(copied(p, group), ([30, 31, 32], [4, 5, 6]))
