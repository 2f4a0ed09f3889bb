"""Streams of one place: what they share and what each has for itself, worked out by hand; engines must agree on it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from pimc_isa.check import check
from pimc_isa.define import Instr
from pimc_isa.energy import program_actions
from pimc_isa.engines import step
from pimc_isa.engines.cycles import engine, record, simulate
from pimc_isa.engines.cycles.state import Contender
from pimc_isa.engines.timing import Timing
from pimc_isa.engines.values import Executor
from pimc_isa.errors import DeadlockError
from pimc_isa.instructions import Copy, End, Halt, Loop, Lut, Mvm, Quant, Recv, Send
from pimc_isa.operands import Buffer, Channel, Group, Requant, RowExpr, Slab, Window
from pimc_isa.program import Program, Tile
from pimc_isa.route import HOST
from tests.properties.drafts import make_machine
from tests.unit.isa.engines.nets import each_row, flow, host, layer, ring
from tests.unit.isa.engines.nets import program as net
from tests.unit.isa.engines.tiny import ROW0, I, both, buffer, machine, program, slab, spans, tile

Array = np.ndarray
HERE = (0, 0, 0)
ROW1, TWO = RowExpr(0, 1), RowExpr(0, 2)
RINGS = tuple(buffer(name, 2, 2) for name in "xyzabcde")


def lookup(dst: str, src: str = "x") -> Instr:
    """Two cycles of the vector unit."""
    return Lut(slab(dst, ROW0), slab(src, ROW0), "t")


def copy(dst: str, src: str = "x") -> Instr:
    """Two cycles of the mover."""
    return Copy(slab(dst, ROW0), slab(src, ROW0))


def stream(number: int, *code: Instr, at: tuple[int, int, int] = HERE) -> Tile:
    """A stream at a place, with rings of two rows."""
    return tile(number, at, RINGS, *code, Halt())


def together(*tiles: Tile, channels: tuple[Channel, ...] = (), depth: int = 4, rows: int = 1) -> Timing:
    """What both engines say of one image."""
    return both(program(machine(queue_depth=depth, rows=rows), tiles, *channels))


def two_of_three_lookups() -> Program:
    code = (Loop(3), Lut(slab("y"), slab("x", ROW0), "t"), End(), Halt())
    buffers = (buffer("x", 1, 1), buffer("y", 3, 3))
    return program(machine(), (tile(1, HERE, buffers, *code), tile(2, HERE, buffers, *code)))


# ---- one unit, several streams ----


def test_the_lower_number_has_the_vector_unit_first() -> None:
    # Both: loop 0, look-ups dispatched 1, 3, 5, so ready at 2, 4, 6. Stream 1 has the unit [2,8): whenever it is free,
    # stream 1 has the next one ready. Stream 2 follows.
    timing = both(two_of_three_lookups())
    assert spans(timing, 1) == [(2, 4), (4, 6), (6, 8)]
    assert spans(timing, 2) == [(8, 10), (10, 12), (12, 14)]
    assert timing.unit_busy == {(1, "vector"): 6, (2, "vector"): 6}
    assert timing.busy == {(1, "vector"): 12, (2, "vector"): 12}
    assert timing.sharing == ((1, 2),)


def test_the_rule_can_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Highest number first: the timing engine says something else, and the step engine does not."""
    monkeypatch.setattr(engine, "Contender", lambda order, unit: Contender((-order[0], order[1]), unit))
    p = two_of_three_lookups()
    assert spans(simulate(p, 1), 2) == [(2, 4), (4, 6), (6, 8)]
    assert spans(step.run(p, {}, 1, values=False).timing, 2) == [(8, 10), (10, 12), (12, 14)]
    with pytest.raises(AssertionError):
        both(p)


def test_streams_take_turns_when_each_has_something_to_wait_for() -> None:
    # Each: a look-up, a copy of it, a look-up of that. Stream 1: look-up [1,3), copy [3,5), look-up ready at 5.
    # Stream 2: look-up [3,5), its copy [5,7); stream 1's second look-up [5,7), stream 2's [7,9).
    code = lookup("y"), copy("z", "y"), lookup("a", "z")
    timing = together(stream(1, *code), stream(2, *code))
    assert spans(timing, 1) == [(1, 3), (3, 5), (5, 7)]
    assert spans(timing, 2) == [(3, 5), (5, 7), (7, 9)]


@pytest.mark.parametrize(("late", "first", "others"), [(0, 3, [1, 5]), (1, 5, [1, 3])])
def test_what_waits_for_rows_does_not_hold_the_unit(late: int, first: int, others: list[int]) -> None:
    # Stream 1's look-up needs the row that its copy makes: copy [1,3), or a cycle later behind a loop. Stream 2 looks
    # up meanwhile, [1,3); at 3 its next one is ready, and stream 1's only if the copy was not late.
    loop, end = ((Loop(1),), (End(),)) if late else ((), ())
    one = stream(1, *loop, copy("z"), lookup("y", "z"), *end)
    timing = together(one, stream(2, lookup("y"), lookup("z")))
    assert spans(timing, 1)[1][0] == first
    assert [start for start, _ in spans(timing, 2)] == others


def test_three_streams_and_their_movers() -> None:
    # Copies of streams 5, 2 and 9 are ready at 1: 2, 5, 9. Look-ups too: 2's needs no copy.
    codes = {5: (copy("y"), lookup("z", "y")), 2: (copy("y"), lookup("z")), 9: (copy("y"), lookup("z", "y"))}
    timing = together(*(stream(n, *codes[n]) for n in sorted(codes)))
    assert spans(timing, 2) == [(1, 3), (2, 4)]
    assert spans(timing, 5) == [(3, 5), (5, 7)]
    assert spans(timing, 9) == [(5, 7), (7, 9)]
    assert timing.sharing == ((2, 5, 9),)


def test_neighbours_share_nothing() -> None:
    apart = together(stream(1, lookup("y")), stream(2, lookup("y"), at=(0, 1, 0)))
    assert spans(apart, 1) == spans(apart, 2) == [(1, 3)]
    assert apart.sharing == ()


def test_each_stream_has_queues_of_its_own() -> None:
    # One place in a queue. Stream 1: look-ups dispatched 0 and 2, [1,3) [3,5); copy dispatched 3, [4,6).
    # Stream 2: look-up dispatched 0 too, but the unit is free for it at 5; the next is dispatched at 6, [7,9); the
    # copy at 7, [8,10).
    code = lookup("y"), lookup("z"), copy("a")
    timing = together(stream(1, *code), stream(2, *code), depth=1)
    assert spans(timing, 1) == [(1, 3), (3, 5), (4, 6)]
    assert spans(timing, 2) == [(5, 7), (7, 9), (8, 10)]


def test_matrix_groups_of_one_name_are_two_units() -> None:
    # 4 positions of a flow of 13 steps take 13 + 3 x 13 = 52 cycles, in both streams at once: [1,53). Then 12 elements
    # in 4 lanes, one stream after the other.
    weights, tensors = layer("w", np.ones((1, 2, 3), np.int8))
    acc, y = (Buffer(n, t, 1, 4, 3, (0, 4), (0, 3), 1) for n, t in (("acc", "i32"), ("y", "u8")))
    code = Mvm(slab("acc", ROW0), "x", "k", "g"), Quant(slab("y", ROW0), slab("acc", ROW0), "q"), Halt()
    tiles = tuple(
        Tile(
            n, f"t{n}", "tile", *HERE, (buffer("x", 1, 1), acc, y), (Window("k", (1, 1)),),
            (Group("g", "w", "bits", (0, 2), (0, 3), (0, 1)),), (Requant("q", "q", 0),), code=code,
        )
        for n in (1, 2)
    )  # fmt: skip
    timing = both(Program(machine(), tiles, (), (flow(9),), (weights,), (), (), tensors))
    assert spans(timing, 1) == [(1, 53), (53, 56)]
    assert spans(timing, 2) == [(1, 53), (56, 59)]
    assert timing.busy == {(1, "matrix.g"): 52, (2, "matrix.g"): 52, (1, "vector"): 6, (2, "vector"): 6}


# ---- messages ----


def test_a_stream_that_waits_for_a_message_lets_the_other_go_on() -> None:
    # The message leaves tile 3 at 1, is there at 1 + 2 + 2 = 5 and taken [5,7); stream 1 looks it up [7,9). Stream 2
    # looks up at 1, 3, 5; at 7 stream 1 goes first; then at 9 and 11.
    takes = stream(1, Recv(slab("x"), "c", ROW1), lookup("y"))
    other = stream(2, *(lookup(name) for name in "yzabc"))
    far = stream(3, Send("c", slab("x", ROW0)), at=(0, 1, 0))
    timing = together(takes, other, far, channels=(Channel("c", 3, (1,), 1),))
    assert spans(timing, 1) == [(5, 7), (7, 9)]
    assert [start for start, _ in spans(timing, 2)] == [1, 3, 5, 9, 11]


def test_transfers_of_two_streams_interleave() -> None:
    # Tiles 3 and 4 stand on both sides and send two rows each at 1 and 3, there at 5 and 7; but channel a has one
    # place: the first transfer ends at 7, the credit is back at 9, the second row is there at 9 + 4 = 13.
    # Net-in: stream 1's first row [5,7), both rows of stream 2 [7,11), stream 1's second [13,15).
    sends = [(Send(c, slab("x", ROW0)), Send(c, slab("x", ROW1))) for c in "ab"]
    one, two = (
        stream(n, Recv(slab("x"), c, TWO), lookup("y"), at=(0, 1, 0)) for n, c in ((1, "a"), (2, "b"))
    )  # fmt: skip
    far = stream(3, *sends[0]), stream(4, *sends[1], at=(0, 2, 0))
    channels = Channel("a", 3, (1,), 1), Channel("b", 4, (2,), 2)
    timing = together(one, two, *far, channels=channels)
    assert spans(timing, 1) == [(5, 15), (7, 9)]
    assert spans(timing, 2) == [(7, 11), (9, 11)]
    assert timing.busy[1, "net-in"] == timing.busy[2, "net-in"] == 8


def test_nothing_to_take_is_taken_in_turn_as_well() -> None:
    # Stream 1 takes two rows that are there at 3 and 5; stream 2's recv has nothing to take, and its cycle of net-in is
    # free at once.
    one = stream(1, Recv(slab("x"), "c", TWO))
    two = stream(2, Recv(slab("x"), "d", RowExpr(0, 0)), Recv(slab("x"), "d", RowExpr(0, 0)))
    three = stream(3, Send("c", slab("x", ROW0)), Send("c", slab("x", ROW1)))
    timing = together(one, two, three, channels=(Channel("c", 3, (1,), 2), Channel("d", 3, (2,), 1)))
    assert spans(timing, 1) == [(3, 7)]
    assert spans(timing, 2) == [(1, 2), (2, 3)]


@pytest.mark.parametrize(("depth", "second"), [(1, (6, 8)), (2, (3, 5))])
def test_a_message_to_a_stream_of_the_same_place_passes_no_link(depth: int, second: tuple[int, int]) -> None:
    # Send [1,3), there at 3, taken [3,5). The credit is back a cycle later, at 6; with two places the next send is
    # [3,5), there at 5, taken [5,7).
    one = stream(1, Send("c", slab("x", ROW0)), Send("c", slab("x", ROW1)))
    two = stream(2, Recv(slab("x"), "c", TWO))
    p = program(machine(), (one, two), Channel("c", 1, (2,), depth))
    timing = both(p)
    assert spans(timing, 1) == [(1, 3), second]
    assert spans(timing, 2) == [(3, second[1] + 2)]
    assert timing.link_busy == {}
    assert not {"link_byte", "chip_link_byte"} & program_actions(p)["t1"].keys()


def test_a_message_to_the_neighbour_stream_and_to_a_far_tile() -> None:
    # Send [1,3): in the same place at 3, a hop away at 1 + 2 + 2 = 5.
    takes = [stream(n, Recv(slab("x"), "c", ROW1), at=at) for n, at in ((2, HERE), (3, (0, 1, 0)), (4, (0, 1, 0)))]
    timing = together(stream(1, Send("c", slab("x", ROW0))), *takes, channels=(Channel("c", 1, (2, 3, 4), 1),))
    assert [spans(timing, n) for n in (2, 3, 4)] == [[(3, 5)], [(5, 7)], [(7, 9)]]
    assert timing.link_busy == {((0, 0, 0), (0, 1, 0)): 2}


def test_a_send_that_waits_for_its_link_does_not_hold_the_unit() -> None:
    # Tile 1's 16 bytes have the link (1,0)->(2,0) for [3,7). Streams 2 and 3 at (1,0) are ready at 2, behind a loop:
    # stream 2 would be on that link from 2 to 4 and waits until 7; stream 3 goes down at once.
    wide = (buffer("w", 1, 1, width=8),)
    first = tile(1, HERE, wide, Send("a", slab("w", ROW0)), Halt())
    streams = [stream(n, Loop(1), Send(c, slab("x", ROW0)), End(), at=(0, 1, 0)) for n, c in ((2, "b"), (3, "c"))]
    ends = tile(4, (0, 2, 0), (*wide, *RINGS), Recv(slab("w"), "a", ROW1), Recv(slab("x"), "b", ROW1), Halt())
    down = stream(5, Recv(slab("x"), "c", ROW1), at=(0, 1, 1))
    channels = Channel("a", 1, (4,), 1), Channel("b", 2, (4,), 1), Channel("c", 3, (5,), 1)
    timing = together(first, *streams, ends, down, channels=channels, rows=2)
    assert spans(timing, 2) == [(7, 9)]
    assert spans(timing, 3) == [(2, 4)]


def test_two_sends_of_one_place_follow_each_other() -> None:
    ends = stream(3, Recv(slab("x"), "a", ROW1), Recv(slab("y"), "b", ROW1), at=(0, 1, 0))
    one, two = (stream(n, Send(c, slab("x", ROW0))) for n, c in ((1, "a"), (2, "b")))
    timing = together(one, two, ends, channels=(Channel("a", 1, (3,), 1), Channel("b", 2, (3,), 1)))
    assert (spans(timing, 1), spans(timing, 2)) == ([(1, 3)], [(3, 5)])
    assert timing.busy[1, "net-out"] == 4


# ---- what is said of it ----


def test_a_deadlock_between_streams_of_a_place_names_both() -> None:
    code = [(Recv(slab("x"), f"c{n}", ROW1), Send(f"c{1 - n}", slab("x", ROW0))) for n in (0, 1)]
    channels = Channel("c0", 2, (1,), 1), Channel("c1", 1, (2,), 1)
    p = program(machine(), (stream(1, *code[0]), stream(2, *code[1])), *channels)
    with pytest.raises(DeadlockError, match="these wait for each other") as error:
        simulate(p, 1)
    assert '1 "t1", image 0: `recv x, c0, until=1` waits for a message on channel c0 from tile 2' in str(error.value)
    with pytest.raises(DeadlockError):
        step.run(p, {}, 1, values=False)


def test_what_a_start_waited_for() -> None:
    # Stream 2's look-up is ready at 1 and waits for stream 1's; then its own unit's turn: it follows itself.
    found = record(program(machine(), (stream(1, lookup("y")), stream(2, lookup("y"), lookup("z")))))
    reasons = [(s.tile, s.start, s.reason, s.waited) for s in found.slices]
    assert reasons == [(1, 1, "dispatch", 1), (2, 3, "stream", 3), (2, 5, "unit", 0)]


def test_who_shares_with_whom() -> None:
    hosts = [Tile(n, f"h{n}", "host", *HERE) for n in (0, 7)]
    tiles = (*hosts, stream(3), stream(1), stream(2, at=(0, 1, 0)), stream(4, at=(1, 0, 0)))
    p = program(machine(), tiles)
    assert p.sharing == {0: (0,), 7: (7,), 1: (1, 3), 3: (1, 3), 2: (2,), 4: (4,)}
    assert p.physical_tiles == 3


# ---- values ----

RNG = np.random.default_rng(11)
W = {name: RNG.integers(-128, 128, (1, 36, 4), dtype=np.int8) for name in ("w1", "w2")}
REQUANT = {"q.multiplier": np.array([2.0**-7], np.float32), "q.bias": np.array([100], np.int32)}
SAME3 = Window("w", (3, 3), pads=(1, 1, 1, 1), pad_value=7)


def conv(number: int, weights: str, arrives: str, leaves: str) -> Tile:
    """A 3x3 convolution of a 5x6x4 tensor at chip 0, 2,0."""
    rings = ring("x", (5, 6, 4)), ring("acc", (5, 6, 4), dtype="i32"), ring("y", (5, 6, 4), view=f"conv {number}")
    code = each_row(
        5,
        Recv(Slab("x", RowExpr()), arrives, RowExpr(1, 2)),
        Mvm(Slab("acc", I), "x", "w", "g"),
        Quant(Slab("y", I), Slab("acc", I), "q"),
        Send(leaves, Slab("y", I)),
    )
    group = Group("g", weights, "bits", (0, 36), (0, 4), (0, 1))
    return Tile(
        number, f"conv {number}", "tile", 0, 2, 0, rings, (SAME3,), (group,), (Requant("q", "q", 9),), code=code,
        nodes=("",) * len(code),
    )  # fmt: skip


def two_convolutions(depth: int = 1) -> Program:
    """One after the other, at one place."""
    made = [layer(name, w) for name, w in W.items()]
    tensors = {**REQUANT, **{name: value for _, held in made for name, value in held.items()}}
    tiles = [host((5, 6, 4), (5, 6, 4), [("a", None)], "c"), conv(2, "w1", "a", "b"), conv(1, "w2", "b", "c")]
    channels = [Channel("a", 0, (2,), depth), Channel("b", 2, (1,), depth), Channel("c", 1, (0,), 5)]
    p = net(tiles, channels, tensors, [weights for weights, _ in made])
    roomy, _ = make_machine(Random(0), 1)
    return replace(p, machine=replace(p.machine, array=roomy.array, tile=replace(p.machine.tile, arrays=64)))


def conv3(x: Array, w: Array) -> Array:
    """Sums tap by tap with padding 7, requantised with multiplier 2**-7, bias 100 and zero point 9."""
    padded = np.pad(x.astype(np.int64), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=7)
    taps = [padded[:, ky : ky + 5, kx : kx + 6] for ky in range(3) for kx in range(3)]
    sums = np.concatenate(taps, axis=3) @ w[0].astype(np.int64)
    return np.asarray(np.clip(np.rint((sums + 100) / 128) + 9, 0, 255), np.uint8)


@pytest.mark.parametrize("depth", [1, 3])
def test_two_convolutions_talk_to_each_other_at_one_place(depth: int) -> None:
    p = two_convolutions(depth)
    check(p)
    x = np.random.default_rng(1).integers(0, 256, (2, 5, 6, 4), dtype=np.uint8)
    first = conv3(x, W["w1"])
    expected = conv3(first, W["w2"])
    judged, ran = step.run(p, {"x": x}, 2), Executor(p).run({"x": x}, keep=True)
    np.testing.assert_array_equal(judged.outputs["y"], expected)
    np.testing.assert_array_equal(ran.outputs["y"], expected)
    np.testing.assert_array_equal(ran.tensors["conv 2"], first)
    np.testing.assert_array_equal(judged.buffers[2, "y"], first)
    timing = both(p, 2)
    links = {link for link in timing.link_busy if HOST not in link}
    assert links == {((0, n, 0), (0, n + 1, 0)) for n in (0, 1)} | {((0, n + 1, 0), (0, n, 0)) for n in (0, 1)}
    assert timing.busy[1, "vector"] == timing.busy[2, "vector"] == 2 * timing.unit_busy[1, "vector"]


def test_values_do_not_depend_on_the_place() -> None:
    p = two_convolutions()
    apart = replace(p, tiles=tuple(replace(t, x=t.number) for t in p.tiles))
    x = np.random.default_rng(2).integers(0, 256, (2, 5, 6, 4), dtype=np.uint8)
    np.testing.assert_array_equal(step.run(apart, {"x": x}, 2).outputs["y"], step.run(p, {"x": x}, 2).outputs["y"])
    assert spans(both(p, 2), 1) != spans(both(apart, 2), 1)
