"""The program verifier: every rule by one change to a legal program; hazards against a slow sequential model."""

from __future__ import annotations

import contextlib
import dataclasses
from functools import cache
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pimc_isa.check import check
from pimc_isa.check.rows import RowChecker
from pimc_isa.define import REGISTRY, Context, Instr, fields_of
from pimc_isa.errors import FlowError, PimcError, ProgramError
from pimc_isa.instructions import Copy, End, Halt, Loop, PoolMax, Recv, Send
from pimc_isa.operands import ALL_ROWS, Buffer, Channel, RowExpr, RowRange, Slab, Window
from pimc_isa.program import Program, Tile
from pimc_isa.text import assemble, read_assembly
from tests.properties.programs import random_program
from tests.unit.isa.cases import GOLDEN, Case, cases
from tests.unit.isa.engines.tiny import ROW0, buffer, machine, program, slab

EVERY = GOLDEN / "isa" / "every.pimasm"


@cache
def every() -> Program:
    return read_assembly(EVERY)


@pytest.mark.parametrize("case", cases("verify"), ids=str)
def test_verify_errors(case: Case, update_golden: bool) -> None:
    """A line changed, and the message with tile and instruction."""
    program = assemble(case.edit(EVERY.read_text(encoding="utf-8")))
    with pytest.raises((ProgramError, FlowError)) as raised:
        check(program)
    case.expect(str(raised.value), update_golden)
    assert len(str(raised.value).split("\n")) <= 3


@pytest.mark.parametrize("seed", range(150))
def test_random_legal_programs_pass(seed: int) -> None:
    check(random_program(Random(seed)))


def test_every_operand_kind_is_checked() -> None:
    """A name that nothing declares is found in every field of every instruction."""
    program = read_assembly(EVERY)
    seen = set()
    for number, tile in enumerate(program.tiles):
        for position, instr in enumerate(tile.code):
            for name, spec in fields_of(type(instr)):
                if spec.kind not in ("slab", "ref"):
                    continue
                value = getattr(instr, name)
                wrong = dataclasses.replace(value, buffer="nowhere") if spec.kind == "slab" else "nowhere"
                code = (*tile.code[:position], _with(instr, name, wrong), *tile.code[position + 1 :])
                with pytest.raises(ProgramError, match=r"nowhere|written 0 times"):
                    check(_with_tile(program, number, dataclasses.replace(tile, code=code)))
                seen.add(type(instr))
    assert seen == {cls for cls in REGISTRY.values() if any(s.kind in ("slab", "ref") for _, s in fields_of(cls))}


def _with(value: Any, name: str, new: object) -> Any:
    return dataclasses.replace(value, **{name: new})


def _with_tile(program: Program, number: int, tile: Tile) -> Program:
    tiles = (*program.tiles[:number], tile, *program.tiles[number + 1 :])
    return dataclasses.replace(program, tiles=tiles)


# ---- hazards ----


rows = st.builds(RowExpr, st.integers(0, 2), st.integers(0, 3), st.integers(1, 2))
parts = st.sampled_from([None, (0, 2), (1, 3), (0, 1)])
sizes = st.tuples(st.integers(1, 3), st.just(1))
ranges = st.builds(RowRange, st.integers(0, 2), st.none() | st.integers(1, 6), st.integers(1, 3))
windows = st.builds(
    lambda kernel, stride, dilation, top: Window("w", kernel, stride, (top, 0, 0, 0), dilation),
    *(sizes, sizes, sizes, st.integers(0, 2)),
)


@st.composite
def streams(draw: st.DrawFn) -> Tile:
    """A tile that copies between two rings, pools, sends, and receives from two channels; rows may be wrong."""
    heights = {"a": draw(st.integers(1, 6)), "b": draw(st.integers(1, 6))}
    buffers = tuple(Buffer(n, "u8", h, 3, 2, (0, 3), (0, 2), draw(st.integers(1, h))) for n, h in heights.items())
    slabs = st.builds(Slab, st.sampled_from("ab"), rows, parts, st.none())
    instrs = st.one_of(
        st.builds(Copy, slabs, slabs),
        st.builds(Recv, slabs, st.sampled_from(["c", "d"]), rows, st.just(ALL_ROWS) | ranges),
        st.builds(Send, st.just("e"), slabs, st.just(ALL_ROWS) | ranges),
        st.builds(PoolMax, slabs, st.sampled_from("ab"), st.just("w")),
    )
    code: list[Instr] = []
    for _ in range(draw(st.integers(1, 3))):
        body = draw(st.lists(instrs, min_size=1, max_size=3))
        code += [Loop(draw(st.integers(1, 5))), *body, End()] if draw(st.booleans()) else body
    return Tile(1, "t", "tile", 0, 0, 0, buffers, (draw(windows),), code=(*code, Halt()))


def executions(tile: Tile) -> list[tuple[int, Instr, int]]:
    done: list[tuple[int, Instr, int]] = []
    at = 0
    while at < len(tile.code):
        instr = tile.code[at]
        if isinstance(instr, Loop):
            end = next(n for n in range(at, len(tile.code)) if isinstance(tile.code[n], End))
            done += [(n, tile.code[n], i) for i in range(instr.times) for n in range(at + 1, end)]
            at = end
        elif not isinstance(instr, Halt):
            done.append((at, instr, 0))
        at += 1
    return done


def slow_hazard(tile: Tile) -> int | None:
    """Position of the first instruction that reads an element whose slot does not hold it: element by element."""
    held: dict[tuple[str, int, int], int] = {}
    taken: dict[str, int] = {}
    brought: set[tuple[str, int, int, int]] = set()

    def elements(slab: Slab, row: int) -> list[tuple[str, int, int]]:
        b = tile.buffer[slab.buffer]
        lo, hi = slab.cols or b.cols
        return [(b.name, row % b.slots, x) for x in range(lo, hi)]

    def named(rows: RowRange, slab: Slab) -> list[int]:
        """The rows of a range that the buffer has."""
        height = tile.buffer[slab.buffer].rows
        stop = height if rows.stop is None else rows.stop
        return [r for r in range(height) if rows.first <= r < stop and (r - rows.first) % rows.step == 0]

    def merges(buffer: str) -> bool:
        """Whether ranges say who brings what, so that nothing may come twice."""
        recvs = (i for i in tile.code if isinstance(i, Recv) and i.dst.buffer == buffer)
        return any(i.rows != ALL_ROWS for i in recvs)

    def seen(pool: PoolMax, i: int) -> list[int]:
        """Rows from the first tap to the last; those between dilated taps count."""
        w, height = tile.window["w"], tile.buffer[pool.src].rows
        taps = [pool.dst.row.at(i) * w.stride[0] - w.pads[0] + t * w.dilation[0] for t in range(w.kernel[0])]
        return [row for row in range(taps[0], taps[-1] + 1) if 0 <= row < height]

    for position, instr, i in executions(tile):
        if isinstance(instr, Copy):
            row = instr.src.row.at(i)
            if any(held.get(e) != row for e in elements(instr.src, row)):
                return position
            row = instr.dst.row.at(i)
            held.update(dict.fromkeys(elements(instr.dst, row), row))
        elif isinstance(instr, PoolMax):
            for row in seen(instr, i):
                if any(held.get(e) != row for e in elements(dataclasses.replace(instr.dst, buffer=instr.src), row)):
                    return position
            row = instr.dst.row.at(i)
            held.update(dict.fromkeys(elements(instr.dst, row), row))
        elif isinstance(instr, Recv):
            for row in named(instr.rows, instr.dst)[taken.get(instr.channel, 0) :]:
                if row >= instr.until.at(i):
                    break
                if merges(instr.dst.buffer) and any((*e, row) in brought for e in elements(instr.dst, row)):
                    return position
                brought |= {(*e, row) for e in elements(instr.dst, row)}
                held.update(dict.fromkeys(elements(instr.dst, row), row))
                taken[instr.channel] = taken.get(instr.channel, 0) + 1
        elif isinstance(instr, Send) and instr.src.row.at(i) in named(instr.rows, instr.src):
            row = instr.src.row.at(i)
            if any(held.get(e) != row for e in elements(instr.src, row)):
                return position
    return None


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(streams())
def test_hazards_equal_a_sequential_model(tile: Tile) -> None:
    program = every()
    channels = (Channel("c", 0, (1,), 1), Channel("d", 0, (1,), 1), Channel("e", 1, (0,), 1))
    ctx = Context(dataclasses.replace(program, tiles=(tile,), channels=channels), tile)
    expected = slow_hazard(tile)
    try:
        RowChecker().check(ctx, "t")
        found = None
    except ProgramError as error:
        found = int(str(error).split("instruction ")[1].split(" ")[0])
    assert found == expected


def test_rows_arrive_once_even_if_until_goes_back() -> None:
    """Four rows in two slots: rows 2 and 3 stay; a later ``until=3`` brings nothing, so row 3 is still there."""
    buffers = tuple(Buffer(n, "u8", 4, 3, 2, (0, 3), (0, 2), 2) for n in "ab")
    takes = tuple(Recv(Slab("a", RowExpr()), "c", RowExpr(0, until)) for until in (4, 1, 3))
    copy = Copy(Slab("b", RowExpr(0, 0)), Slab("a", RowExpr(0, 3)))
    tile = Tile(1, "t", "tile", 0, 0, 0, buffers, code=(*takes, copy, Halt()))
    channel = Channel("c", 0, (1,), 1)
    RowChecker().check(Context(dataclasses.replace(every(), tiles=(tile,), channels=(channel,)), tile), "t")


@pytest.mark.parametrize("changed", ["kernel", "stride", "pads", "dilation"])
@pytest.mark.parametrize("place", [0, 1])
def test_streams_of_other_windows_are_analysed_again(changed: str, place: int) -> None:
    """Windows that differ in rows see other rows; where they differ in columns, columns are looked at."""
    x, y = buffer("x", 8, 8), buffer("y", 8, 8)
    code = Recv(slab("x"), "c", RowExpr(0, 8)), PoolMax(Slab("y", ROW0, (0, 1)), "x", "w"), Halt()
    checker = RowChecker()
    for extra in (0, 1):
        numbers = {"kernel": [2, 2], "stride": [1, 1], "pads": [0, 0, 0, 0], "dilation": [1, 1]}
        numbers[changed][place] += extra
        fields: dict[str, Any] = {name: tuple(values) for name, values in numbers.items()}
        w = Window("w", **fields)
        t = Tile(1, "t", "tile", 0, 0, 0, (x, y), windows=(w,), code=code)
        checker.check(Context(program(machine(), (t,), Channel("c", 2, (1,), 8)), t), "t")
    assert len(checker.known) == (2 if place == 0 else 1)


def test_equal_streams_are_analysed_once_and_channel_names_do_not_matter() -> None:
    program = read_assembly(EVERY)
    tile = program.tiles[1]
    code = tuple(dataclasses.replace(i, channel="other") if isinstance(i, Recv) else i for i in tile.code)
    checker = RowChecker()
    checker.check(Context(program, tile), "a")
    checker.check(Context(program, dataclasses.replace(tile, number=9, code=code)), "b")
    assert len(checker.known) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.integers(0, 40), st.data())
def test_a_changed_number_gives_a_program_error_or_passes(seed: int, data: st.DataObject) -> None:
    """Whatever number is changed in whatever descriptor: no traceback."""
    program = random_program(Random(seed))
    at = data.draw(st.integers(0, len(program.tiles) - 1))
    tile = program.tiles[at]
    spaces = [n for n in ("buffers", "windows", "groups", "requants", "elementwises", "code") if getattr(tile, n)]
    space = data.draw(st.sampled_from(spaces))
    held = list(getattr(tile, space))
    which = data.draw(st.integers(0, len(held) - 1))
    numbers = [f.name for f in dataclasses.fields(held[which]) if _is_number(getattr(held[which], f.name))]
    if not numbers:
        return
    name = data.draw(st.sampled_from(numbers))
    value = getattr(held[which], name)
    new = data.draw(st.integers(-2, 300))
    held[which] = _with(held[which], name, new if isinstance(value, int) else (new, *value[1:]))
    changed: Tile = _with(tile, space, tuple(held))
    with contextlib.suppress(PimcError):
        check(_with_tile(program, at, changed))


def _is_number(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, tuple) and bool(value) and isinstance(value[0], int))
