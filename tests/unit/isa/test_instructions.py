"""Cycles, actions and rules of instructions on small row parts, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pimc_isa.define import Context, Touch
from pimc_isa.instructions import Add, CallHost, CallRow, Copy, Lut, Mvm, PoolMax, PoolSum, Recv, Send
from pimc_isa.operands import Buffer, Call, Group, RowExpr, RowRange, Slab, Weights, Window
from pimc_isa.program import Program, Tile
from tests.unit.isa.engines.tiny import ROW0, machine, slab

#: x: 6 rows of 5 columns x 3 channels; sums: the same of i32; wide: 8 channels.
BUFFERS = tuple(
    Buffer(name, dtype, 6, 5, channels, (0, 5), (0, channels), 3)
    for name, dtype, channels in (("x", "u8", 3), ("sums", "i32", 3), ("wide", "u8", 8))
)
CALL = Call("head", "m", (("a", "x"), ("b", "$in")), (("c", "wide"), ("d", "$out"), ("e", "x")))
TILE = Tile(1, "t", "tile", 0, 0, 0, BUFFERS, (Window("k", (2, 3)),), calls=(CALL,))
CTX = Context(Program(machine(), (TILE,), (), (), (), (), (), {}), TILE)  # bus 4 B, 4 lanes, links 4 B, host 8


@pytest.mark.parametrize(
    ("instr", "cycles"),
    [
        (Copy(slab("x"), slab("x")), 4),  # 15 bytes over a bus of 4
        (Copy(Slab("x", ROW0, (0, 4), (0, 1)), Slab("x", ROW0, (0, 4), (0, 1))), 1),
        (Copy(slab("sums"), slab("sums")), 15),
        (Recv(slab("x"), "c", ROW0), 4),
        (Recv(slab("wide"), "c", ROW0), 10),
        (Send("c", slab("x")), 4),
        (Send("c", slab("sums")), 15),
        (Lut(slab("x"), slab("x"), "t"), 4),  # 15 elements on 4 lanes
        (Add(slab("wide"), slab("wide"), Slab("wide", ROW0, (0, 1)), "e"), 10),
        (PoolMax(slab("x"), "x", "k"), 23),  # 15 x 6 taps on 4 lanes
        (PoolSum(Slab("sums", ROW0, (1, 3)), "x", "k"), 9),
        (CallHost("head"), 42),  # 6 x 5 x (3 + 8) elements, each buffer once, at 8 a cycle
        (CallRow("head", RowExpr(1)), 7),  # 5 x (3 + 8) elements at 8 a cycle
    ],
)
def test_cycles(instr: Copy, cycles: int) -> None:
    assert instr.cycles(CTX) == instr.occupancy(CTX) == cycles


@pytest.mark.parametrize(
    ("instr", "actions"),
    [
        (Copy(slab("x"), slab("x")), {"memory_byte": 30, "bus_byte": 30}),
        (Recv(slab("x"), "c", ROW0), {"memory_byte": 15, "bus_byte": 15}),
        (Send("c", slab("sums")), {"memory_byte": 60, "bus_byte": 60}),
        (Lut(slab("x"), slab("x"), "t"), {"vector_element": 15, "memory_byte": 30}),
        (
            Add(slab("wide"), slab("wide"), Slab("wide", ROW0, (0, 1)), "e"),
            {"vector_element": 40, "memory_byte": 40 + 40 + 8},
        ),
        (PoolMax(slab("x"), "x", "k"), {"pool_element": 90, "memory_byte": 15 + 90}),
        (PoolSum(slab("sums"), "x", "k"), {"vector_element": 90, "memory_byte": 60 + 90}),
        (CallHost("head"), {}),
        (CallRow("head", RowExpr(1)), {}),
    ],
)
def test_actions(instr: Copy, actions: dict[str, int]) -> None:
    assert instr.actions(CTX) == actions


def test_a_call_reads_and_writes_whole_buffers() -> None:
    assert CallHost("head").reads(CTX, 3) == [Touch("x", (0, 6))]
    assert CallHost("head").writes(CTX, 3) == [Touch("wide", (0, 6)), Touch("x", (0, 6))]


def test_a_call_by_rows_touches_its_row_of_each_buffer() -> None:
    call = CallRow("head", RowExpr(1, 1))
    assert call.reads(CTX, 3) == [Touch("x", (4, 5))]
    assert call.writes(CTX, 3) == [Touch("wide", (4, 5)), Touch("x", (4, 5))]
    assert [p for p in call.problems(CTX)][:1] == ["call 'head' uses the port $in, which has no rows: run it whole"]


@pytest.mark.parametrize(("until", "rows"), [(-3, 0), (0, 0), (5, 5), (6, 6), (7, 6)])
def test_rows_that_arrive_lie_in_the_buffer(until: int, rows: int) -> None:
    recv = Recv(slab("x"), "c", RowExpr(2, until - 4))
    assert recv.rows_until(CTX, 2) == rows
    assert recv.writes(CTX, 2) == [Touch("x", (0, rows))]


@pytest.mark.parametrize(
    ("rows", "every", "until_4"),
    [
        (RowRange(), [0, 1, 2, 3, 4, 5], 4),
        (RowRange(1, None, 2), [1, 3, 5], 2),
        (RowRange(0, 5, 4), [0, 4], 1),
        (RowRange(2, 4), [2, 3], 2),
        (RowRange(4), [4, 5], 0),
    ],
)
def test_messages_of_a_range(rows: RowRange, every: list[int], until_4: int) -> None:
    """Of six rows those in the range, message by message; when rows below 4 have arrived; what a send sends."""
    recv, send = Recv(slab("x"), "c", RowExpr(2), rows), Send("c", Slab("x", RowExpr(1)), rows)
    assert list(recv.row_of_message(CTX)) == every
    assert recv.taken_until(CTX, 2) == until_4
    written = [row for touch in recv.writes(CTX, 2) for row in range(*touch.rows)]
    assert written == every[:until_4]
    assert [i for i in range(6) if send.sends(CTX, i)] == every
    assert [send.reads(CTX, i) == [Touch("x", (i, i + 1))] for i in range(6)] == [i in every for i in range(6)]


# ---- which channels a dot product reads and makes ----


def grouped(total: int, per_group: int, outputs: int, held: tuple[int, int], **part: object) -> Context:
    """A 1x2 window over ``total`` convolution groups of ``per_group`` channels; the tile holds channels ``held``."""
    weights = Weights("w", total, 2 * per_group, outputs, 8, (2, 2, 2, 2))
    x = Buffer("x", "u8", 4, 4, total * per_group, (0, 4), held, 4)
    acc = Buffer("acc", "i32", 4, 4, total * outputs, (0, 4), (0, total * outputs), 4)
    whole = Group("g", "w", "f", (0, weights.k), (0, outputs), (0, total))
    t = Tile(1, "t", "tile", 0, 0, 0, (x, acc), (Window("k", (1, 2)),), (replace(whole, **part),))  # type: ignore[arg-type]
    return Context(Program(machine(), (t,), (), (), (weights,), (), (), {}), t)


def mvm(*chans: int) -> Mvm:
    return Mvm(Slab("acc", ROW0, None, (chans[0], chans[1])), "x", "k", "g")


@pytest.mark.parametrize(
    ("groups", "part", "held", "window", "makes"),
    [
        (1, (0, 1), (0, 3), (0, 3), (0, 5)),
        (2, (0, 2), (0, 6), (0, 6), (0, 10)),
        (2, (1, 2), (0, 6), (3, 6), (5, 10)),
        (4, (1, 3), (3, 12), (3, 9), (5, 15)),
    ],
)
def test_channels_of_convolution_groups(
    groups: int, part: tuple[int, int], held: tuple[int, int], window: tuple[int, int], makes: tuple[int, int]
) -> None:
    ctx = grouped(groups, 3, 5, held, groups=part)
    assert mvm(*makes).window_chans(ctx) == window
    assert not list(mvm(*makes).problems(ctx))
    assert list(mvm(makes[0], makes[1] - 1).problems(ctx))
    assert list(mvm(makes[0] + 1, makes[1]).problems(ctx))


@pytest.mark.parametrize(
    ("groups", "part", "n", "makes", "legal"),
    [
        (1, (0, 1), (1, 4), (1, 4), True),
        (3, (1, 2), (1, 4), (6, 9), True),  # some outputs of one convolution group
        (3, (1, 3), (0, 5), (5, 15), True),
        (3, (1, 3), (0, 4), (5, 14), False),  # of several groups all outputs or none
        (3, (0, 2), (1, 5), (1, 10), False),
    ],
)
def test_several_groups_make_all_their_outputs(
    groups: int, part: tuple[int, int], n: tuple[int, int], makes: tuple[int, int], legal: bool
) -> None:
    ctx = grouped(groups, 3, 5, (0, 3 * groups), groups=part, n=n)
    assert bool(list(mvm(*makes).problems(ctx))) != legal


@pytest.mark.parametrize(("held", "legal"), [((0, 3), True), ((0, 2), False), ((1, 3), False)])
def test_a_dense_layer_needs_all_channels(held: tuple[int, int], legal: bool) -> None:
    assert bool(list(mvm(0, 5).problems(grouped(1, 3, 5, held)))) != legal
