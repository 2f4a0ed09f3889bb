"""Where sharing and lifting must hold back: sums that are no chain, moved rows, rewritten rows, cropped tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimc_isa.define import Instr
from pimc_isa.engines import step
from pimc_isa.engines.values import Executor
from pimc_isa.engines.values.tensors import from_onnx, to_onnx
from pimc_isa.errors import RunError
from pimc_isa.instructions import Add, Copy, Halt, Lut, Mul, Mvm, Mvma, PoolMax, Quant, Recv, Send
from pimc_isa.numerics import qmul
from pimc_isa.operands import Channel, Elementwise, Group, Range, Requant, RowExpr, Slab, Table, View, Window
from pimc_isa.program import Program
from tests.unit.isa.engines.nets import ALL, NEXT, I, each_row, host, layer, program, ring, tile
from tests.unit.isa.engines.test_values import PLUS_ONE, REQUANT, SAME3, W3, executors, images, labels, requantised

Array = np.ndarray
WAYS = [0, 1, 2]  # shared, alone, row by row
TABLE = (Table("t", "t"),)


def taps3(x: Array) -> Array:
    """Window vectors of a 3x3 convolution with padding 7, in int64."""
    h, width = x.shape[1:3]
    padded = np.pad(x.astype(np.int64), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=7)
    return np.concatenate([padded[:, ky : ky + h, kx : kx + width] for ky in range(3) for kx in range(3)], axis=3)


def result(p: Program, which: int, x: Array) -> Array:
    return executors(p)[which].run({"x": x}).outputs["y"]


# ---- sums that are added ----


def two_products(first: Range, second: Range) -> Program:
    """One tile adds the products with two ranges of the weights' rows."""
    weights, tensors = layer("w3", W3, block_rows=16)
    code = each_row(
        5,
        Recv(dst=Slab("x", RowExpr()), channel="x", until=RowExpr(1, 2)),
        Mvm(dst=Slab("acc", I), src="x", window="w", group="a"),
        Mvma(dst=Slab("acc", I), src="x", window="w", group="b"),
        Quant(dst=Slab("y", I), src=Slab("acc", I), requant="q"),
        Send(channel="back", src=Slab("y", I)),
    )
    groups = tuple(Group(n, "w3", "bits", k, (0, 6), (0, 1)) for n, k in (("a", first), ("b", second)))
    rings = [ring("x", (5, 6, 4)), ring("acc", (5, 6, 6), dtype="i32"), ring("y", (5, 6, 6))]
    body = tile(1, rings, code, windows=(SAME3,), groups=groups, requants=(Requant("q", "q", 9),))
    channels = [Channel("x", 0, (1,), 5), Channel("back", 1, (0,), 5)]
    front = host((5, 6, 4), (5, 6, 6), [("x", None)], "back")
    return program([front, body], channels, {**tensors, **REQUANT}, [weights])


@pytest.mark.parametrize("which", WAYS)
@pytest.mark.parametrize(("first", "second"), [((0, 16), (16, 36)), ((0, 16), (0, 16)), ((0, 16), (32, 36))])
def test_products_are_joined_only_over_adjacent_rows(first: Range, second: Range, which: int) -> None:
    x = images(5, 6, 4)
    w = W3[0].astype(np.int64)
    expected = sum(taps3(x)[..., slice(*k)] @ w[slice(*k)] for k in (first, second))
    np.testing.assert_array_equal(result(two_products(first, second), which, x), requantised(np.asarray(expected)))


@pytest.mark.parametrize("which", WAYS)
def test_sums_that_arrive_in_another_order_are_no_chain(which: int) -> None:
    weights, tensors = layer("w3", W3, block_rows=16)
    take = Recv(dst=Slab("x", RowExpr()), channel="x", until=ALL)
    group = Group("g", "w3", "bits", (0, 16), (0, 6), (0, 1))
    first: list[Instr] = [take]
    for row in range(5):
        first.append(Mvm(dst=Slab("acc", RowExpr(0, row)), src="x", window="w", group="g"))
    for row in (4, 3, 2, 1, 0):
        first.append(Send(channel="s", src=Slab("acc", RowExpr(0, row))))
    second = (
        take,
        Recv(dst=Slab("acc", RowExpr()), channel="s", until=ALL),
        *each_row(
            5,
            Mvma(dst=Slab("acc", I), src="x", window="w", group="g"),
            Quant(dst=Slab("y", I), src=Slab("acc", I), requant="q"),
            Send(channel="back", src=Slab("y", I)),
        ),
    )
    x_ring, acc = ring("x", (5, 6, 4)), ring("acc", (5, 6, 6), dtype="i32")
    parts = [tile(1, [x_ring, acc], [*first, Halt()], windows=(SAME3,), groups=(group,))]
    rest = replace(group, k=(16, 36))
    requants = (Requant("q", "q", 9),)
    parts.append(
        tile(2, [x_ring, acc, ring("y", (5, 6, 6))], second, windows=(SAME3,), groups=(rest,), requants=requants)
    )
    channels = [Channel("x", 0, (1, 2), 5), Channel("s", 1, (2,), 5), Channel("back", 2, (0,), 5)]
    front = host((5, 6, 4), (5, 6, 6), [("x", None)], "back")
    p = program([front, *parts], channels, {**tensors, **REQUANT}, [weights])
    x = images(5, 6, 4)
    w = W3[0].astype(np.int64)
    upside_down = (taps3(x)[..., :16] @ w[:16])[:, ::-1]
    np.testing.assert_array_equal(result(p, which, x), requantised(upside_down + taps3(x)[..., 16:] @ w[16:]))


# ---- rows that change ----


def one_tile(code: tuple[Instr, ...], out: tuple[int, int, int] = (4, 2, 3)) -> Program:
    """A host and a tile with buffers x, y, z and a table that adds 1."""
    rings = [ring("x", (4, 2, 3)), ring("z", (4, 2, 3)), ring("y", out)]
    channels = [Channel("x", 0, (1,), 4), Channel("back", 1, (0,), 4)]
    front = host((4, 2, 3), out, [("x", None)], "back")
    return program([front, tile(1, rings, code, tables=TABLE)], channels, {"t": PLUS_ONE})


@pytest.mark.parametrize("which", WAYS)
def test_a_read_that_sees_old_and_new_rows_is_not_lifted(which: int) -> None:
    """Row 3 - i is sent while row i is rewritten: the first two rows go out as they were, the last two anew."""
    p = one_tile(
        (
            Recv(dst=Slab("x", RowExpr()), channel="x", until=ALL),
            *each_row(4, Lut(dst=Slab("z", I), src=Slab("x", I), table="t"))[:-1],
            *each_row(
                4,
                Send(channel="back", src=Slab("z", RowExpr(-1, 3))),
                Lut(dst=Slab("z", I), src=Slab("z", I), table="t"),
            ),
        )
    )
    assert Executor(p).lifted.rowwise == {1}
    x = images(4, 2, 3)
    expected = np.stack([x[:, 3] + 1, x[:, 2] + 1, x[:, 1] + 2, x[:, 0] + 2], axis=1).astype(np.uint8)
    np.testing.assert_array_equal(result(p, which, x), expected)


@pytest.mark.parametrize("which", WAYS)
def test_a_scratch_row_is_not_overwritten_before_it_is_read(which: int) -> None:
    """The sum needs the scratch row and an answer from tile 2; the next row must wait with its own scratch."""
    shape, zero = (4, 2, 3), RowExpr()
    first = each_row(
        4,
        Recv(dst=Slab("x", zero), channel="x", until=NEXT),
        Lut(dst=Slab("s", zero), src=Slab("x", I), table="t"),
        Send(channel="there", src=Slab("s", zero)),
        Recv(dst=Slab("v", zero), channel="again", until=NEXT),
        Add(dst=Slab("z", I), a=Slab("s", zero), b=Slab("v", I), scales="s"),
        Send(channel="back", src=Slab("z", I)),
    )
    second = each_row(
        4,
        Recv(dst=Slab("a", zero), channel="there", until=NEXT),
        Lut(dst=Slab("b", I), src=Slab("a", I), table="t"),
        Send(channel="again", src=Slab("b", I)),
    )
    scales = (Elementwise("s", (1.0, 0), (1.0, 0), (2.0, 0)),)
    rings = [ring(n, shape) for n in "xvz"] + [ring("s", (1, 2, 3))]
    tiles = [
        host(shape, shape, [("x", None)], "back"),
        tile(1, rings, first, tables=TABLE, elementwises=scales),
        tile(2, [ring("a", shape), ring("b", shape)], second, tables=TABLE),
    ]
    routes = {"x": (0, 1), "there": (1, 2), "again": (2, 1), "back": (1, 0)}
    p = program(tiles, [Channel(n, a, (b,), 4) for n, (a, b) in routes.items()], {"t": PLUS_ONE})
    assert Executor(p).lifted.rowwise == {1, 2}
    x = images(*shape) // np.uint8(2)
    expected = np.rint(((x + 1.0) + (x + 2.0)) / 2).astype(np.uint8)
    np.testing.assert_array_equal(result(p, which, x), expected)


# ---- parts of tensors ----


@pytest.mark.parametrize("which", WAYS)
def test_a_cropped_tensor_ends_where_it_is_cropped(which: int) -> None:
    """Rows 1 and 2 become a tensor of two rows; windows must see padding around it, not rows 0 and 3."""
    rings = [ring("x", (4, 2, 3)), ring("z", (2, 2, 3)), ring("y", (2, 2, 3))]
    code = (
        Recv(dst=Slab("x", RowExpr()), channel="x", until=ALL),
        *each_row(2, Copy(dst=Slab("z", I), src=Slab("x", NEXT)))[:-1],
        *each_row(2, PoolMax(dst=Slab("y", I), src="z", window="w"), Send(channel="back", src=Slab("y", I))),
    )
    body = tile(1, rings, code, windows=(Window("w", (3, 1), pads=(1, 0, 1, 0)),))
    front = host((4, 2, 3), (2, 2, 3), [("x", None)], "back")
    p = program([front, body], [Channel("x", 0, (1,), 4), Channel("back", 1, (0,), 4)])
    x = images(4, 2, 3)
    np.testing.assert_array_equal(result(p, which, x), np.repeat(x[:, 1:3].max(axis=1, keepdims=True), 2, axis=1))


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("which", WAYS)
def test_strips_scaled_by_columns_of_their_own(which: int, same: bool) -> None:
    """Each strip is multiplied by one column of another operand: by the same column, or by different ones."""
    shape, scales = (4, 6, 3), Elementwise("s", (1.0, 0), (1.0, 0), (64.0, 0))
    tiles, channels = [], [Channel("x", 0, (1, 2), 4), Channel("back", 3, (0,), 4)]
    gather: list[Instr] = []
    for n, (strip, column) in enumerate((((0, 3), 0), ((3, 6), 0 if same else 4)), start=1):
        code = each_row(
            4,
            Recv(dst=Slab("x", RowExpr()), channel="x", until=NEXT),
            Mul(dst=Slab("z", I), a=Slab("x", I, strip), b=Slab("x", I, (column, column + 1)), scales="s"),
            Send(channel=f"z{n}", src=Slab("z", I)),
        )
        tiles.append(tile(n, [ring("x", shape), ring("z", shape, strip)], code, elementwises=(scales,)))
        channels.append(Channel(f"z{n}", n, (3,), 4))
        gather.append(Recv(dst=Slab("y", RowExpr(), strip), channel=f"z{n}", until=NEXT))
    last = tile(3, [ring("y", shape)], each_row(4, *gather, Send(channel="back", src=Slab("y", I))))
    p = program([host(shape, shape, [("x", None)], "back"), *tiles, last], channels)
    if which == 0:
        assert labels(Executor(p)).count("mul") == (1 if same else 2)
    x = images(*shape)
    parts = [qmul(x[:, :, :3], x[:, :, :1], scales), qmul(x[:, :, 3:], x[:, :, :1] if same else x[:, :, 4:5], scales)]
    np.testing.assert_array_equal(result(p, which, x), np.concatenate(parts, axis=2))


# ---- windows in the padding ----


@pytest.mark.parametrize("which", WAYS)
@pytest.mark.parametrize("pads", [(40, 1, 1, 1), (1, 40, 1, 1)], ids=["above", "beside"])
def test_windows_wholly_in_the_padding_read_only_padding(which: int, pads: tuple[int, int, int, int]) -> None:
    p = two_products((0, 16), (16, 36))
    front, body = p.tiles
    window = Window("w", (3, 3), pads=pads, pad_value=7)
    p = replace(p, tiles=(front, replace(body, windows=(window,))))
    sums = 7 * W3[0].astype(np.int64).sum(axis=0)
    expected = np.broadcast_to(requantised(sums), (3, 5, 6, 6))
    x = images(5, 6, 4)
    np.testing.assert_array_equal(result(p, which, x), expected)
    np.testing.assert_array_equal(step.run(p, {"x": x}, 3).outputs["y"], expected)


# ---- ONNX layouts ----


@pytest.mark.parametrize("order", ["CHW", "HWC"])
@pytest.mark.parametrize("offset", [0, 128])
def test_onnx_tensors_and_buffers(order: str, offset: int) -> None:
    shape = (5, 3, 4) if order == "CHW" else (3, 4, 5)
    view = View("t", order, shape, offset)
    buffer = replace(ring("b", (3, 4, 5)), views=(view,))
    kind = np.int8 if offset else np.uint8
    x = np.random.default_rng(0).integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, (2, *shape)).astype(kind)
    held = from_onnx(x, buffer, view)
    assert held.shape == (2, 3, 4, 5)
    assert held.dtype == np.uint8
    as_rows = x.transpose(0, 2, 3, 1) if order == "CHW" else x
    np.testing.assert_array_equal(held.astype(int), as_rows.astype(int) + offset)
    back = to_onnx(held, view)
    assert back.dtype == kind
    np.testing.assert_array_equal(back, x)


def test_an_onnx_tensor_of_another_size_is_refused() -> None:
    with pytest.raises(RunError, match="buffer b holds 3x4x5 but is given a tensor of"):
        from_onnx(np.zeros((2, 3, 4, 4), np.uint8), ring("b", (3, 4, 5)), None)
