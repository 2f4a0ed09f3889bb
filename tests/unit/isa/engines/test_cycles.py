"""Timing of tiny programs, worked out by hand from the timing rules; both timing engines must give these numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimc_isa.engines import step
from pimc_isa.engines.cycles import engine, simulate
from pimc_isa.engines.cycles.links import LinkTimes
from pimc_isa.engines.timing import Timing
from pimc_isa.errors import DeadlockError, RunError
from pimc_isa.instructions import CallHost, Copy, End, Halt, Loop, Lut, Mvm, Recv, Send
from pimc_isa.machine import Network
from pimc_isa.operands import Buffer, Call, Channel, Group, RowExpr, Table, Window
from pimc_isa.program import Program, Tile
from pimc_isa.route import HOST
from tests.unit.isa.engines.nets import flow, layer
from tests.unit.isa.engines.tiny import ROW0, both, buffer, machine, program, slab, spans, tile

NEXT = RowExpr(1, 1)


def from_host(depth: int) -> Program:
    """The host sends two rows of 8 bytes; a tile looks them up in a table. Unit queues have one place."""
    x = buffer("x", 2, 2)
    host = Tile(
        0,
        "host",
        "host",
        0,
        0,
        0,
        buffers=(x,),
        calls=(Call("head", "head", (), (("x", "x"),)),),
        code=(CallHost("head"), Loop(2), Send("c", slab("x")), End(), Halt()),
    )
    code = (Loop(2), Recv(slab("x"), "c", NEXT), Lut(slab("y"), slab("x"), "t"), End(), Halt())
    one = Tile(1, "lut", "tile", 0, 0, 0, buffers=(x, buffer("y", 2, 2)), tables=(Table("t", "t"),), code=code)
    return program(machine(queue_depth=1), (host, one), Channel("c", 0, (1,), depth))


def test_a_row_from_the_host() -> None:
    # Host: call dispatched 0, 16 elements at 8: [1,3). loop 1, send0 2, end 3, send1 4.
    # send0: row ready at 3. Its unit is taken 8/4 = 2 cycles, the off-chip link 8/2 = 4: [3,7).
    # send1: a second place in the channel is there, but the link is free only at 7.
    # Arrivals: 3 + 5 + 4 = 12 and 16. Tile: loop 0, recv0 1, lut0 2, end 3; recv1 waits for the one place in its
    # queue, free from 13; lut1 for its place, free from 15.
    # recv0 12..14 (8 B over a bus of 4), lut0 14..16; recv1 16..18; lut1 18..20.
    timing = both(from_host(depth=2))
    assert spans(timing, 0) == [(1, 3), (3, 5), (7, 9)]
    assert spans(timing, 1) == [(12, 14), (14, 16), (16, 18), (18, 20)]
    assert timing.image_ends == (9,)  # the host has nothing to receive
    assert timing.unit_busy == {(0, "host.head"): 2, (0, "net-out"): 4, (1, "net-in"): 4, (1, "vector"): 4}
    assert timing.link_busy == {(HOST, (0, 0, 0)): 8}


def test_a_credit_takes_its_way_back() -> None:
    # With one place: the first transfer ends at 14, the credit is back 5 cycles later, send1 starts at 19,
    # arrives at 19 + 5 + 4 = 28.
    timing = both(from_host(depth=1))
    assert spans(timing, 0) == [(1, 3), (3, 5), (19, 21)]
    assert spans(timing, 1) == [(12, 14), (14, 16), (28, 30), (30, 32)]


def lookups(y_slots: int) -> Program:
    """``y[i] = table[x[0]]; z[i] = y[i]``, three times; every instruction takes two cycles."""
    code = (Loop(3), Lut(slab("y"), slab("x", ROW0), "t"), Copy(slab("z"), slab("y")), End(), Halt())
    buffers = (buffer("x", 1, 1), buffer("y", 3, y_slots), buffer("z", 3, 3))
    return program(machine(), (tile(1, (0, 0, 0), buffers, *code),))


def test_one_slot_makes_units_take_turns() -> None:
    # loop 0, lut0 1, copy0 2, end 3, lut1 4, ... lut0 [2,4); copy0 needs y[0]: [4,6); lut1 needs the slot: [6,8) ...
    # Image 0 is dispatched with end 9 and halt 10; loop 11, lut0 12, but its slot is read until 14.
    timing = both(lookups(y_slots=1), images=2)
    assert spans(timing, 1, 0) == [(2, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14)]
    assert spans(timing, 1, 1) == [(14, 16), (16, 18), (18, 20), (20, 22), (22, 24), (24, 26)]
    assert timing.image_ends == (14, 26)
    assert (timing.latency_cycles, timing.interval_cycles) == (14, 12)


def test_two_slots_let_them_overlap() -> None:
    # lut1 is dispatched at 4 and starts at 5 (dispatch + 1); lut2 at 7, so 8; the slot of y[2] is y[0]'s, free at 6.
    # Second image: loop 11, lut0 12, so 13: y row 3 lies in slot 1, y[1] was copied until 9.
    timing = both(lookups(y_slots=2), images=2)
    assert spans(timing, 1, 0) == [(2, 4), (4, 6), (5, 7), (7, 9), (8, 10), (10, 12)]
    assert spans(timing, 1, 1)[:2] == [(13, 15), (15, 17)]


@pytest.mark.parametrize(("far", "expected"), [(1, (1, 7)), (2, (3, 1))])
def test_the_lower_number_gets_the_link(far: int, expected: tuple[int, int]) -> None:
    # Tile `far` at x=0 and the other at x=1 both send 16 bytes to x=2, ready at 1; the link 1->2 is taken 4 cycles,
    # by the far one 2 cycles after its start.
    # far = 1: it starts at 1 and has the link [3,7); [1,5) would overlap, so the near one starts at 7.
    # far = 2: the near one goes first, [1,5); the far one may start at 3, to have it [5,9).
    near = 3 - far
    wide = (buffer("y", 1, 1, width=8),)
    recvs = Recv(slab("y"), "far", NEXT), Recv(slab("z"), "near", NEXT)
    tiles = (
        tile(far, (0, 0, 0), wide, Send("far", slab("y", ROW0)), Halt()),
        tile(near, (0, 1, 0), wide, Send("near", slab("y", ROW0)), Halt()),
        tile(3, (0, 2, 0), (*wide, buffer("z", 1, 1, width=8)), *recvs, Halt()),
    )
    p = program(
        machine(),
        tuple(sorted(tiles, key=lambda t: t.number)),
        Channel("far", far, (3,), 1),
        Channel("near", near, (3,), 1),
    )
    timing = both(p)
    starts = spans(timing, far)[0][0], spans(timing, near)[0][0]
    assert starts == expected


def test_a_message_between_chips_and_a_recv_of_two_rows() -> None:
    # (0: 0,0) -> (0: 1,0) mesh, -> (1: 0,0) off chip, -> (1: 1,0) mesh: 2 + 5 + 2 = 9 hop cycles.
    # 8 bytes take the mesh 2 cycles and the off-chip link 4, 2 cycles after the start: send0 at 1 (link [3,7)),
    # send1 (dispatched 2, unit free 3) at 5. Arrivals 1 + 9 + 4 = 14 and 18.
    # recv: transfers [14,16) and [18,20), one instruction [14,20); lut needs row 0 only, so [16,18).
    y = buffer("y", 2, 2)
    one = tile(1, (0, 0, 0), (y,), Send("c", slab("y", ROW0)), Send("c", slab("y", RowExpr(0, 1))), Halt())
    code = (Recv(slab("y"), "c", RowExpr(0, 2)), Lut(slab("z", ROW0), slab("y", ROW0), "t"), Halt())
    two = tile(2, (1, 1, 0), (y, buffer("z", 1, 1)), *code)
    timing = both(program(machine(columns=2), (one, two), Channel("c", 1, (2,), 2)))
    assert spans(timing, 1) == [(1, 3), (5, 7)]
    assert spans(timing, 2) == [(14, 20), (16, 18)]
    assert timing.unit_busy[2, "net-in"] == 4


def test_nothing_to_receive_takes_a_cycle() -> None:
    y = buffer("y", 1, 1)
    one = tile(1, (0, 0, 0), (y,), Send("c", slab("y", ROW0)), Halt())
    code = (Recv(slab("y"), "c", RowExpr(0, 1)), Recv(slab("y"), "c", RowExpr(0, 1)), Halt())
    timing = both(program(machine(), (one, tile(2, (0, 1, 0), (y,), *code)), Channel("c", 1, (2,), 1)))
    # send [1,3); arrival 1 + 2 + 2 = 5; 8 B over the bus: [5,7); then one cycle.
    assert spans(timing, 2) == [(5, 7), (7, 8)]


def crossed() -> Program:
    """Two tiles that both receive before they send."""
    buffers = (buffer("x", 1, 1),)
    code = [(Recv(slab("x"), f"c{n}", NEXT), Send(f"c{1 - n}", slab("x", ROW0)), Halt()) for n in (0, 1)]
    tiles = (tile(1, (0, 0, 0), buffers, *code[0]), tile(2, (0, 1, 0), buffers, *code[1]))
    return program(machine(), tiles, Channel("c0", 2, (1,), 1), Channel("c1", 1, (2,), 1))


def test_a_deadlock_names_who_waits_for_whom() -> None:
    with pytest.raises(DeadlockError) as error:
        simulate(crossed())
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    assert '1 "t1", image 0: `recv x, c0, until=1` waits for a message on channel c0 from tile 2' in lines[1]
    assert '2 "t2", image 0: `send c0, x[0]` waits for row 0 of x from `recv x, c1, until=1`' in lines[2]


def test_the_referee_names_what_stands_first_in_each_unit() -> None:
    x = (buffer("x", 2, 2),)
    sends = Send("a", slab("x", ROW0)), Send("a", slab("x", RowExpr(0, 1)))
    one = tile(1, (0, 0, 0), x, Recv(slab("x"), "b", RowExpr(0, 2)), *sends, Halt())
    two = tile(2, (0, 1, 0), x, Recv(slab("x"), "a", RowExpr(0, 2)), Send("b", slab("x", ROW0)), Halt())
    p = program(machine(), (one, two), Channel("a", 1, (2,), 2), Channel("b", 2, (1,), 2))
    with pytest.raises(DeadlockError) as error:
        step.run(p, {}, 1, values=False)
    first, *heads = str(error.value).splitlines()
    assert first.startswith("deadlock in cycle ")
    assert [line.split(",")[0] for line in heads] == [
        'tile 1 "t1": recv at 0', 'tile 1 "t1": send at 1', 'tile 2 "t2": recv at 0', 'tile 2 "t2": send at 1',
    ]  # fmt: skip


def test_too_few_messages_are_named() -> None:
    y = buffer("y", 2, 2)
    one = tile(1, (0, 0, 0), (y,), Send("c", slab("y", ROW0)), Halt())
    two = tile(2, (0, 1, 0), (y,), Recv(slab("y"), "c", RowExpr(0, 2)), Halt())
    with pytest.raises(DeadlockError, match="from tile 1, which sends no more"):
        simulate(program(machine(), (one, two), Channel("c", 1, (2,), 2)), 1)


def test_too_little_room_is_named() -> None:
    y = buffer("y", 2, 2)
    one = tile(1, (0, 0, 0), (y,), Loop(2), Send("c", slab("y")), End(), Halt())
    two = tile(2, (0, 1, 0), (y,), Halt())
    with pytest.raises(DeadlockError, match=r"`send c, y\[1\]` waits for room in channel c \(depth 1\) at tile 2"):
        simulate(program(machine(), (one, two), Channel("c", 1, (2,), 1)), 1)


def test_images_are_pipelined() -> None:
    # With three slots nothing waits for a slot, and the units are faster than the dispatcher.
    timing = both(lookups(y_slots=3), images=4)
    gaps = {b - a for a, b in zip(timing.image_ends, timing.image_ends[1:], strict=False)}
    assert gaps == {11}  # loop, 3 x (lut, copy, end), halt: one dispatch a cycle
    assert timing.executed == 24


def test_without_hops_a_credit_still_takes_a_cycle() -> None:
    # Links take no cycles to cross, 8 bytes take them 2: send0 [1,3), arrival 3, transfer [3,5). The credit is back at
    # 5 + 1, not at 5: send1 [6,8), arrival 8, transfer [8,10).
    m = replace(machine(), network=Network(4, 0, 2, 5))
    y = buffer("y", 2, 2)
    one = tile(1, (0, 0, 0), (y,), Send("c", slab("y", ROW0)), Send("c", slab("y", RowExpr(0, 1))), Halt())
    two = tile(2, (0, 1, 0), (y,), Recv(slab("y"), "c", RowExpr(0, 2)), Halt())
    timing = both(program(m, (one, two), Channel("c", 1, (2,), 1)))
    assert spans(timing, 1) == [(1, 3), (6, 8)]
    assert spans(timing, 2) == [(3, 10)]


def test_two_links_of_the_same_senders_are_kept_apart() -> None:
    # Tile 1 at (1, 0) and tile 2 at (2, 0) both send 8 bytes to (3, 0) and (1, 2), over (2,0)->(3,0) and (1,1)->(1,2).
    # Tile 1 reaches both links 2 cycles after its start, tile 2 the first at once and the second after 4 cycles.
    # Tile 2 starts at 1: [1,3) and [5,7). Tile 1 looks rows up first and is ready at 3: the first link would be free
    # for [5,7), the second is not (nor is the one before it). So it starts at 5.
    y, x = buffer("y", 1, 1), buffer("x", 1, 1)
    ends = tuple(
        tile(
            n,
            at,
            (buffer("a", 1, 1), buffer("b", 1, 1)),
            Recv(slab("a"), "a", NEXT),
            Recv(slab("b"), "b", NEXT),
            Halt(),
        )
        for n, at in ((3, (0, 3, 0)), (4, (0, 1, 2)))
    )
    one = tile(1, (0, 1, 0), (x, y), Lut(slab("y", ROW0), slab("x", ROW0), "t"), Send("a", slab("y", ROW0)), Halt())
    two = tile(2, (0, 2, 0), (y,), Send("b", slab("y", ROW0)), Halt())
    channels = Channel("a", 1, (3, 4), 1), Channel("b", 2, (3, 4), 1)
    timing = both(program(machine(columns=4, rows=3), (one, two, *ends), *channels))
    assert spans(timing, 2) == [(1, 3)]
    assert spans(timing, 1) == [(1, 3), (5, 7)]


def test_two_columns_between_two_senders_are_kept_apart() -> None:
    # Tile 1 at (0, 0) and tile 2 at (3, 0) both send 8 bytes to (1, 2) and (2, 1). Tile 1 reaches the first column
    # after 2 cycles and the second after 4, tile 2 the other way round. Tile 1 starts at 1: columns from 3 and from 5.
    # Tile 2 looks rows up first and is ready at 3; it would be in the second column from 5 as well, so it starts at 5.
    y, x = buffer("y", 1, 1), buffer("x", 1, 1)
    ends = tuple(
        tile(
            n,
            at,
            (buffer("a", 1, 1), buffer("b", 1, 1)),
            Recv(slab("a"), "a", NEXT),
            Recv(slab("b"), "b", NEXT),
            Halt(),
        )
        for n, at in ((3, (0, 1, 2)), (4, (0, 2, 1)))
    )
    one = tile(1, (0, 0, 0), (y,), Send("a", slab("y", ROW0)), Halt())
    two = tile(2, (0, 3, 0), (x, y), Lut(slab("y", ROW0), slab("x", ROW0), "t"), Send("b", slab("y", ROW0)), Halt())
    channels = Channel("a", 1, (3, 4), 1), Channel("b", 2, (3, 4), 1)
    timing = both(program(machine(columns=4, rows=3), (one, two, *ends), *channels))
    assert spans(timing, 1) == [(1, 3)]
    assert spans(timing, 2) == [(1, 3), (5, 7)]


def test_links_that_one_tile_uses_alone_are_not_watched() -> None:
    """It sends one message at a time, and a link is not taken for longer than the send."""
    y = buffer("y", 2, 2)
    one = tile(1, (0, 0, 0), (y,), Send("c", slab("y", ROW0)), Send("c", slab("y", RowExpr(0, 1))), Halt())
    two = tile(2, (0, 1, 0), (y,), Recv(slab("y"), "c", RowExpr(0, 2)), Halt())
    network = LinkTimes(program(machine(), (one, two), Channel("c", 1, (2,), 1)))
    assert network.holds(1, 0) == network.holds(1, 1) == []


def test_timing_that_memory_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a million executed instructions on, half a kilobyte each."""
    y = buffer("y", 4, 4)
    one = tile(1, (0, 0, 0), (y,), *[Lut(slab("y", ROW0), slab("y", ROW0), "t")] * 4, Halt())
    p = program(machine(), (one,))
    asked: list[int] = []

    def need(nbytes: int, what: str) -> None:
        asked.append(nbytes)
        raise RunError(what)

    monkeypatch.setattr("pimc_isa.engines.cycles.engine.need", need)
    with pytest.raises(RunError, match="the timing of 1048580 instructions"):
        simulate(p, (1 << 18) + 1)
    assert asked == [1048580 * 500]
    simulate(p, 3)
    assert len(asked) == 1


@pytest.mark.parametrize("tiles", [5, 6, 40])
def test_a_long_deadlock_is_told_in_six_lines(tiles: int) -> None:
    y = (buffer("y", 1, 1),)
    chain = tuple(
        tile(n, (0, n, 0), y, Recv(slab("y"), f"c{n}", NEXT), Send(f"c{(n + 1) % tiles}", slab("y", ROW0)), Halt())
        for n in range(tiles)
    )
    channels = [Channel(f"c{(n + 1) % tiles}", n, ((n + 1) % tiles,), 1) for n in range(tiles)]
    with pytest.raises(DeadlockError) as error:
        simulate(program(machine(columns=tiles), chain, *channels), 1)
    head, *lines = str(error.value).splitlines()
    assert "wait for each other" in head
    assert len(lines) == 6
    assert f"... {2 * tiles - 5} more ..." in lines[4]


def test_a_message_under_way_keeps_its_place_on_a_link_ahead() -> None:
    # Both tiles send 8 bytes to (2, 2), over (2,0)->(2,1): tile 1 at (0, 0) gets there after 4 cycles, tile 2 at (3, 0)
    # after 2. Tile 1 starts at 1 and has the link [5,7). Tile 2 is ready at 2 (a loop comes first) and would have it
    # [4,6): it must wait until 5, for [7,9).
    y = (buffer("y", 1, 1),)
    near = (Loop(1), Send("b", slab("y", ROW0)), End(), Halt())
    takes = Recv(slab("a"), "a", NEXT), Recv(slab("b"), "b", NEXT), Halt()
    tiles = (
        tile(1, (0, 0, 0), y, Send("a", slab("y", ROW0)), Halt()),
        tile(2, (0, 3, 0), y, *near),
        tile(3, (0, 2, 2), (buffer("a", 1, 1), buffer("b", 1, 1)), *takes),
    )
    timing = both(program(machine(columns=4, rows=3), tiles, Channel("a", 1, (3,), 1), Channel("b", 2, (3,), 1)))
    assert spans(timing, 1) == [(1, 3)]
    assert spans(timing, 2) == [(5, 7)]


@pytest.mark.parametrize(("depth", "start"), [(1, 6), (2, 4), (3, 4)])
def test_a_full_queue_holds_up_what_is_behind_it(depth: int, start: int) -> None:
    # Three look-ups of 2 cycles, then a copy of another ring. With one place, look-up 1 is dispatched at 2 (0 started
    # at 1), 2 at 4, so the copy at 5. With two places nothing waits: 0, 1, 2, and the copy at 3.
    names = "abcdxz"
    lookups = [Lut(slab(n, ROW0), slab("x", ROW0), "t") for n in "abc"]
    code = (*lookups, Copy(slab("z", ROW0), slab("d", ROW0)), Halt())
    rings = tuple(buffer(n, 1, 1) for n in names)
    timing = both(program(machine(queue_depth=depth), (tile(1, (0, 0, 0), rings, *code),)))
    assert spans(timing, 1)[:3] == [(1, 3), (3, 5), (5, 7)]
    assert spans(timing, 1)[3][0] == start


def bursts(width: int, interval: int) -> Timing:
    """Two ``mvm`` of ``width`` positions on one copy, flow of latency 13 and this interval."""
    weights, tensors = layer("w", np.ones((1, 2, 3), np.int8))
    acc = Buffer("acc", "i32", 2, width, 3, (0, width), (0, 3), 2)
    group = Group("g", "w", "bits", (0, 2), (0, 3), (0, 1))
    code = (Loop(2), Mvm(slab("acc"), "x", "k", "g"), End(), Halt())
    x, k = buffer("x", 2, 2, width=width), Window("k", (1, 1))
    one = Tile(1, "t", "tile", 0, 0, 0, (x, acc), (k,), (group,), code=code)
    shortened = replace(flow(9), interval=interval)
    return both(Program(machine(), (one,), (), (shortened,), (weights,), (), (), tensors))


def test_bursts_follow_each_other_as_positions_do() -> None:
    timing = bursts(4, 4)
    # 13 + 3 intervals of 4 = 25 cycles; the next may start after 4 intervals = 16.
    assert spans(timing, 1) == [(2, 27), (18, 43)]
    assert timing.unit_busy[1, "matrix.g"] == 2 * 16
    # A single position and an interval of a cycle: busy for one cycle; the next is dispatched 2 cycles later.
    timing = bursts(1, 1)
    assert spans(timing, 1) == [(2, 15), (4, 17)]
    assert timing.unit_busy[1, "matrix.g"] == 2


def test_progress_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two rows in each of five images: ten sends, told of at every third."""
    monkeypatch.setattr(engine, "_STARTS_TOLD", 3)
    told: list[tuple[int, int]] = []
    simulate(from_host(2), 5, lambda *numbers: told.append(numbers))
    assert told == [(3, 10), (6, 10), (9, 10)]
