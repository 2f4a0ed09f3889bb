"""Programs that share out rows wrongly: what is refused, and where it says the fault is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pimc_isa.check import channels as channel_checks
from pimc_isa.check import check
from pimc_isa.check import code as code_checks
from pimc_isa.check import rows as row_checks
from pimc_isa.check.messages import is_sent, messages_by, rows_at
from pimc_isa.errors import AsmError, ProgramError
from pimc_isa.instructions import Recv, Send
from pimc_isa.operands import RowExpr, RowRange, Slab
from pimc_isa.text import assemble
from tests.unit.isa.cases import GOLDEN

Edit = tuple[str, str]
EVEN, ODD = "recv   x, f, until=i+2, rows=0::2", "recv   x, g, until=i+2, rows=1::2"

#: Program; what is written instead of what; the message.
ILLEGAL: tuple[tuple[str, tuple[Edit, ...], str], ...] = (
    ("evens", (("in[i], rows=0::2", "in[i], rows=0::0"),), "rows are 0 apart; a step is at least 1"),
    ("evens", (("in[i], rows=0::2", "in[i], rows=0::-2"),), "rows are -2 apart"),
    ("evens", (("in[i], rows=0::2", "in[i], rows=-2::2"),), "rows: -2::2 names no rows, or others"),
    ("evens", ((EVEN, EVEN.replace("0::2", "8::2")),), r"rows: 8::2 names no rows, or others than 0:8 of buffer 'x'"),
    ("evens", ((EVEN, EVEN.replace("0::2", "0:9:2")),), r"'recv x, f, until=i\+2, rows=0:9:2': rows: 0:9:2 names"),
    ("evens", ((EVEN, EVEN.replace("0::2", "4:4")),), r"rows: 4:4 names no rows"),
    ("evens", ((EVEN, EVEN.replace("0::2", "0::99999999999")),), r"has at most 31 bits"),
    (  # the sender keeps row 6 back
        "evens",
        (("send   f, y[2*i]", "send   f, y[2*i], rows=0:6"),),
        "channel 'f': tile 1 sends 3 messages in an image, tile 3 receives 4",
    ),
    (  # the reader forgets row 7
        "evens",
        ((ODD, ODD.replace("1::2", "1:7:2")),),
        r"instruction 3 'mvm acc\[i\], x, w, g': reads row 7 of 'x', but no earlier instruction has written",
    ),
    (  # nobody sends rows 6 and 7 of the pool's input
        "halves",
        (("rows=4:8", "rows=4:6"),),
        r"'pool.max y\[i\], x, w': reads row 6 of 'x', but no earlier",
    ),
    (  # rows 1, 3, 5 and 7 come from both tiles
        "evens",
        ((EVEN, EVEN.replace("0::2", "0:4")),),
        r"instruction 2 'recv x, g, until=i\+2, rows=1::2': brings row 1 of 'x', \(a part of\) which instruction 1 b",
    ),
    (  # row 4 comes again with the third of three recvs
        "halves",
        (("rows=4:8", "rows=4:8\n    recv   x, upper2, until=2*i+3, rows=4:5"),
         (".channel lower 2", ".channel upper2 1 -> 3 depth=1\n.channel lower 2"),
         ("send   upper, y[i]", "send   upper, y[i]\n    send   upper2, y[i], rows=2:3")),
        r"instruction 3 'recv x, upper2, until=2\*i\+3, rows=4:5': brings row 4 of 'x', .* which instruction 2 brings",
    ),
    (  # as many rows, but others: the tensor tells
        "halves",
        (("send   a, in[i], rows=0:5", "send   a, in[i], rows=1:6"),),
        r"channel 'a': message 0 of an image is row 1 of tensor 'x' at tile 0, instruction 2 "
        r"'send a, in\[i\], rows=1:6', but row 0 at tile 1, instruction 1 'recv x, a, until=i\+2, rows=0:5'",
    ),
    (  # the host merges what it gets of the halves the wrong way round
        "halves",
        (("recv   out, upper, until=8, rows=0:4", "recv   out, upper, until=8, rows=4:8"),
         ("recv   out, lower, until=8, rows=4:", "recv   out, lower, until=8, rows=0:4")),
        r"channel 'upper': message 0 of an image is row 0 of tensor 'conv' at tile 1.*but row 4 at tile 0",
    ),
    (  # without a range a reader means all rows, others beside them
        "evens",
        ((EVEN, EVEN.removesuffix(", rows=0::2")),),
        r"instruction 2 'recv x, g, until=i\+2, rows=1::2': brings row 1 of 'x'",
    ),
    (  # one channel, two ranges
        "evens",
        ((ODD, f"{ODD}\n    recv   x, f, until=i+2, rows=0:8:4"),),
        r"'recv x, f, until=i\+2, rows=0:8:4': the channel brings rows 0:8:4 here, but 0::2 at instruction 1",
    ),
    (  # three slots, and six rows at once: row 5 is written over row 2
        "evens",
        ((EVEN, EVEN.replace("i+2", "i+4")), (ODD, ODD.replace("i+2", "i+4"))),
        r"'mvm acc\[i\], x, w, g': reads row 0 of 'x', but its slot holds row 3 by then; the ring has 3 slots",
    ),
    (  # row 2 comes before row 1 ... and row 1 is written over row 4
        "evens",
        ((EVEN, EVEN.replace("i+2", "i+6")),),
        r"'mvm acc\[i\], x, w, g': reads row 0 of 'x', but its slot holds row 6 by then",
    ),
)  # fmt: skip


def edited(name: str, edits: tuple[Edit, ...]) -> str:
    text = (GOLDEN / "isa" / "rows" / f"{name}.pimasm").read_text(encoding="utf-8")
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(("name", "edits", "message"), ILLEGAL)
def test_wrong_shares_are_refused_with_their_place(name: str, edits: tuple[Edit, ...], message: str) -> None:
    check(assemble(edited(name, ())))
    with pytest.raises(ProgramError, match=message):
        check(assemble(edited(name, edits)))


#: Program and edit; what the program means stays legal.
LEGAL: tuple[tuple[str, tuple[Edit, ...]], ...] = (
    ("evens", (("until=2*i+1, rows=0::2", "until=2*i+1, rows=0:7:2"),)),
    ("evens", (("send   f, y[2*i]", "send   f, y[2*i], rows=0:7:2"),)),
    ("halves", (("send   a, in[i], rows=0:5", "send   a, in[i], rows=0:5:1"),)),
    (  # a reader of half the rows may count them from 0, as moves do: no tensor is named there
        "evens",
        (
            ("recv   x, e, until=2*i+1, rows=0::2", "recv   x, e, until=i+1"),
            ("lut    y[2*i], x[2*i]", "lut    y[2*i], x[i]"),
        ),
    ),
    ("evens", ((EVEN, f"{EVEN}\n    {EVEN}"),)),  # the second takes what the first has left: nothing
    ("halves", (("recv   x, lower, until=2*i+3, rows=4:8", "recv   x, lower, until=2*i+3, rows=4:"),)),
)


@pytest.mark.parametrize(("name", "edits"), LEGAL)
def test_other_ways_to_say_it_are_accepted(name: str, edits: tuple[Edit, ...]) -> None:
    check(assemble(edited(name, edits)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("recv   x, f, until=i+2, rows=i", r"expected rows=FIRST:STOP:STEP, like rows=1:28:2, or the end of the line"),
        ("recv   x, f, until=i+2, row=0::2", r"expected rows=FIRST:STOP:STEP"),
        ("recv   x, f, until=0:4", r"expected until=ROWS, like until=2\*i\+2"),
        ("recv   x, f, until=i+2, rows=:4", r"unexpected ':'"),
        ("recv   x, f, until=i+2, rows=0:4:", r"unexpected ':'"),
        ("recv   x, f, until=i+2, rows=0::2, 3", r"expected the end of the line"),
        ("send   f, x[i], 3", r"expected rows=FIRST:STOP:STEP"),
        ("lut    x[i], x[i], t, rows=0::2", r"expected the end of the line"),
    ],
)
def test_ranges_that_cannot_be_read(line: str, message: str) -> None:
    with pytest.raises(AsmError, match=message):
        assemble(edited("evens", ((EVEN, line),)))


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize("first", range(6))
@pytest.mark.parametrize("stop", [None, 4, 6])
def test_what_moves_is_counted_row_by_row(first: int, stop: int | None, step: int) -> None:
    """Of six rows, counted one by one: those that a send sends, and how many of them lie below each row."""
    tile = assemble(edited("evens", ())).tile[1]
    tile = dataclasses.replace(tile, buffers=(dataclasses.replace(tile.buffer["x"], rows=6),))
    rows, i = RowRange(first, stop, step), np.arange(6)
    named = [row for row in range(first, 6 if stop is None else stop) if (row - first) % step == 0]
    send, recv = Send("f", Slab("x", RowExpr(1)), rows), Recv(Slab("x", RowExpr()), "e", RowExpr(1), rows)
    assert is_sent(tile, send, i).tolist() == [row in named for row in range(6)]
    assert messages_by(tile, recv, i).tolist() == [sum(row < until for row in named) for until in range(6)]


# ---- without a check, what it checks would pass ----


def no_legality(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(code_checks._Checker, "rows", lambda self, name, rows, slab: iter(()))


def no_merging(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(row_checks, "_brought_twice", lambda buffer, accesses: iter(()))


def no_tensors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(channel_checks, "_other_rows", lambda *args: iter(()))


def no_single_range(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(channel_checks, "_two_ranges", lambda *args: iter(()))
    no_merging(patch)


def all_rows_are_brought(patch: pytest.MonkeyPatch) -> None:
    def messages_by(tile: Any, instr: Any, i: np.ndarray) -> Any:
        return np.clip(rows_at(instr.until, i), 0, tile.buffer[instr.dst.buffer].rows)

    patch.setattr(row_checks, "messages_by", messages_by)


@pytest.mark.parametrize(
    ("fault", "case"), [(no_legality, 4), (no_merging, 10), (no_tensors, 12), (no_single_range, 15)]
)
def test_each_check_is_the_only_one_that_refuses_its_case(
    fault: Callable[[pytest.MonkeyPatch], None], case: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, edits, message = ILLEGAL[case]
    fault(monkeypatch)
    refused = ""
    try:
        check(assemble(edited(name, edits)))
    except ProgramError as error:
        refused = str(error)
    assert not refused or message.split("'")[0] not in refused


def test_a_row_check_that_does_not_know_ranges_refuses_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    all_rows_are_brought(monkeypatch)
    with pytest.raises(ProgramError):
        check(assemble(edited("evens", ())))
