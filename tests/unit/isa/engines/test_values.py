"""The values engine on programs written by hand, against results worked out in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from pimc_isa.define import REGISTRY, Instr, Meaning, ref, slab, source
from pimc_isa.engines.values import Executor, run
from pimc_isa.errors import DeadlockError, ProgramError, RunError
from pimc_isa.instructions import Copy, Halt, Loop, Lut, Mvm, Mvma, Quant, Recv, Send
from pimc_isa.operands import Channel, Group, Range, Requant, RowExpr, Slab, Table, Window
from pimc_isa.program import Program, Tile
from tests.unit.isa.engines.nets import ALL, NEXT, I, each_row, host, layer, program, ring, tile

Array = np.ndarray
RNG = np.random.default_rng(5)
W3 = RNG.integers(-128, 128, (1, 9 * 4, 6), dtype=np.int8)
PLUS_ONE = (np.arange(256) + 1).astype(np.uint8)
SAME3 = Window("w", (3, 3), pads=(1, 1, 1, 1), pad_value=7)


def images(*shape: int, count: int = 3) -> Array:
    return np.random.default_rng(1).integers(0, 256, (count, *shape), dtype=np.uint8)


def conv3(x: Array, w: Array) -> Array:
    """3x3 sums with padding 7, tap by tap."""
    padded = np.pad(x.astype(np.int64), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=7)
    h, width = x.shape[1:3]
    parts = [padded[:, ky : ky + h, kx : kx + width] for ky in range(3) for kx in range(3)]
    return np.asarray(np.concatenate(parts, axis=3) @ w.astype(np.int64))


def requantised(sums: Array) -> Array:
    """With multiplier 2**-7, bias 100 and zero point 9."""
    return np.asarray(np.clip(np.rint((sums + 100) / 128) + 9, 0, 255), np.uint8)


REQUANT = {"q.multiplier": np.array([2.0**-7], np.float32), "q.bias": np.array([100], np.int32)}


def conv_tile(number: int, arrives: str, leaves: str, strip: Range, held: Range, n: Range) -> Tile:
    """Columns ``strip`` and outputs ``n`` of a 3x3 convolution of a 5x6x4 tensor of which it holds columns ``held``."""
    acc, y = (ring(b, (5, 6, 6), strip, t, view=v) for b, t, v in (("acc", "i32", ""), ("y", "u8", "conv")))
    out = (Slab("acc", I, None, n), Slab("y", I, None, n))
    code = each_row(
        5,
        Recv(dst=Slab("x", RowExpr()), channel=arrives, until=RowExpr(1, 2)),
        Mvm(dst=out[0], src="x", window="w", group="g"),
        Quant(dst=out[1], src=out[0], requant="q"),
        Send(channel=leaves, src=out[1]),
    )
    group = Group("g", "w3", "bits", (0, 36), n, (0, 1))
    return tile(
        number, [ring("x", (5, 6, 4), held), acc, y], code,
        windows=(SAME3,), groups=(group,), requants=(Requant("q", "q", 9),),
    )  # fmt: skip


def strips_program(converter_bits: int = 9) -> Program:
    """Four tiles: two column strips times two halves of the outputs; a fifth collects them."""
    spans = {
        1: ((0, 3), (0, 4), (0, 3)),
        2: ((0, 3), (0, 4), (3, 6)),
        3: ((3, 6), (2, 6), (0, 3)),
        4: ((3, 6), (2, 6), (3, 6)),
    }
    tiles = [conv_tile(n, "left" if n < 3 else "right", f"y{n}", *span) for n, span in spans.items()]
    gather = [
        Recv(dst=Slab("z", RowExpr(), span[0], span[2]), channel=f"y{n}", until=NEXT) for n, span in spans.items()
    ]
    last = tile(5, [ring("z", (5, 6, 6))], each_row(5, *gather, Send(channel="back", src=Slab("z", I))))
    front = host((5, 6, 4), (5, 6, 6), [("left", (0, 4)), ("right", (2, 6))], "back")
    channels = [Channel("left", 0, (1, 2), 5), Channel("right", 0, (3, 4), 5), Channel("back", 5, (0,), 5)]
    channels += [Channel(f"y{n}", n, (5,), 5) for n in spans]
    weights, tensors = layer("w3", W3)
    return program([front, *tiles, last], channels, {**tensors, **REQUANT}, [weights], converter_bits)


def chain_program(window: Window = SAME3) -> Program:
    """Rows 0..15 of the weights on one tile, the rest on a second one that adds to the first one's sums."""
    weights, tensors = layer("w3", W3, block_rows=16)
    acc = ring("acc", (5, 6, 6), dtype="i32")
    take = Recv(dst=Slab("x", RowExpr()), channel="x", until=RowExpr(1, 2))
    groups = [Group("g", "w3", "bits", k, (0, 6), (0, 1)) for k in ((0, 16), (16, 36))]
    first = each_row(
        5, take, Mvm(dst=Slab("acc", I), src="x", window="w", group="g"), Send(channel="s", src=Slab("acc", I))
    )
    second = each_row(
        5,
        take,
        Recv(dst=Slab("acc", RowExpr()), channel="s", until=NEXT),
        Mvma(dst=Slab("acc", I), src="x", window="w", group="g"),
        Quant(dst=Slab("y", I), src=Slab("acc", I), requant="q"),
        Send(channel="back", src=Slab("y", I)),
    )
    x = ring("x", (5, 6, 4))
    tiles = [
        host((5, 6, 4), (5, 6, 6), [("x", None)], "back"),
        tile(1, [x, acc], first, windows=(window,), groups=(groups[0],)),
        tile(2, [x, acc, ring("y", (5, 6, 6))], second,
             windows=(window,), groups=(groups[1],), requants=(Requant("q", "q", 9),)),
    ]  # fmt: skip
    channels = [Channel("x", 0, (1, 2), 5), Channel("s", 1, (2,), 5), Channel("back", 2, (0,), 5)]
    return program(tiles, channels, {**tensors, **REQUANT}, [weights])


def labels(executor: Executor) -> list[str]:
    return [item.label.split()[0] for item in executor.plan().items]


# ---- lifting and sharing ----


def test_strips_and_output_halves_become_one_product() -> None:
    executor = Executor(strips_program())
    x = images(5, 6, 4)
    assert labels(executor) == ["call", "dot+quant", "call"]
    np.testing.assert_array_equal(executor.run({"x": x}).outputs["y"], requantised(conv3(x, W3[0])))


def test_without_sharing_every_tile_works_for_itself() -> None:
    executor = Executor(strips_program(), merge=False)
    x = images(5, 6, 4)
    assert labels(executor).count("dot+quant") == 4
    np.testing.assert_array_equal(executor.run({"x": x}).outputs["y"], requantised(conv3(x, W3[0])))


def test_partial_sums_of_two_tiles_become_one_product() -> None:
    executor = Executor(chain_program())
    x = images(5, 6, 4)
    assert labels(executor) == ["call", "dot+quant", "call"]
    np.testing.assert_array_equal(executor.run({"x": x}).outputs["y"], requantised(conv3(x, W3[0])))


def test_every_engine_path_clips_alike_when_converters_are_narrow() -> None:
    narrow = strips_program(converter_bits=5)
    x = images(5, 6, 4)
    merged, alone, by_row = (e.run({"x": x}).outputs["y"] for e in executors(narrow))
    assert (merged != requantised(conv3(x, W3[0]))).any(), "nothing was clipped"
    np.testing.assert_array_equal(merged, alone)
    np.testing.assert_array_equal(merged, by_row)


def executors(p: Program) -> tuple[Executor, Executor, Executor]:
    return Executor(p), Executor(p, merge=False), Executor(p, rowwise=True)


def feedback_program(cyclic: bool) -> Program:
    """Tile 1 adds 1 and asks tile 2 to add 1; what comes back is looked up again on tile 1.

    With ``cyclic``, row i of the first step is the previous row's final result, so rows depend on earlier rows.
    """
    shape = (4, 2, 3)
    loop = each_row(
        4 - cyclic,
        Recv(dst=Slab("x", RowExpr()), channel="x", until=NEXT),
        Lut(dst=Slab("u", at(cyclic)), src=Slab("z" if cyclic else "x", I), table="t"),
        Send(channel="there", src=Slab("u", at(cyclic))),
        Recv(dst=Slab("v", RowExpr()), channel="again", until=RowExpr(1, 1 + cyclic)),
        Lut(dst=Slab("z", at(cyclic)), src=Slab("v", at(cyclic)), table="t"),
        Send(channel="back", src=Slab("z", at(cyclic))),
    )
    head: tuple[Instr, ...] = ()
    if cyclic:
        first = RowExpr()
        head = (
            Recv(dst=Slab("x", RowExpr()), channel="x", until=RowExpr(0, 4)),
            Lut(dst=Slab("u", first), src=Slab("x", first), table="t"),
            Send(channel="there", src=Slab("u", first)),
            Recv(dst=Slab("v", RowExpr()), channel="again", until=RowExpr(0, 1)),
            Lut(dst=Slab("z", first), src=Slab("v", first), table="t"),
            Send(channel="back", src=Slab("z", first)),
        )
    plus = each_row(
        4,
        Recv(dst=Slab("a", RowExpr()), channel="there", until=NEXT),
        Lut(dst=Slab("b", I), src=Slab("a", I), table="t"),
        Send(channel="again", src=Slab("b", I)),
    )
    table = (Table("t", "t"),)
    rings = [ring(n, shape, view=n if n != "x" else "") for n in "xuvz"]
    tiles = [
        host(shape, shape, [("x", None)], "back"),
        tile(1, rings, (*head, *loop), tables=table),
        tile(2, [ring("a", shape), ring("b", shape)], plus, tables=table),
    ]
    channels = [
        Channel("x", 0, (1,), 4),
        Channel("there", 1, (2,), 4),
        Channel("again", 2, (1,), 4),
        Channel("back", 1, (0,), 4),
    ]
    return program(tiles, channels, {"t": PLUS_ONE})


def at(cyclic: bool) -> RowExpr:
    return RowExpr(1, int(cyclic))


def test_two_tiles_that_feed_each_other_are_lifted() -> None:
    executor = Executor(feedback_program(cyclic=False))
    x = images(4, 2, 3)
    assert not executor.lifted.rowwise
    assert labels(executor) == ["call", "lut", "lut", "lut", "call"]
    np.testing.assert_array_equal(executor.run({"x": x}).outputs["y"], x + np.uint8(3))


def test_rows_that_depend_on_earlier_rows_run_row_by_row() -> None:
    executor = Executor(feedback_program(cyclic=True))
    x = images(4, 2, 3)
    assert executor.lifted.rowwise == {1, 2}
    assert labels(executor) == ["call", "tiles", "call"]
    expected = np.stack([x[:, 0] + np.uint8(3 * (r + 1)) for r in range(4)], axis=1)
    result = executor.run({"x": x}, keep={"z", "u"})
    np.testing.assert_array_equal(result.outputs["y"], expected)
    np.testing.assert_array_equal(result.tensors["z"], expected)
    np.testing.assert_array_equal(result.tensors["u"], expected - np.uint8(2))


def scratch_program() -> Program:
    """A tile with one scratch row that every iteration writes anew; the tile after it can be lifted."""
    shape, zero = (4, 2, 3), RowExpr()
    first = each_row(
        4,
        Recv(dst=Slab("x", zero), channel="x", until=NEXT),
        Lut(dst=Slab("s", zero), src=Slab("x", I), table="t"),
        Lut(dst=Slab("s", zero), src=Slab("s", zero), table="t"),
        Send(channel="m", src=Slab("s", zero)),
    )
    second = each_row(
        4,
        Recv(dst=Slab("x", zero), channel="m", until=NEXT),
        Lut(dst=Slab("z", I), src=Slab("x", I), table="t"),
        Send(channel="back", src=Slab("z", I)),
    )
    table = (Table("t", "t"),)
    tiles = [
        host(shape, shape, [("x", None)], "back"),
        tile(1, [ring("x", shape), ring("s", (1, 2, 3))], first, tables=table),
        tile(2, [ring("x", shape), ring("z", shape)], second, tables=table),
    ]
    channels = [Channel("x", 0, (1,), 4), Channel("m", 1, (2,), 4), Channel("back", 2, (0,), 4)]
    return program(tiles, channels, {"t": PLUS_ONE})


def test_only_the_tile_with_a_scratch_row_runs_row_by_row() -> None:
    executor = Executor(scratch_program())
    x = images(4, 2, 3)
    assert executor.lifted.rowwise == {1}
    assert labels(executor) == ["call", "tiles", "lut", "call"]
    np.testing.assert_array_equal(executor.run({"x": x}).outputs["y"], x + np.uint8(3))


def test_a_row_rewritten_in_place_is_lifted_in_order() -> None:
    shape = (4, 2, 3)
    code = each_row(
        4,
        Recv(dst=Slab("x", RowExpr()), channel="x", until=NEXT),
        Lut(dst=Slab("z", I), src=Slab("x", I), table="t"),
        Lut(dst=Slab("z", I), src=Slab("z", I), table="t"),
        Send(channel="back", src=Slab("z", I)),
    )
    tiles = [
        host(shape, shape, [("x", None)], "back"),
        tile(1, [ring("x", shape), ring("z", shape, view="z")], code, tables=(Table("t", "t"),)),
    ]
    executor = Executor(program(tiles, [Channel("x", 0, (1,), 4), Channel("back", 1, (0,), 4)], {"t": PLUS_ONE}))
    x = images(4, 2, 3)
    assert not executor.lifted.rowwise
    result = executor.run({"x": x}, keep=["z"])
    np.testing.assert_array_equal(result.outputs["y"], x + np.uint8(2))
    np.testing.assert_array_equal(result.tensors["z"], x + np.uint8(2))


def upsample_program() -> Program:
    """Rows doubled by two copies, columns swapped by two more."""
    big = (8, 2, 3)
    code = each_row(
        4,
        Recv(dst=Slab("x", RowExpr()), channel="x", until=NEXT),
        *(
            Copy(dst=Slab("z", RowExpr(2, odd), (c, c + 1)), src=Slab("x", I, (1 - c, 2 - c)))
            for odd in (0, 1)
            for c in (0, 1)
        ),
        Send(channel="back", src=Slab("z", RowExpr(2, 0))),
        Send(channel="back", src=Slab("z", RowExpr(2, 1))),
    )
    tiles = [
        host((4, 2, 3), big, [("x", None)], "back"),
        tile(1, [ring("x", (4, 2, 3)), ring("z", big)], code),
    ]
    return program(tiles, [Channel("x", 0, (1,), 4), Channel("back", 1, (0,), 4)])


@pytest.mark.parametrize("which", [0, 1, 2])
def test_copies_map_rows_and_columns(which: int) -> None:
    x = images(4, 2, 3)
    y = executors(upsample_program())[which].run({"x": x}).outputs["y"]
    np.testing.assert_array_equal(y, np.repeat(x, 2, axis=1)[:, :, ::-1])


def test_messages_keep_their_order_when_two_sends_alternate() -> None:
    code = (
        Recv(dst=Slab("x", RowExpr()), channel="x", until=ALL),
        *(Send(channel="back", src=Slab("x", RowExpr(0, row))) for row in (3, 0, 2, 1)),
        Halt(),
    )
    tiles = [host((4, 2, 3), (4, 2, 3), [("x", None)], "back"), tile(1, [ring("x", (4, 2, 3))], code)]
    p = program(tiles, [Channel("x", 0, (1,), 4), Channel("back", 1, (0,), 4)])
    x = images(4, 2, 3)
    np.testing.assert_array_equal(run(p, {"x": x}).outputs["y"], x[:, [3, 0, 2, 1]])


# ---- batches and memory ----


def test_a_batch_is_worth_its_images_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Executor(strips_program())
    x = images(5, 6, 4, count=7)
    whole = executor.run({"x": x}, keep=True)
    monkeypatch.setattr("pimc_isa.engines.values.executor.CHUNK_BYTES", 2 * executor.plan(True).bytes_per_image)
    parts = executor.run({"x": x}, keep=True)
    alone = [executor.run({"x": x[n : n + 1]}).outputs["y"] for n in range(7)]
    np.testing.assert_array_equal(whole.outputs["y"], parts.outputs["y"])
    np.testing.assert_array_equal(whole.outputs["y"], np.concatenate(alone))
    np.testing.assert_array_equal(whole.tensors["conv"], parts.tensors["conv"])


def test_arrays_are_freed_after_their_last_reader() -> None:
    executor = Executor(feedback_program(cyclic=False))
    plan, kept = executor.plan(), executor.plan(True)
    assert sum(len(item.frees) for item in plan.items) == 4  # x and three tables' results
    assert sum(len(item.frees) for item in kept.items) < 4
    assert plan.bytes_per_image == 2 * 24  # an operand and a result of 4 x 2 x 3 bytes
    assert kept.bytes_per_image > plan.bytes_per_image


def test_kept_tensors_come_from_all_tiles_that_hold_a_part() -> None:
    x = images(5, 6, 4)
    tensors = run(strips_program(), {"x": x}, keep=True).tensors
    assert set(tensors) == {"x", "y", "conv"}
    np.testing.assert_array_equal(tensors["conv"], requantised(conv3(x, W3[0])))
    np.testing.assert_array_equal(tensors["x"], x)


# ---- errors ----


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'x' is missing"),
        ({"x": images(5, 6, 4), "z": images(1)}, "no input 'z'"),
        ({"x": images(5, 6, 5)}, "must be uint8 of shape images x 5x6x4"),
        ({"x": images(5, 6, 4).astype(np.float32)}, "but is float32"),
        ({"x": images(5, 6, 4, count=0)}, "at least one"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, Array], message: str) -> None:
    with pytest.raises(RunError, match=message):
        run(strips_program(), inputs)


def test_keeping_an_unknown_tensor_is_refused() -> None:
    with pytest.raises(RunError, match="no buffer of the program holds tensor 'nothing'"):
        run(strips_program(), {"x": images(5, 6, 4)}, keep=["nothing"])


def test_reading_a_row_before_it_is_written_is_refused() -> None:
    code = each_row(4, Recv(dst=Slab("x", RowExpr()), channel="x", until=I), Send(channel="back", src=Slab("x", I)))
    tiles = [host((4, 2, 3), (4, 2, 3), [("x", None)], "back"), tile(1, [ring("x", (4, 2, 3))], code)]
    p = program(tiles, [Channel("x", 0, (1,), 4), Channel("back", 1, (0,), 4)])
    with pytest.raises(ProgramError, match=r"tile 1, instruction 2 .*row .* of x is read before"):
        Executor(p)


def short_of_a_row(p: Program) -> Program:
    """The same program, but the host sends one row less."""
    front = p.tiles[0]
    code = tuple(Loop(times=3) if isinstance(instr, Loop) else instr for instr in front.code)
    return replace(p, tiles=(replace(front, code=code), *p.tiles[1:]))


def test_row_by_row_tiles_that_wait_for_nobody_say_so() -> None:
    with pytest.raises(DeadlockError, match="tile 1 for channel x"):
        run(short_of_a_row(scratch_program()), {"x": images(4, 2, 3)})


def test_lifted_tiles_that_wait_for_nobody_say_so() -> None:
    with pytest.raises(ProgramError, match=r"tile 1, instruction 2 \(lut\): row 3 of x is never complete"):
        run(short_of_a_row(feedback_program(cyclic=False)), {"x": images(4, 2, 3)})


# ---- instructions without a kernel ----


@pytest.fixture
def invert() -> Iterator[type[Instr]]:
    """An instruction that this engine has never heard of: windows' largest element, inverted, plus a row."""

    class Invert(Instr, op=0x7F, name="test.invert", unit="vector"):
        """255 - max of each window + a, wrapping."""

        dst: Slab = slab("w", "result")
        src: str = source("window", "input buffer")
        window: str = ref("window", "the window")
        a: Slab = slab("r", "what is added")

        def execute(self, m: Meaning) -> None:
            """In u8."""
            largest = m.patches(self.dst, self.src, self.window).max(axis=3)
            m.write(self.dst, np.uint8(255) - largest + m.read(self.a))

    yield Invert
    del REGISTRY["test.invert"]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_instruction_of_ones_own_runs_from_its_meaning(invert: type[Instr], which: int) -> None:
    shape = (4, 5, 3)
    code = each_row(
        4,
        Recv(dst=Slab("x", RowExpr()), channel="x", until=RowExpr(1, 2)),
        invert(dst=Slab("z", I), src="x", window="w", a=Slab("x", I)),  # type: ignore[call-arg]
        Send(channel="back", src=Slab("z", I)),
    )
    window = Window("w", (3, 3), pads=(1, 1, 1, 1))
    tiles = [
        host(shape, shape, [("x", None)], "back"),
        tile(1, [ring("x", shape), ring("z", shape)], code, windows=(window,)),
    ]
    p = program(tiles, [Channel("x", 0, (1,), 4), Channel("back", 1, (0,), 4)])
    x = images(*shape)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    largest = np.max([padded[:, ky : ky + 4, kx : kx + 5] for ky in range(3) for kx in range(3)], axis=0)
    np.testing.assert_array_equal(executors(p)[which].run({"x": x}).outputs["y"], np.uint8(255) - largest + x)
