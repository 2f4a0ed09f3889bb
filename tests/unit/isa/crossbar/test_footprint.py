"""Layout: how many crossbars weights take, against a placer that puts every column on a map."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimc_backends import isaac
from pimc_isa.crossbar.footprint import (
    arrays_for,
    check_group,
    footprint,
    group_arrays,
    group_burst_cycles,
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
        "array_read": 7 * 4 * 8,
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
