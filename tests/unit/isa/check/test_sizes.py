"""Sizes of programs at their limits: the largest passes, one more is refused, and sums count what they say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pimc_backends import isaac, neural_pim
from pimc_isa.check.sizes import (
    _hops,
    _parts,
    buffer_sizes,
    group_sizes,
    size_problems,
    weights_sizes,
    window_sizes,
)
from pimc_isa.instructions import Copy, End, Halt, Loop, executed_instructions
from pimc_isa.limits import LIMITS
from pimc_isa.machine import Chip
from pimc_isa.operands import (
    Buffer,
    Call,
    Channel,
    Elementwise,
    Group,
    Requant,
    Rounds,
    RowExpr,
    Slab,
    Table,
    View,
    Weights,
    Window,
)
from pimc_isa.program import Port, Program, Tile
from tests.unit.isa.engines.tiny import buffer, machine, program, slab, tile


def found(problems: Iterable[str]) -> list[str]:
    return [p for p in problems if p]


def most(name: str) -> int:
    return LIMITS[name].most


# ---- one descriptor ----


@pytest.mark.parametrize(
    ("field", "limit"), [("rows", "rows"), ("width", "rows"), ("channels", "channels"), ("slots", "slots")]
)
def test_a_buffer_at_its_limits(field: str, limit: str) -> None:
    b = buffer("x", 1, 1, 1, 1)
    last: dict[str, Any] = {field: most(limit)}
    first: dict[str, Any] = {field: most(limit) + 1}
    assert not found(buffer_sizes(replace(b, **last)))
    beyond = found(buffer_sizes(replace(b, **first)))
    assert len(beyond) == 1
    assert str(most(limit) + 1) in beyond[0]


@pytest.mark.parametrize(("extra", "legal"), [(0, True), (1, False)])
def test_elements_of_a_row(extra: int, legal: bool) -> None:
    width = 1 << 8
    b = Buffer("x", "u8", 1, width, most("row elements") // width + extra, (0, 1), (0, 1), 1)
    assert bool(found(buffer_sizes(b))) != legal


@pytest.mark.parametrize("place", [0, 1, 2])
def test_dimensions_of_a_view(place: int) -> None:
    shape = [1, 1, 1]
    for extra in (0, 1):
        shape[place] = most("channels") + extra
        view = View("t", "CHW", (shape[0], shape[1], shape[2]))
        assert len(found(buffer_sizes(replace(buffer("x", 1, 1), views=(view,))))) == extra
    assert not found(buffer_sizes(replace(buffer("x", 1, 1), views=(replace(view, shape=()),))))


@pytest.mark.parametrize("field", ["kernel", "stride", "dilation", "pads"])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_numbers_of_a_window(field: str, place: int) -> None:
    for extra in (0, 1):
        numbers = [1] * (4 if field == "pads" else 2)
        numbers[place] = most("window") + extra
        changed: dict[str, Any] = {field: tuple(numbers)}
        w = replace(Window("w", (1, 1)), **changed)
        assert len(found(window_sizes(w))) == extra


@pytest.mark.parametrize(("columns", "legal"), [(1 << 12, True), ((1 << 12) + 1, False)])
def test_taps_of_a_window(columns: int, legal: bool) -> None:
    assert most("taps") == 1 << 24
    assert bool(found(window_sizes(Window("w", (1 << 12, columns))))) != legal


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({"groups": 1 << 11, "k": 1 << 10, "n": 1 << 10}, 0),
        ({"groups": 1 << 11, "k": 1 << 10, "n": (1 << 10) + 1}, 1),
        ({"groups": 0, "k": 1 << 31, "n": 1}, 0),
        ({"groups": 0, "k": (1 << 31) + 1, "n": 1}, 1),
        ({"block_rows": 1 << 31}, 0),
        ({"block_rows": (1 << 31) + 1}, 1),
        ({"slices": (1,) * 32}, 0),
        ({"slices": (1,) * 33}, 1),
        ({"slices": (16, 16)}, 0),
        ({"slices": (16, 17)}, 1),
        ({"slices": (1,) * 31 + (2,)}, 1),
    ],
)
def test_weights_at_their_limits(fields: dict[str, Any], problems: int) -> None:
    assert most("weights") == 1 << 31
    weights: Weights = replace(Weights("w", 1, 1, 1, 1, (2,), False), **fields)
    assert len(found(weights_sizes(weights))) == problems


@pytest.mark.parametrize("extra", [0, 1])
def test_copies_of_a_group(extra: int) -> None:
    assert len(found(group_sizes(Group("g", "w", "f", (0, 1), (0, 1), (0, 1), most("copies") + extra)))) == extra


# ---- the whole program ----


def test_a_small_program_has_no_problem() -> None:
    assert not list(size_problems(whole()))


@pytest.mark.parametrize(
    ("shape", "problems"),
    [
        ((), 0),
        ((1, 1), 0),
        ((0, 5), 1),
        ((5, -1), 1),
        ((1 << 24, 1 << 7), 0),
        ((1 << 24, (1 << 7) + 1), 1),
        (((1 << 24) + 1, 1), 1),
    ],
)
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_inputs_and_outputs(shape: tuple[int, ...], problems: int, side: str) -> None:
    ports: dict[str, Any] = {side: (Port("x", "uint8", shape),)}
    p = replace(program(machine(), ()), **ports)
    assert len(list(size_problems(p))) == problems


@pytest.mark.parametrize(("dtype", "legal"), [("bool", True), ("uint64", True), ("complex64", False), ("u8", False)])
def test_types_of_inputs(dtype: str, legal: bool) -> None:
    p = replace(program(machine(), ()), inputs=(Port("x", dtype, (1,)),))
    assert bool(list(size_problems(p))) != legal


@pytest.mark.parametrize("extra", [0, 1])
def test_depth_code_and_chip(extra: int) -> None:
    few: tuple[Tile, ...] = (tile(1, (0, 0, 0), ()), tile(2, (0, 1, 0), ()))
    deep = program(machine(), few, Channel("c", 1, (2,), most("depth") + extra))
    assert len(list(size_problems(deep))) == extra
    long = tile(1, (0, 0, 0), (), *[Halt()] * (most("code") + extra))
    assert len(list(size_problems(program(machine(), (long,))))) == extra
    far = tile(1, (most("chips") - 1 + extra, 0, 0), ())
    assert len(list(size_problems(program(machine(), (far,))))) == extra


@pytest.mark.parametrize(("times", "legal"), [(1 << 16, True), ((1 << 16) + 1, False)])
def test_executed_instructions(times: int, legal: bool) -> None:
    """One loop of 2**10 instructions: 2**26 executed, of which the limit speaks."""
    copy = Copy(slab("x"), slab("x"))
    t = tile(1, (0, 0, 0), (buffer("x", 4, 4),), Loop(times), *[copy] * (1 << 10), End(), Halt())
    assert executed_instructions(t) == times << 10
    assert most("executed") == 1 << 26
    assert bool(list(size_problems(program(machine(), (t,))))) != legal


def test_flows_and_micro_operations() -> None:
    flow = isaac.flow()
    p = program(machine(), ())
    assert not list(size_problems(replace(p, flows=(flow,) * (most("all micro-ops") // len(flow.ops)))))
    assert len(list(size_problems(replace(p, flows=(flow,) * (most("flows") + 1))))) >= 1
    many = replace(flow, ops=flow.ops[:1] * (most("all micro-ops") + 1))
    assert len(list(size_problems(replace(p, flows=(many,))))) == 1
    assert not list(size_problems(replace(p, flows=(replace(many, ops=many.ops[1:]),))))


def whole() -> Program:
    """Two tiles and the host, with one of each part."""
    held: Sequence[Any] = (
        replace(buffer("x", 4, 4), views=(View("t", "CHW", (2, 4, 4)),)),
        Window("w", (1, 1)),
        Group("g", "w", "f", (0, 1), (0, 1), (0, 1)),
        Requant("q", "q", 0),
        Elementwise("e", (1.0, 0), (1.0, 0), (1.0, 0)),
        Table("t", "t"),
        Call("c", "m", (("a", "x"), ("b", "y")), (("o", "z"),)),
    )
    names = "buffers", "windows", "groups", "requants", "elementwises", "tables", "calls"
    host = Tile(0, "host", "host", 0, 0, 0, code=(Halt(),), **{n: (part,) for n, part in zip(names, held, strict=True)})
    tiles = host, tile(1, (0, 1, 0), (), Halt()), tile(2, (1, 0, 0), (), Halt(), Halt())
    p = program(machine(), tiles, Channel("c", 0, (1, 2), 1), Channel("d", 1, (0,), 1))
    return replace(
        p,
        flows=(isaac.flow(),),
        weights=(Weights("w", 1, 1, 1, 1, (2,), False),),
        inputs=(Port("i", "uint8", (1,)),),
        outputs=(Port("o", "uint8", (1,)),),
        tensors={"a": np.zeros(1), "b": np.zeros(1)},
        meta={"m": "n"},
        rounds=(Rounds("r", 1, (0, 1), 1),),
    )


def test_parts_are_counted_one_by_one() -> None:
    """Every list of the program, element by element."""
    notes = 1 + 1 + 1 + 1 + 1 + 2  # meta, input, output, weights, rounds, tensors
    flows = 1 + len(isaac.flow().ops)
    channels = (1 + 2) + (1 + 1)
    host = 1 + 7 + 1 + 1 + 3  # itself, its descriptors, its halt, a view, ends of the call
    tiles = (1 + 1) + (1 + 2)
    assert _parts(whole()) == notes + flows + channels + host + tiles
    m = neural_pim.machine()
    more = replace(whole(), machine=replace(m, notes={"a": "b", "c": "d"}))
    assert _parts(more) == _parts(whole()) + len(m.components) + len(m.energies) + 2


def test_parts_at_the_limit() -> None:
    p = program(machine(), ())
    full = {f"t{n}": np.zeros(1) for n in range(most("parts"))}
    assert not list(size_problems(replace(p, tensors=full)))
    assert len(list(size_problems(replace(p, tensors={**full, "one more": np.zeros(1)})))) == 1


@pytest.mark.parametrize(
    ("start", "goal", "hops"),
    [
        ((0, 2, 3), (0, 2, 3), 2),
        ((0, 2, 3), (0, 5, 1), 2 + 3 + 2),
        ((0, 5, 1), (0, 2, 3), 2 + 3 + 2),
        ((1, 2, 3), (2, 5, 1), 2 + 2 * 8 + 3 + 1),
        ((4, 2, 3), (1, 5, 1), 2 + 4 * 8 + 3 + 1),
    ],
)
def test_ways_along_the_mesh_and_over_chips(start: Any, goal: Any, hops: int) -> None:
    m = replace(machine(), chip=Chip(8, 8))
    p = program(m, (tile(1, start, ()), tile(2, goal, ())), Channel("c", 1, (2,), 1))
    assert _hops(p) == hops
    twice = program(m, (tile(1, start, ()), tile(2, goal, ())), Channel("c", 1, (2, 2), 1), Channel("d", 1, (2,), 1))
    assert _hops(twice) == 3 * hops
    nowhere = program(m, (tile(1, start, ()),), Channel("c", 1, (2,), 1), Channel("d", 2, (1,), 1))
    assert _hops(nowhere) == 0


def test_the_host_stands_at_the_corner_of_the_first_chip() -> None:
    m = replace(machine(), chip=Chip(8, 8))
    host = replace(tile(1, (3, 4, 5), ()), kind="host")
    p = program(m, (host, tile(2, (0, 2, 3), ())), Channel("c", 1, (2,), 1))
    assert _hops(p) == 2 + 2 + 3


@pytest.mark.parametrize(("receivers", "legal"), [(64, True), (65, False)])
def test_links_at_their_limit(receivers: int, legal: bool) -> None:
    """Chips far away from each other: 2 + 256 * 509 + 256 + 4 links on each way."""
    m = replace(machine(), chip=Chip(256, 256))
    tiles = tile(1, (0, 0, 4), ()), tile(2, (508, 0, 256), ())
    p = program(m, tiles, Channel("c", 1, (2,) * receivers, 1))
    assert _hops(p) == receivers * (2 + 256 * 509 + 256 + 4)
    assert (_hops(p) <= most("hops")) == legal
    assert bool(list(size_problems(p))) != legal


def test_slabs_do_not_count() -> None:
    """Instructions count one each, whatever they name."""
    more = program(machine(), (tile(1, (0, 0, 0), (), Copy(Slab("x", RowExpr()), Slab("x", RowExpr())), Halt()),))
    assert _parts(more) == 1 + 2
