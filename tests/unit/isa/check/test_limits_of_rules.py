"""Rules of the check at their limits: the last legal value passes, the next is refused."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pimc_isa.check.code import check_code
from pimc_isa.check.rows import RowChecker
from pimc_isa.check.tensors import program_tensors, tile_tensors
from pimc_isa.check.tile import descriptor_problems, memory_problems
from pimc_isa.define import Context, Instr
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import Add, Copy, End, Halt, Loop, Lut, PoolMax, Recv
from pimc_isa.limits import LIMITS
from pimc_isa.operands import Buffer, Call, Channel, Elementwise, Requant, RowExpr, Slab, Table, View, Window
from pimc_isa.program import Program, Tile
from tests.unit.isa.engines.tiny import ROW0, buffer, machine, program, slab, tile

I = RowExpr(1)  # noqa: E741
BIG = 2**31 - 1


def refused(legal: bool) -> AbstractContextManager[Any]:
    return nullcontext() if legal else pytest.raises(ProgramError)


def judge(*code: Instr, **parts: Any) -> None:
    """Check the code of a tile with rings x and y of 4 rows of 4 columns x 2 channels."""
    rings = buffer("x", 4, 4), buffer("y", 4, 4), Buffer("part", "u8", 4, 4, 2, (1, 3), (0, 1), 4)
    t = Tile(1, "t", "tile", 0, 0, 0, rings, code=(*code, Halt()), **parts)
    check_code(program(machine(), (t,), Channel("c", 2, (1,), 1)), t, "t")


@pytest.mark.parametrize(("row", "legal"), [(-1, False), (0, True), (3, True), (4, False)])
@pytest.mark.parametrize("reads", [True, False])
def test_rows_of_a_ring(row: int, legal: bool, reads: bool) -> None:
    at, zero = RowExpr(0, row), ROW0
    with refused(legal):
        judge(Copy(slab("y", zero if reads else at), slab("x", at if reads else zero)))


@pytest.mark.parametrize(("times", "first", "legal"), [(4, 0, True), (5, 0, False), (3, 1, True), (4, 1, False)])
def test_rows_of_a_loop_end_at_the_last_iteration(times: int, first: int, legal: bool) -> None:
    with refused(legal):
        judge(Loop(times), Copy(slab("y", RowExpr(1, first)), slab("x", ROW0)), End())


def test_outside_a_loop_the_counter_is_0() -> None:
    copy = Copy(slab("y", I), slab("x", I))
    judge(copy, Loop(2), Copy(slab("x", I), slab("y", I)), End(), copy)
    with pytest.raises(ProgramError, match="row i-1 is -1"):
        judge(Loop(2), copy, End(), Copy(slab("y", RowExpr(1, -1)), slab("x", ROW0)))
    with pytest.raises(ProgramError, match="instruction 4"):  # the same instruction, in a longer loop
        judge(copy, Loop(5), End(), Loop(5), copy, End())


@pytest.mark.parametrize(
    ("row", "legal"),
    [
        (RowExpr(0, BIG, BIG), True),
        (RowExpr(0, 0, BIG), True),
        (RowExpr(0, 0, BIG + 1), False),
        (RowExpr(BIG, 0), True),
        (RowExpr(BIG + 1, 0), False),
        (RowExpr(0, BIG, BIG - 1), True),
        (RowExpr(0, BIG + 1, BIG), False),
        (RowExpr(0, 1, 1), True),
        (RowExpr(0, 0, 0), False),
        (RowExpr(0, 0, -1), False),
    ],
)
@pytest.mark.parametrize("kind", ["slab", "until"])
def test_numbers_of_row_expressions(row: RowExpr, legal: bool, kind: str) -> None:
    taken = Recv(slab("x"), "c", row)
    with refused(legal):
        judge(taken if kind == "until" else Copy(slab("y", row), slab("x", ROW0)))


@pytest.mark.parametrize(
    ("part", "legal"),
    [((0, 4), True), ((0, 5), False), ((-1, 4), False), ((3, 4), True), ((2, 2), False), ((3, 2), False)],
)
def test_columns_of_row_parts(part: tuple[int, int], legal: bool) -> None:
    with refused(legal):
        judge(Copy(Slab("y", ROW0, part), Slab("x", ROW0, part)))


@pytest.mark.parametrize(
    ("cols", "chans", "legal"),
    [((1, 3), (0, 1), True), ((0, 3), (0, 1), False), ((1, 4), (0, 1), False), ((1, 3), (0, 2), False)],
)
def test_a_part_of_a_tensor_has_only_what_it_holds(cols: tuple[int, int], chans: tuple[int, int], legal: bool) -> None:
    with refused(legal):
        judge(Copy(Slab("y", ROW0, cols, chans), Slab("part", ROW0, cols, chans)))


@pytest.mark.parametrize(
    ("cols", "window", "legal"),
    [
        ((1, 3), Window("w", (1, 1)), True),
        ((1, 2), Window("w", (1, 2)), True),
        ((1, 3), Window("w", (1, 2)), False),
        ((0, 2), Window("w", (1, 1)), False),
        ((2, 3), Window("w", (1, 2), pads=(0, 1, 0, 0)), True),
        ((1, 3), Window("w", (1, 2), pads=(0, 1, 0, 0)), False),
        ((0, 1), Window("w", (1, 1), pads=(0, 9, 0, 0)), True),  # sees padding only
        ((1, 2), Window("w", (1, 2), dilation=(1, 2)), False),
    ],
)
def test_columns_that_a_window_sees(cols: tuple[int, int], window: Window, legal: bool) -> None:
    with refused(legal):
        judge(PoolMax(Slab("y", ROW0, cols, (0, 1)), "part", "w"), windows=(window,))


def test_channels_that_a_window_sees() -> None:
    for chans, legal in (((0, 1), True), ((1, 2), False), ((0, 2), False)):
        with refused(legal):
            judge(PoolMax(Slab("y", ROW0, (1, 3), chans), "part", "w"), windows=(Window("w", (1, 1)),))


@pytest.mark.parametrize(("cols", "legal"), [((0, 4), True), ((2, 3), True), ((0, 2), False)])
def test_only_a_single_column_is_broadcast(cols: tuple[int, int], legal: bool) -> None:
    one = Elementwise("e", (1.0, 0), (1.0, 0), (1.0, 0))
    with refused(legal):
        judge(Add(slab("y", ROW0), slab("x", ROW0), Slab("x", ROW0, cols), "e"), elementwises=(one,))
    with refused(cols == (0, 4)):
        judge(Copy(slab("y", ROW0), Slab("x", ROW0, cols)))


# ---- descriptors ----


def problems(**parts: Any) -> list[str]:
    t = Tile(1, "t", "tile", 0, 0, 0, **parts)
    return list(descriptor_problems(program(machine(), (t,)), t))


@pytest.mark.parametrize(
    ("fields", "legal"),
    [
        ({}, True),
        ({"slots": 0}, False),
        ({"rows": 0}, False),
        ({"cols": (0, 5)}, False),
        ({"cols": (3, 4)}, True),
        ({"cols": (-1, 4)}, False),
        ({"cols": (2, 2)}, False),
        ({"chans": (0, 3)}, False),
        ({"chans": (1, 2)}, True),
        ({"dtype": "i32"}, True),
        ({"dtype": "i16"}, False),
        ({"views": (View("t", "CHW", (2, 4, 4)),)}, True),
        ({"views": (View("t", "CHW", (3, 4, 4), 128, 1),)}, True),
        ({"views": (View("t", "CHW", (3, 4, 4), 0, 2),)}, False),
        ({"views": (View("t", "CHW", (1, 4, 4)),)}, False),
        ({"views": (View("t", "CHW", (2, 4, 5)),)}, False),
        ({"views": (View("t", "WHC", (2, 4, 4)),)}, False),
        ({"views": (View("t", "CHW", (2, 4, 4), 127),)}, False),
        ({"views": (View("t", "CHW", (2, 4, 4), 0, -1),)}, False),
        ({"views": (View("t", "CHW", (2, 4, 4)),) * 2}, False),
    ],
)
def test_buffers(fields: dict[str, Any], legal: bool) -> None:
    b: Buffer = replace(buffer("x", 4, 4), **fields)
    assert bool(problems(buffers=(b,))) != legal


@pytest.mark.parametrize(
    ("fields", "legal"),
    [
        ({}, True),
        ({"kernel": (0, 1)}, False),
        ({"kernel": (1, 0)}, False),
        ({"stride": (1, 0)}, False),
        ({"dilation": (0, 1)}, False),
        ({"pads": (0, 0, 0, -1)}, False),
        ({"pads": (5, 5, 5, 5)}, True),
        ({"pad_value": 255}, True),
        ({"pad_value": 256}, False),
        ({"pad_value": -1}, False),
    ],
)
def test_windows(fields: dict[str, Any], legal: bool) -> None:
    w: Window = replace(Window("w", (2, 2)), **fields)
    assert bool(problems(windows=(w,))) != legal


@pytest.mark.parametrize(
    ("lo", "hi", "zero", "legal"),
    [
        (0, 255, 0, True),
        (0, 255, 255, True),
        (7, 7, 3, True),
        (-1, 255, 0, False),
        (0, 256, 0, False),
        (8, 7, 0, False),
        (0, 255, -1, False),
        (0, 255, 256, False),
    ],
)
def test_limits_and_zero_points(lo: int, hi: int, zero: int, legal: bool) -> None:
    assert bool(problems(requants=(Requant("q", "q", zero, lo, hi),))) != legal
    one = (1.0, 0)
    for place in range(3):
        sides = [one, one, one]
        sides[place] = (1.0, zero)
        assert bool(problems(elementwises=(Elementwise("e", sides[0], sides[1], sides[2], lo, hi),))) != legal


@pytest.mark.parametrize(
    ("scale", "legal"),
    [(0.5, True), (2.0**-149, True), (0.1, False), (0.0, False), (-0.5, False), (float("inf"), False), (1e300, False)],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_scales_are_positive_float32_values(scale: float, legal: bool, place: int) -> None:
    sides = [(1.0, 0)] * 3
    sides[place] = (scale, 0)
    assert bool(problems(elementwises=(Elementwise("e", sides[0], sides[1], sides[2]),))) != legal


@pytest.mark.parametrize(
    ("inputs", "outputs", "legal"),
    [
        ((("a", "x"), ("b", "y")), (("o", "z"),), True),
        ((("a", "x"), ("b", "x")), (("o", "z"),), True),  # two inputs of the subgraph may read one buffer
        ((("a", "x"), ("a", "y")), (("o", "z"),), False),
        ((("a", "x"),), (("o", "y"), ("p", "z")), True),
        ((("a", "x"),), (("o", "y"), ("o", "z")), False),
        ((("a", "x"),), (("o", "z"), ("p", "z")), False),
        ((("a", "w"),), (("o", "z"),), False),
        ((("a", "$w"),), (("o", "z"),), False),
    ],
)
def test_ends_of_a_call(inputs: Any, outputs: Any, legal: bool) -> None:
    rings = tuple(buffer(name, 4, 4) for name in "xyz")
    t = Tile(0, "t", "host", 0, 0, 0, rings, calls=(Call("c", "m", inputs, outputs),))
    assert bool(list(descriptor_problems(program(machine(), (t,)), t))) != legal


def test_names_are_declared_once() -> None:
    assert problems(buffers=(buffer("x", 4, 4),) * 2) == ["buffer 'x' is declared twice"]
    assert not problems(buffers=(buffer("x", 4, 4),), windows=(Window("x", (1, 1)),))


# ---- tensors and memory ----


F32, I32, U8 = np.float32, np.int32, np.uint8


@pytest.mark.parametrize(
    ("multiplier", "bias", "legal"),
    [
        (np.ones(1, F32), np.ones(3, I32), True),
        (np.zeros(3, F32), np.zeros(1, I32), True),
        (np.ones(0, F32), np.ones(1, I32), False),
        (np.ones((1, 1), F32), np.ones(1, I32), False),
        (np.ones(1, np.float64), np.ones(1, I32), False),
        (np.ones(1, F32), np.ones(1, np.int64), False),
        (np.full(2, 2.0**64, F32), np.ones(1, I32), True),
        (np.array([1, 2.0**65], F32), np.ones(1, I32), False),
        (np.array([1, -1], F32), np.ones(1, I32), False),
        (np.array([np.nan], F32), np.ones(1, I32), False),
    ],
)
def test_tensors_of_a_requantisation(multiplier: np.ndarray, bias: np.ndarray, legal: bool) -> None:
    t = Tile(1, "t", "tile", 0, 0, 0, requants=(Requant("q", "q", 0),))
    p = replace(program(machine(), (t,)), tensors={"q.multiplier": multiplier, "q.bias": bias})
    assert bool(list(tile_tensors(p, t))) != legal


@pytest.mark.parametrize(("size", "legal"), [(255, False), (256, True), (257, False)])
def test_tables_have_256_entries(size: int, legal: bool) -> None:
    t = Tile(1, "t", "tile", 0, 0, 0, tables=(Table("t", "t"),))
    p = replace(program(machine(), (t,)), tensors={"t": np.zeros(size, U8)})
    assert bool(list(tile_tensors(p, t))) != legal
    assert bool(list(tile_tensors(replace(p, tensors={}), t)))


def test_a_reference_may_be_empty_but_is_a_list_of_bytes() -> None:
    base = program(machine(), ())
    for tensor, legal in ((np.zeros(0, U8), True), (np.zeros(3, U8), True), (np.zeros((1, 3), U8), False)):
        assert bool(list(program_tensors(replace(base, tensors={"reference": tensor})))) != legal
    assert not list(program_tensors(base))


@pytest.mark.parametrize(("spare", "legal"), [(0, True), (-1, False), (1, True)])
def test_memory_holds_rings_and_queues_to_the_last_byte(spare: int, legal: bool) -> None:
    # rings: 3 slots of 8 bytes, 2 slots of 4 columns x 2 channels x 4 bytes; a queue of 5 messages of 8 bytes
    rings = replace(buffer("x", 4, 4), slots=3), replace(buffer("s", 4, 2), dtype="i32")
    code = Loop(4), Recv(slab("x"), "c", RowExpr(1, 1)), Lut(slab("x"), slab("x"), "t"), End(), Halt()
    t = tile(1, (0, 0, 0), rings, *code)
    m = machine()
    small = replace(m, tile=replace(m.tile, memory_bytes=3 * 8 + 2 * 32 + 5 * 8 + spare))
    p: Program = program(small, (t,), Channel("c", 2, (1,), 5))
    assert bool(list(memory_problems(p, t))) != legal
    host = replace(t, kind="host")
    assert not list(memory_problems(p, host))


@pytest.mark.parametrize("extra", [0, 1])
def test_rows_read_and_written_at_the_limit(extra: int) -> None:
    """64 rows arrive and are read by every window; 64 for each instruction and each access of a part, in between."""
    most = LIMITS["row accesses"].most
    once = 1 + 64 + 64 * 5 + 64 * 3  # the recv and its rows; five instructions; recv, read and write
    times = (most - once) // (1 + 64)  # each iteration is an instruction that reads 64 rows
    code = Recv(slab("x"), "c", RowExpr(0, 64)), Loop(times + extra), PoolMax(slab("y", ROW0), "x", "w"), End(), Halt()
    rings = buffer("x", 64, 64), buffer("y", 64, 64)
    t = Tile(1, "t", "tile", 0, 0, 0, rings, windows=(Window("w", (64, 1)),), code=code)
    p = program(machine(), (t,), Channel("c", 2, (1,), 64))
    with refused(not extra):
        RowChecker().check(Context(p, t), "t")
