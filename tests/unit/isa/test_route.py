"""Geometry of the network."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from pimc_isa.errors import ProgramError
from pimc_isa.instructions import Halt
from pimc_isa.operands import Channel
from pimc_isa.program import Tile
from pimc_isa.route import HOST, hop_cycles, link_name, multicast, occupancy, route
from tests.unit.isa.engines.tiny import buffer, machine, program, tile

M = machine(columns=3, rows=3)


def nodes(links: tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...]) -> list[tuple[int, int, int]]:
    assert all(a[1] == b[0] for a, b in itertools.pairwise(links))
    return [links[0][0], *(b for _, b in links)]


def test_x_first_then_y() -> None:
    assert nodes(route(M, (0, 0, 2), (0, 2, 0))) == [(0, 0, 2), (0, 1, 2), (0, 2, 2), (0, 2, 1), (0, 2, 0)]
    assert route(M, (0, 1, 1), (0, 1, 1)) == ()


def test_from_and_to_the_host() -> None:
    assert nodes(route(M, HOST, (0, 1, 1))) == [HOST, (0, 0, 0), (0, 1, 0), (0, 1, 1)]
    assert nodes(route(M, (0, 1, 1), HOST)) == [(0, 1, 1), (0, 0, 1), (0, 0, 0), HOST]


def test_across_chips_through_the_corners() -> None:
    up = nodes(route(M, (0, 1, 1), (2, 0, 1)))
    assert up == [(0, 1, 1), (0, 2, 1), (0, 2, 0), (1, 0, 0), (1, 1, 0), (1, 2, 0), (2, 0, 0), (2, 0, 1)]
    down = nodes(route(M, (1, 1, 1), HOST))
    assert down == [(1, 1, 1), (1, 0, 1), (1, 0, 0), (0, 2, 0), (0, 1, 0), (0, 0, 0), HOST]


def test_links_that_leave_the_chip_are_slower() -> None:
    mesh, chip, host = ((0, 0, 0), (0, 1, 0)), ((0, 2, 0), (1, 0, 0)), (HOST, (0, 0, 0))
    assert [hop_cycles(M, k) for k in (mesh, chip, host)] == [2, 5, 5]
    assert [occupancy(M, k, 9) for k in (mesh, chip, host)] == [3, 5, 5]
    assert occupancy(M, mesh, 0) == 1
    assert link_name(chip) == "0.2,0-1.0,0"
    assert link_name(host) == "host-0.0,0"


def test_a_tree_counts_shared_links_once() -> None:
    places = {1: (0, 0, 0), 2: (0, 2, 0), 3: (0, 2, 1), 4: (1, 0, 0)}
    tiles = tuple(tile(n, at, (buffer("x", 1, 1),), Halt()) for n, at in places.items())
    tree = multicast(program(M, tiles, c := Channel("c", 1, (2, 3, 4), 1)), c)
    assert dict(tree.links) == {
        ((0, 0, 0), (0, 1, 0)): 0,
        ((0, 1, 0), (0, 2, 0)): 2,
        ((0, 2, 0), (0, 2, 1)): 4,
        ((0, 2, 0), (1, 0, 0)): 4,
    }
    assert tree.latency == (4, 6, 9)
    # 8 bytes: 2 cycles on the mesh, 4 off chip; the slowest link of each way counts.
    assert [tree.arrival_delay(M, n, 8) for n in range(3)] == [6, 8, 13]


@pytest.mark.parametrize(("dests", "words"), [((1, 2), "sends to itself"), ((2, 2), "named twice")])
def test_impossible_channels(dests: tuple[int, ...], words: str) -> None:
    tiles = (tile(1, (0, 0, 0), (), Halt()), tile(2, (0, 1, 0), (), Halt()))
    with pytest.raises(ProgramError, match=words):
        multicast(program(M, tiles, c := Channel("c", 1, dests, 1)), c)


def test_the_host_sits_left_of_the_first_tile() -> None:
    host = Tile(0, "host", "host", 0, 0, 0)
    tree = multicast(program(M, (host, tile(1, (0, 0, 0), (), Halt())), c := Channel("c", 1, (0,), 1)), c)
    assert HOST == (0, -1, 0)
    assert tree.links == ((((0, 0, 0), HOST), 0),)
    assert tree.credit_delay(0) == 5


@pytest.mark.parametrize(("hop", "cycles"), [(0, 1), (1, 1), (2, 2), (7, 7)])
def test_a_credit_takes_a_cycle_at_least(hop: int, cycles: int) -> None:
    m = replace(M, network=replace(M.network, hop_cycles=hop))
    tiles = tuple(tile(n, (0, n - 1, 0), (), Halt()) for n in (1, 2))
    tree = multicast(program(m, tiles, c := Channel("c", 1, (2,), 1)), c)
    assert tree.latency == (hop,)
    assert tree.credit_delay(0) == cycles
    assert tree.arrival_delay(m, 0, 9) == hop + 3
    assert tree.arrival_delay(m, 0, 0) == hop + 1
