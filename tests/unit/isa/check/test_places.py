"""What streams of one place need together, and what stays illegal: said with their names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pimc_isa.check import check
from pimc_isa.check.places import sharing_problems
from pimc_isa.crossbar.footprint import group_arrays
from pimc_isa.errors import ProgramError
from pimc_isa.program import Program
from tests.unit.isa.engines.test_streams import two_convolutions
from tests.unit.isa.engines.tiny import buffer, machine, program, tile


def with_tile(p: Program, **limits: int) -> Program:
    """The same program on tiles with other limits."""
    return replace(p, machine=replace(p.machine, tile=replace(p.machine.tile, **limits)))


def test_arrays_of_all_streams_add_up() -> None:
    p = two_convolutions()
    each = [group_arrays(p, group) for number in (1, 2) for group in p.tile[number].groups]
    check(with_tile(p, arrays=sum(each)))
    with pytest.raises(ProgramError) as raised:
        check(with_tile(p, arrays=sum(each) - 1))
    told = f"their groups need {sum(each)} arrays, the place has {sum(each) - 1}"
    assert f"tiles 1 (conv 1) and 2 (conv 2) share chip 0, 2,0: {told}" in str(raised.value)
    copied = tuple(replace(t, groups=tuple(replace(g, copies=5) for g in t.groups)) for t in p.tiles)
    with pytest.raises(ProgramError, match=r"tile 2 \(conv 2\): its groups need 5 arrays, it has 4"):
        check(with_tile(replace(p, tiles=copied), arrays=4))


def test_memory_of_all_streams_adds_up() -> None:
    # Each: x 5 x 24 bytes, acc 5 x 96, y 5 x 24; a queue of one row of 24 bytes.
    p, need = two_convolutions(), 2 * (120 + 480 + 120 + 24)
    check(with_tile(p, memory_bytes=need))
    with pytest.raises(ProgramError) as raised:
        check(with_tile(p, memory_bytes=need - 1))
    assert "tiles 1 (conv 1) and 2 (conv 2) share chip 0, 2,0: their buffers" in str(raised.value)
    assert f"take {need} bytes, the place's memory is {need - 1}" in str(raised.value)
    assert len(str(raised.value).split("\n")) <= 3


def test_streams_apart_need_it_each_for_itself() -> None:
    p = two_convolutions()
    apart = replace(p, tiles=tuple(replace(t, x=t.number) for t in p.tiles))
    check(with_tile(apart, memory_bytes=120 + 480 + 120 + 24))


@pytest.mark.parametrize(
    ("count", "named"),
    [
        (2, "tiles 1 (t1) and 2 (t2) share"),
        (4, "tiles 1 (t1), 2 (t2), 3 (t3) and 4 (t4) share"),
        (5, "tiles 1 (t1), 2 (t2), 3 (t3), 4 (t4) and 1 more share"),
        (900, "tiles 1 (t1), 2 (t2), 3 (t3), 4 (t4) and 896 more share"),
    ],
)
def test_at_most_four_are_named(count: int, named: str) -> None:
    tiles = tuple(tile(n, (0, 1, 0), (buffer("x", 512, 512),)) for n in range(count, 0, -1))
    (problem,) = sharing_problems(program(machine(), tiles))
    assert problem.startswith(f"{named} chip 0, 1,0: their buffers")


def test_hosts_have_room_for_all() -> None:
    tiles = tuple(replace(tile(n, (0, 0, 0), (buffer("x", 512, 512),)), kind="host") for n in (0, 5, 6))
    assert list(sharing_problems(program(machine(), tiles))) == []


@pytest.mark.parametrize("at", [(0, 8, 0), (0, 0, 1), (-1, 0, 0)])
def test_a_stream_outside_the_mesh_is_refused(at: tuple[int, int, int]) -> None:
    p = two_convolutions()
    chip, x, y = at
    moved = tuple(replace(t, chip=chip, x=x, y=y) if t.number == 2 else t for t in p.tiles)
    with pytest.raises(ProgramError, match=f"tile 2 is at chip {chip}, {x},{y}; the mesh is 8 x 1"):
        check(replace(p, tiles=moved))
