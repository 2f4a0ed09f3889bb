"""Rows shared out by hand: evens and odds that a third tile merges, halves with a halo; all engines and numpy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pimc_isa.binary.container import from_bytes, to_bytes
from pimc_isa.check import check
from pimc_isa.energy import program_actions
from pimc_isa.engines import step
from pimc_isa.engines.cycles import record, simulate
from pimc_isa.engines.values import Executor
from pimc_isa.errors import DeadlockError
from pimc_isa.instructions import End, Halt, Loop, Lut, Recv, Send
from pimc_isa.operands import ALL_ROWS, Channel, RowExpr, RowRange, Slab
from pimc_isa.program import Program
from pimc_isa.text import disassemble, read_assembly
from tests.unit.isa.cases import GOLDEN
from tests.unit.isa.engines.tiny import both, buffer, machine, program, same, slab, spans, tile

Array = np.ndarray
ROWS = GOLDEN / "isa" / "rows"
NAMES = ("evens", "halves")


def golden(name: str) -> Program:
    found = read_assembly(ROWS / f"{name}.pimasm")
    check(found)
    return found


def images(count: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(3).integers(0, 256, (count, 2, 8, 5), np.uint8)}


def conv(x: Array, p: Program) -> Array:
    """The convolution of both programs: 3x3, padding 7, then multiplier 2**-7, bias 100, zero point 9."""
    codes, flipped, centre = (
        np.asarray(p.tensors[f"w.{part}"])[0].astype(int) for part in ("codes", "polarity", "centre")
    )
    signs = [np.where(flipped[0] >> s & 1, -1, 1) for s in range(4)]
    w = centre[0] + sum(signs[s] * ((codes >> 2 * s & 3) << 2 * s) for s in range(4))
    padded = np.pad(x.astype(int), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=7)
    taps = np.stack([padded[:, :, ky : ky + 8, kx : kx + 5] for ky in range(3) for kx in range(3)], axis=1)
    sums = np.einsum("ntchw,tco->nohw", taps, w.reshape(9, 2, 2))
    return np.asarray(np.clip(np.rint((sums + 100) / 128) + 9, 0, 255), np.uint8)


def pooled(x: Array) -> Array:
    """3x3 maxima at every second row."""
    padded = np.pad(x, ((0, 0), (0, 0), (0, 1), (1, 1)))
    taps = [padded[:, :, ky : ky + 8 : 2, kx : kx + 5] for ky in range(3) for kx in range(3)]
    return np.asarray(np.max(taps, axis=0))


def expected(name: str, x: Array, p: Program) -> dict[str, Array]:
    if name == "evens":
        return {"y": conv(np.maximum(x, 60), p)}
    return {"y": conv(x, p), "p": pooled(conv(x, p))}


@pytest.mark.parametrize("name", NAMES)
def test_text_words_and_files_give_back_the_programs(name: str) -> None:
    p, path = golden(name), Path(ROWS / f"{name}.pimasm")
    assert disassemble(p) == path.read_text(encoding="utf-8")
    again = from_bytes(to_bytes(p))
    assert again.tiles == p.tiles
    assert to_bytes(again) == to_bytes(p)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rowwise", [False, True])
def test_values_are_those_of_the_undivided_layer(name: str, rowwise: bool) -> None:
    p, x = golden(name), images(3)
    found = Executor(p, rowwise=rowwise).run(x, keep=True)
    for port, value in expected(name, x["x"], p).items():
        np.testing.assert_array_equal(found.outputs[port], value)
    shared = "relu" if name == "evens" else "conv"
    whole = np.maximum(x["x"], 60) if name == "evens" else found.outputs["y"]
    np.testing.assert_array_equal(found.tensors[shared], whole)
    assert shared not in found.partial


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_step_and_cycles_agree_and_step_computes_the_same(name: str, count: int) -> None:
    p, x = golden(name), images(count)
    slow = step.run(p, x, count)
    same(simulate(p, count), slow.timing)
    for port, value in expected(name, x["x"], p).items():
        np.testing.assert_array_equal(slow.outputs[port], value)
    if name == "evens":
        relu = np.maximum(x["x"], 60).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(slow.buffers[3, "x"], relu)
        for number in (1, 2):
            np.testing.assert_array_equal(slow.buffers[number, "y"][:, number - 1 :: 2], relu[:, number - 1 :: 2])
            assert not slow.buffers[number, "y"][:, 2 - number :: 2].any()


@pytest.mark.parametrize(("name", "operations"), [("evens", 5), ("halves", 6)])
def test_shares_of_a_layer_are_computed_at_once_and_merged_without_a_copy(name: str, operations: int) -> None:
    """Head, table, sums, quantised, tail; and for the halves a pool and its output instead of the table."""
    executor = Executor(golden(name))
    assert not executor.lifted.rowwise
    assert len(executor.shared.operations) == operations
    assert not [item.label for item in executor.plan().items if item.label == "assemble"]


def test_a_scratch_row_is_merged_too() -> None:
    """Tile 1 makes all its rows in row 0, so that it runs row by row; the others are lifted and read its messages."""
    p = golden("evens")
    y = dataclasses.replace(p.tile[1].buffer["y"], views=())
    row0 = Slab("y", RowExpr())
    code = (
        dataclasses.replace(i, dst=row0)
        if isinstance(i, Lut)
        else dataclasses.replace(i, src=row0)
        if isinstance(i, Send)
        else i
        for i in p.tile[1].code
    )
    first = dataclasses.replace(p.tile[1], buffers=(p.tile[1].buffer["x"], y), code=tuple(code))
    p, x = dataclasses.replace(p, tiles=(p.tiles[0], first, *p.tiles[2:])), images(2)
    check(p)
    executor, slow = Executor(p), step.run(p, x, 2)
    assert executor.lifted.rowwise == {1}
    for found in (executor.run(x).outputs, slow.outputs):
        np.testing.assert_array_equal(found["y"], expected("evens", x["x"], p)["y"])
    same(simulate(p, 2), slow.timing)


def net_actions(name: str) -> dict[str, dict[str, float]]:
    """What each tile's recvs and sends do in an image."""
    p = golden(name)
    tiles = []
    for t in p.tiles:
        nodes = tuple(str(t.number) if isinstance(i, Recv | Send) else "other" for i in t.code)
        tiles.append(dataclasses.replace(t, nodes=nodes))
    found = program_actions(dataclasses.replace(p, tiles=tuple(tiles)))
    return {tile: dict(actions) for tile, actions in found.items() if tile != "other"}


def rows_of_ten_bytes(moved: int, links: int, chip_links: int) -> dict[str, float]:
    counts = {"memory_byte": moved, "bus_byte": moved, "link_byte": links, "chip_link_byte": chip_links}
    return {action: 10.0 * rows for action, rows in counts.items() if rows}


def test_energy_counts_the_rows_that_move() -> None:
    """By hand, in rows. Tile 1 is at the host's corner, tile 2 right of it, tile 3 below tile 2.

    Evens: each tile takes 4 rows and sends 4; the third takes and sends 8, two links and the host's away.
    Halves: 5 rows come to each (a halo of one), 4 go to the third tile and to the host, which both take all 8.
    """
    assert net_actions("evens") == {
        "0": rows_of_ten_bytes(0, 4, 8),
        "1": rows_of_ten_bytes(4 + 4, 4 * 2, 0),
        "2": rows_of_ten_bytes(4 + 4, 4 * 1, 0),
        "3": rows_of_ten_bytes(8 + 8, 8 * 2, 8),
    }
    assert net_actions("halves") == {
        "0": rows_of_ten_bytes(0, 5, 5 + 5),
        "1": rows_of_ten_bytes(5 + 4, 4 * 2, 4),
        "2": rows_of_ten_bytes(5 + 4, 4 * (1 + 1), 4),
        "3": rows_of_ten_bytes(8 + 4, 4 * 2, 4),
    }


# ---- timing on paper ----


def test_a_send_of_no_row_takes_net_out_for_a_cycle_and_waits_for_nothing() -> None:
    """Rows of 8 bytes take 2 cycles on bus and link. Row 1 is sent; of rows 0, 2 and 3 nothing is, not even read."""
    y = buffer("y", 4, 4)
    sends = (Loop(4), Send("c", slab("y"), RowRange(1, 2)), End(), Halt())
    takes = Recv(slab("y", RowExpr()), "c", RowExpr(0, 4), RowRange(1, 2)), Halt()
    p = program(
        machine(), (tile(1, (0, 0, 0), (y,), *sends), tile(2, (0, 1, 0), (y,), *takes)), Channel("c", 1, (2,), 1)
    )
    timing = both(p)
    assert spans(timing, 1) == [(2, 3), (4, 6), (6, 7), (8, 9)]
    assert spans(timing, 2) == [(4 + 2 + 2, 10)]
    assert timing.unit_busy[1, "net-out"] == 5
    assert sum(timing.link_busy.values()) == 2


def test_recvs_of_two_channels_take_turns_and_take_nothing_when_their_rows_are_there() -> None:
    """``until`` counts rows of the tensor: at until=1 and 2 the odd rows have 0 and 1 messages to take."""
    y = buffer("y", 2, 2)
    tiles = (
        tile(1, (0, 0, 0), (y,), Send("even", slab("y", RowExpr(0, 0))), Halt()),
        tile(2, (0, 2, 0), (y,), Send("odd", slab("y", RowExpr(0, 1))), Halt()),
        tile(
            3, (0, 1, 0), (y,), Loop(2),
            Recv(slab("y", RowExpr()), "even", RowExpr(1, 1), RowRange(0, None, 2)),
            Recv(slab("y", RowExpr()), "odd", RowExpr(1, 1), RowRange(1, None, 2)), End(), Halt(),
        ),
    )  # fmt: skip
    timing = both(program(machine(), tiles, Channel("even", 1, (3,), 1), Channel("odd", 2, (3,), 1)))
    assert spans(timing, 1) == spans(timing, 2) == [(1, 3)]
    assert spans(timing, 3) == [(5, 7), (7, 8), (8, 9), (9, 11)]


def test_the_record_has_no_message_where_none_was_sent() -> None:
    p = golden("evens")
    found = record(p, 2)
    sends = [s for s in found.slices if s.tile == 0 and isinstance(p.tile[0].code[s.index], Send)]
    assert [s.message for s in sends if s.index == 2][:4] == [0, -1, 1, -1]
    assert [s.message for s in sends if s.index == 3][:4] == [-1, 0, -1, 1]
    assert all(s.end - s.start == 1 for s in sends if s.message < 0)
    busy = {link: sum(b - a for a, b in taken) for link, taken in found.links.items()}
    assert busy == dict(simulate(p, 2).link_busy)


def test_a_deadlock_names_the_rows() -> None:
    """Odd rows are awaited first, and their sender stands behind a full channel of even ones."""
    y = buffer("y", 4, 4)
    deals = (Send("even", slab("y"), RowRange(0, None, 2)), Send("odd", slab("y"), RowRange(1, None, 2)))
    takes = (
        Recv(slab("y", RowExpr()), "odd", RowExpr(0, 4), RowRange(1, None, 2)),
        Recv(slab("y", RowExpr()), "even", RowExpr(0, 4), RowRange(0, None, 2)),
    )
    tiles = (tile(1, (0, 0, 0), (y,), Loop(4), *deals, End(), Halt()), tile(2, (0, 1, 0), (y,), *takes, Halt()))
    p = program(machine(), tiles, Channel("even", 1, (2,), 1), Channel("odd", 1, (2,), 1))
    with pytest.raises(DeadlockError, match=r"`recv y, odd, until=4, rows=1::2` waits for a message on channel odd"):
        simulate(p, 1)
    with pytest.raises(DeadlockError):
        step.run(p, {}, 1, values=False)


# ---- what a range means ----


@pytest.mark.parametrize("rows", [ALL_ROWS, RowRange(0, 8, 1), RowRange(0, 8)])
def test_all_rows_however_they_are_written_are_all_rows(rows: RowRange) -> None:
    """The row-by-row engine, the lifted one and both timings are those of a program without ranges."""
    p = golden("evens")
    merged = p.tile[0].code
    changed = tuple(dataclasses.replace(i, rows=rows) if isinstance(i, Recv) else i for i in merged)
    other = dataclasses.replace(p, tiles=(dataclasses.replace(p.tiles[0], code=changed), *p.tiles[1:]))
    check(other)
    same(simulate(other, 2), simulate(p, 2))
    np.testing.assert_array_equal(Executor(other).run(images(2)).outputs["y"], Executor(p).run(images(2)).outputs["y"])


def test_files_without_ranges_have_none() -> None:
    assert b"ranges" not in to_bytes(read_assembly(GOLDEN / "isa" / "every.pimasm"))
    assert b"pimc.ranges" in to_bytes(golden("evens"))
