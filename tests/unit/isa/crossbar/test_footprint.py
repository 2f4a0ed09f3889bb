"""Layout: how many crossbars weights take, against a placer that puts every column on a map."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimc_backends import isaac, neural_pim
from pimc_isa.crossbar.footprint import (
    arrays_for,
    check_group,
    footprint,
    group_actions,
    group_arrays,
    group_burst_cycles,
    group_burst_occupancy,
    utilisation,
)
from pimc_isa.define import Context
from pimc_isa.errors import ProgramError
from pimc_isa.flow import Flow
from pimc_isa.instructions import Mvm, Mvma
from pimc_isa.machine import Array
from pimc_isa.operands import Buffer, Group, RowExpr, Slab, Weights, Window
from pimc_isa.program import Program, Tile

ISAAC = isaac.machine()
SLICES = (2, 2, 2, 2)


def place(groups: int, k: int, n: int, slices: int, array: Array) -> int:
    """Crossbars used by putting outputs (or whole small convolution groups) down one after another."""
    room = array.columns + array.unit_columns
    small = groups > 1 and k <= array.rows and n * slices + min(array.unit_columns, 1) <= room
    if small and 2 * k <= array.rows and 2 * (n * slices + min(array.unit_columns, 1)) <= room:
        arrays, rows, columns = 1, 0, 0
        for _ in range(groups):
            if rows + k > array.rows or columns + n * slices + min(array.unit_columns, 1) > room:
                arrays, rows, columns = arrays + 1, 0, 0
            rows, columns = rows + k, columns + n * slices + min(array.unit_columns, 1)
        return arrays
    arrays = 0
    for _ in range(groups):
        for _ in range(0, k, array.rows):
            arrays, columns = arrays + 1, 0
            for _ in range(n):
                if columns + slices > array.columns:
                    arrays, columns = arrays + 1, 0
                columns += slices
    return arrays


@given(
    st.integers(1, 70),
    st.integers(1, 300),
    st.integers(1, 70),
    st.integers(1, 16),
    st.sampled_from([(128, 128, 1), (128, 128, 0), (64, 48, 1), (512, 512, 1)]),
)
def test_arrays_against_placing_one_by_one(
    groups: int, k: int, n: int, slices: int, size: tuple[int, int, int]
) -> None:
    array = replace(ISAAC.array, rows=size[0], columns=size[1], unit_columns=size[2])
    assert arrays_for(groups, k, n, slices, array) == place(groups, k, n, slices, array)


def test_known_layers() -> None:
    array = ISAAC.array
    assert arrays_for(1, 4608, 512, 4, array) == 36 * 16  # last convolution of ResNet-18
    assert arrays_for(1, 512, 1000, 4, array) == 4 * 32
    # depthwise 3x3: 14 groups share the word lines; 14 x (4 + 1) columns fit
    assert arrays_for(512, 9, 1, 4, array) == 37
    # 32 groups of 4 channels in and out, 3x3: 3 share the word lines, 7 the columns
    assert arrays_for(32, 36, 4, 4, array) == 11


def test_footprint_of_a_dense_layer() -> None:
    place = footprint(1, 200, 40, 4, ISAAC.array)
    assert (place.arrays, place.rows, place.columns, place.unit_columns, place.sums) == (4, 400, 320, 4, 80)


def test_footprint_of_a_depthwise_layer() -> None:
    place = footprint(30, 9, 1, 4, ISAAC.array)
    assert (place.arrays, place.rows, place.columns, place.unit_columns, place.sums) == (3, 270, 120, 30, 30)


def test_impossible_layouts_are_refused() -> None:
    with pytest.raises(ProgramError, match="129 columns does not fit"):
        arrays_for(1, 5, 1, 129, ISAAC.array)
    with pytest.raises(ProgramError, match="row blocks of 256 rows"):
        arrays_for(1, 5, 1, 4, ISAAC.array, block_rows=256)


def program(group: Group, flow: Flow | None = None) -> Program:
    """One tile with a 200 x 40 layer (5x5 window over 8 channels)."""
    weights = Weights("w", 1, 200, 40, 128, SLICES)
    x = Buffer("x", "u8", 20, 20, 8, (0, 20), (0, 8), 5)
    acc = Buffer("acc", "i32", 16, 16, 40, (0, 16), (0, 40), 2)
    tile = Tile(1, "t", "tile", 0, 0, 0, (x, acc), (Window("k", (5, 5)),), (group,))
    return Program(ISAAC, (tile,), (), (flow or isaac.flow(),), (weights,), (), (), {})


GROUP = Group("g", "w", "isaac8", (0, 200), (0, 40), (0, 1), copies=3)


def test_copies_multiply_arrays_and_share_positions() -> None:
    p = program(GROUP)
    assert group_arrays(p, GROUP) == 12
    assert group_burst_cycles(p, GROUP, 16) == 14 * 120 + 5 * 8 * 120  # six positions on the busiest copy
    assert group_burst_cycles(p, GROUP, 1) == 14 * 120


def test_a_part_of_a_layer_takes_its_part() -> None:
    part = replace(GROUP, k=(128, 200), n=(0, 33), copies=1)
    assert group_arrays(program(part), part) == 2
    assert utilisation(program(part), part) == pytest.approx(72 * 33 * 4 / (2 * 128 * 128))


def test_actions_of_a_burst_counted_by_hand() -> None:
    p = program(GROUP)
    ctx = Context(p, p.tiles[0])
    dst = Slab("acc", RowExpr(b=3), cols=(2, 9))  # 7 positions
    actions = Mvm(dst, "x", "k", "g").actions(ctx)
    assert actions == {
        "memory_byte": 7 * (200 + 40 * 4),
        "bus_byte": 7 * (200 + 40 * 4),
        "input_register_byte": 7 * 400 * 2,
        "dac_drive": 7 * 400 * 8,
        "cell_read": 7 * 8 * 200 * (160 + 2),  # two arrays across, a unit column in each
        "sample_hold": 7 * (320 + 4) * 8,
        "adc_conversion": 7 * (320 + 4) * 8,
        "shift_add": 7 * (320 * 8 + 4 * 8 + 80),
        "output_register_byte": 7 * 80 * 8 * 2 * 3,  # 23-bit partial sums, read and written
        "merge_add": 7 * 80,
    }
    more = Mvma(dst, "x", "k", "g").actions(ctx)
    assert more["memory_byte"] == actions["memory_byte"] + 7 * 40 * 4
    assert more["vector_element"] == 7 * 40


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (replace(GROUP, weights="v"), "uses weights 'v'"),
        (replace(GROUP, flow="none"), "uses flow 'none'"),
        (replace(GROUP, n=(0, 41)), "n 0:41 is not a range within 0:40"),
        (replace(GROUP, k=(0, 0)), "k 0:0"),
        (replace(GROUP, k=(100, 200)), "cut a row block"),
        (replace(GROUP, k=(0, 100)), "cut a row block"),
    ],
)
def test_groups_that_do_not_fit_their_weights(group: Group, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        check_group(program(group), group)


def test_groups_that_do_not_fit_their_flow() -> None:
    check_group(program(GROUP), GROUP)
    with pytest.raises(ProgramError, match="reads 4 of 8 input bits"):
        check_group(program(GROUP, replace(isaac.flow(), input_bits=4)), GROUP)
    wide = replace(GROUP, flow="isaac16")
    with pytest.raises(ProgramError, match="flow isaac16 reads"):
        check_group(program(wide, isaac.flow("isaac16")), wide)


def test_no_unit_columns_where_the_array_has_none() -> None:
    bare = replace(ISAAC.array, unit_columns=0)
    for found in (footprint(30, 9, 1, 4, bare), footprint(1, 200, 40, 4, bare)):
        assert found.unit_columns == 0
    # 128 / 9 = 14 groups by rows, 128 / 4 = 32 by columns
    assert footprint(30, 9, 1, 4, bare).arrays == 3


def test_row_blocks_may_be_as_high_as_the_array_and_no_higher() -> None:
    assert footprint(1, 256, 1, 4, ISAAC.array, 128).arrays == 2
    assert footprint(1, 256, 1, 4, ISAAC.array, 1).arrays == 256
    for height in (0, 129):
        with pytest.raises(ProgramError, match=f"row blocks of {height} rows"):
            footprint(1, 256, 1, 4, ISAAC.array, height)


@pytest.mark.parametrize(("copies", "positions", "turns"), [(3, 16, 6), (3, 15, 5), (3, 1, 1), (16, 16, 1), (1, 7, 7)])
def test_a_group_is_busy_one_interval_for_each_position_of_its_busiest_copy(
    copies: int, positions: int, turns: int
) -> None:
    g = replace(GROUP, copies=copies)
    assert group_burst_occupancy(program(g), g, positions) == turns * 8 * 120
    assert group_burst_cycles(program(g), g, positions) == (14 + (turns - 1) * 8) * 120


def test_actions_of_analog_additions_counted_by_hand() -> None:
    """Neural-PIM: 8 pairs of columns an output, 2 input slices of 4 bits, one conversion an output and row block."""
    flow, machine = neural_pim.flow(), neural_pim.machine()
    weights = Weights("w", 2, 150, 10, 128, (1,) * 8, True)
    g = Group("g", "w", flow.name, (0, 150), (2, 10), (0, 2), 1, 0.5, 2.0)
    x = Buffer("x", "u8", 4, 4, 300, (0, 4), (0, 300), 4)
    acc = Buffer("acc", "i32", 4, 4, 20, (0, 4), (0, 20), 2)
    t = Tile(1, "t", "tile", 0, 0, 0, (x, acc), (Window("k", (1, 1)),), (g,))
    p = Program(machine, (t,), (), (flow,), (weights,), (), (), {})
    actions = group_actions(Context(p, t), Slab("acc", RowExpr(), (0, 3), (0, 16)), "x", "k", "g")
    sums = 2 * 8 * 2  # groups, outputs, row blocks
    assert actions["adc_conversion"] == actions["fold"] / 2 == 3 * sums
    assert actions["sample_hold"] == 3 * (sums * 16 * 2 + sums * 2)
    assert actions["scale_multiply"] == 3 * 2 * 8
    assert actions["cell_read"] == 3 * 2 * (2 * 150) * (8 * 16)
    assert actions["merge_add"] == 3 * sums
    assert actions["memory_byte"] == 3 * (150 * 2 + 16 * 4)
    assert "buffer_write" not in actions


NPIM = Group("g", "w", "npim8", (0, 150), (0, 10), (0, 1), 1, 0.5, 2.0)


@pytest.mark.parametrize(
    ("fields", "legal"),
    [
        ({}, True),
        ({"v_max": 0.001, "gain": 0.001}, True),
        ({"v_max": 0.0}, False),
        ({"v_max": -0.5}, False),
        ({"v_max": inf}, False),
        ({"v_max": nan}, False),
        ({"gain": 0.0}, False),
        ({"gain": inf}, False),
        ({"gain": nan}, False),
    ],
)
def test_ranged_conversions_need_a_scale(fields: dict[str, float], legal: bool) -> None:
    weights = Weights("w", 1, 150, 10, 128, (1,) * 8, True)
    g = replace(NPIM, **fields)  # type: ignore[arg-type]
    p = Program(neural_pim.machine(), (), (), (neural_pim.flow(),), (weights,), (), (), {})
    with nullcontext() if legal else pytest.raises(ProgramError, match="ranged conversions"):
        check_group(p, g)


def test_a_scale_without_ranged_conversions_is_refused() -> None:
    g = replace(GROUP, v_max=0.5)
    with pytest.raises(ProgramError, match="has no ranged conversions"):
        check_group(program(g), g)
