"""Checks of rounds: what disturbs, forgets or oversteps is refused by name; what stays just inside is right."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pimc_backends import isaac
from pimc_isa.check import check
from pimc_isa.check.rounds import declared_rounds, rounds_tensors
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import Mvm
from pimc_isa.limits import LIMITS
from pimc_isa.operands import Rounds, Slab
from pimc_isa.program import Program
from tests.unit.isa.engines.nets import I
from tests.unit.isa.engines.rounds_nets import Table, cells_for, conv_program, span, tables

Array = np.ndarray

#: 20 rows in blocks of 8, 6 outputs of which 4 lie side by side.
EPITOME = np.random.default_rng(3).integers(-128, 128, (20, 6)).astype(np.int8)
TWO = (Table(0, 0, span(0, 0, 8), span(0, 0, 4)), Table(1, 1, span(4, 8, 16), span(1, 0, 4)))


def net(patches: Sequence[Table], copies: Sequence[int], count: int = 0, inputs: int = 36, first: int = 0) -> Program:
    """A 3x3 convolution in rounds; ``copies`` has an entry for each channel."""
    flow, machine = isaac.flow(), isaac.machine()
    weights, encoded = cells_for(flow, EPITOME, 8)
    machine = replace(machine, array=replace(machine.array, columns=4 * weights.columns))
    rounds = Rounds("r", inputs, (first, first + len(copies)), count or 1 + max(p.number for p in patches))
    return conv_program(machine, flow, (weights, encoded), rounds, tables(patches, weights, copies))


def judged(legal: bool, message: str = "") -> AbstractContextManager[Any]:
    return nullcontext() if legal else pytest.raises(ProgramError, match=message)


def test_a_schedule_of_two_rounds_is_right() -> None:
    check(net(TWO, [-1] * 4))


def test_the_error_says_where() -> None:
    p = net((TWO[0], replace(TWO[1], number=0, adds=0)), [-1] * 4)
    with pytest.raises(ProgramError) as caught:
        check(p)
    assert str(caught.value) == (
        "tile 1 (t1): group 'g', rounds 'r': round 0: row 4 needs input 4 (patch 0) and input 8 (patch 1)"
    )


# ---- patches of one round ----


@pytest.mark.parametrize(
    ("second", "wrong"),
    [
        # the same row, input and crossbar
        (Table(0, 0, {0: 0}, {1: 1}), ""),
        (Table(0, 0, {0: 1}, {1: 1}), r"round 0: row 0 needs input 0 \(patch 0\) and input 1 \(patch 1\)"),
        # another input on another crossbar, beside or below
        (Table(0, 0, {0: 1}, {4: 1}), ""),
        (Table(0, 0, {0: 1}, {3: 1}), "round 0: row 0 needs input 0"),
        (Table(0, 0, {8: 1}, {1: 1}), ""),
        # another row
        (
            Table(0, 0, {7: 1}, {1: 1}),
            "row 7 of patch 1 pollutes output 0, which patch 0 reads: put them into",
        ),
        (Table(0, 0, {8: 1}, {0: 1}), ""),
        (Table(0, 0, {7: 1}, {4: 1}), ""),
        # another row of the same output
        (Table(0, 0, {7: 1}, {0: 0}), ""),
        (Table(0, 0, {7: 1}, {0: 1}), r"output 0 goes to channel 0 \(patch 0\) and to channel 1 \(patch 1\)"),
        (Table(0, 0, {7: 1}, {0: 0, 1: 1}), "row 0 of patch 0 pollutes output 1, which patch 1 reads"),
        (Table(0, 0, {0: 0, 7: 1}, {0: 0, 1: 1}), ""),
        # the same channel from elsewhere
        (Table(0, 0, {9: 0}, {5: 0}), ""),
        (Table(0, 0, {0: 0}, {1: 0}), ""),
    ],
)
def test_patches_of_one_round(second: Table, wrong: str) -> None:
    patches = (Table(0, 0, {0: 0}, {0: 0}), second)
    copies = [-1, 0 if set(second.columns.values()) == {0} else -1]
    with judged(not wrong, wrong):
        check(net(patches, copies))


@pytest.mark.parametrize(("number", "adds", "wrong"), [(0, 0, "row 7 of patch 1 pollutes output 0"), (1, 1, "")])
def test_what_disturbs_in_one_round_is_right_in_two(number: int, adds: int, wrong: str) -> None:
    patches = (Table(0, 0, {0: 0}, {0: 0, 1: 1}), Table(number, adds, {7: 1}, {1: 1}))
    with judged(not wrong, wrong):
        check(net(patches, [-1, -1]))


# ---- channels ----


@pytest.mark.parametrize(
    ("modes", "wrong"),
    [
        ((0, 1, 1), ""),
        ((1, 1, 1), "patch 0 of round 0 adds to channel 0, which no earlier round makes: let it overwrite"),
        ((0, 0, 1), "patch 1 of round 1 overwrites channel 0, which round 0 has made: let it add"),
        ((0, 1, 0), "patch 2 of round 2 overwrites channel 0, which round 1 has made: let it add"),
    ],
)
def test_the_first_round_overwrites_a_channel_and_others_add(modes: tuple[int, int, int], wrong: str) -> None:
    patches = [Table(n, mode, {n: n}, {n: 0}) for n, mode in enumerate(modes)]
    with judged(not wrong, wrong):
        check(net(patches, [-1]))


@pytest.mark.parametrize(
    ("modes", "wrong"), [((1, 1), ""), ((1, 0), r"round 1 overwrites channel 0 and adds to it \(")]
)
def test_patches_of_one_round_agree_on_a_channel(modes: tuple[int, int], wrong: str) -> None:
    later = [Table(1, mode, {8 * n: n}, {0: 0}) for n, mode in enumerate(modes)]
    with judged(not wrong, wrong):
        check(net([Table(0, 0, {16: 0}, {0: 0}), *later], [-1]))


@pytest.mark.parametrize(
    ("copies", "wrong"),
    [
        ([-1, 0, 0], ""),
        ([-1, 0, -1], "channel 2 is never written"),
        ([-1, 2, 0], "channel 1 is a copy of channel 2, which is itself a copy"),
        ([-1, 1, 0], "channel 1 is a copy of channel 1, which is itself a copy"),
        ([1, 0, 0], "channel 0 is a copy of channel 1, and round 0 makes it"),
        ([-1, 3, 0], "channel 1 is a copy of channel 3, which is not within 0:3"),
        ([-1, -2, 0], "channel 1 is a copy of channel -2, which is not within 0:3"),
    ],
)
def test_every_channel_is_made_or_copied(copies: list[int], wrong: str) -> None:
    with judged(not wrong, wrong):
        check(net([Table(0, 0, {0: 0}, {0: 0})], copies))


def test_a_copy_of_channel_0_may_not_be_a_copy() -> None:
    """Channel 1 is made, 0 is a copy of it, and 2 one of 0."""
    with judged(False, "channel 2 is a copy of channel 0, which is itself a copy"):
        check(net([Table(0, 0, {0: 0}, {0: 1})], [1, -1, 0]))


# ---- numbers ----


@pytest.mark.parametrize(
    ("patch", "wrong"),
    [
        (Table(0, 0, {19: 35}, {5: 0}), ""),
        (Table(0, 0, {19: 36}, {5: 0}), "input 36 of patch 0 is not within 0:36"),
        (Table(0, 0, {19: -2}, {5: 0}), "input -2 of patch 0 is not within 0:36"),
        (Table(0, 0, {19: 35}, {5: 1}), "channel 1 of patch 0 is not within 0:1"),
        (Table(0, 2, {19: 35}, {5: 0}), "mode 2 of patch 0 is not within 0:2"),
        (Table(0, -1, {19: 35}, {5: 0}), "mode -1 of patch 0 is not within 0:2"),
        (Table(1, 0, {19: 35}, {5: 0}), "round 1 of patch 0 is not within 0:1"),
        (Table(-1, 0, {19: 35}, {5: 0}), "round -1 of patch 0 is not within 0:1"),
        (Table(0, 0, {}, {5: 0}), "patch 0 drives no row"),
        (Table(0, 0, {19: 35}, {}), "patch 0 reads no output"),
    ],
)
def test_numbers_of_a_patch(patch: Table, wrong: str) -> None:
    with judged(not wrong, wrong):
        check(net([patch], [-1], count=1))


def test_every_round_has_a_patch() -> None:
    with pytest.raises(ProgramError, match="round 1 has no patch"):
        check(net([Table(0, 0, {0: 0}, {0: 0})], [-1], count=2))


@pytest.mark.parametrize(
    ("held", "wrong"),
    [
        ({"k": (0, 8)}, "patch 1 drives row 15, the group holds 0:8"),
        ({"k": (0, 16)}, ""),
        ({"n": (0, 5)}, ""),
        ({"n": (0, 4)}, "patch 1 reads output 4, the group holds 0:4"),
        ({"n": (1, 6)}, "patch 0 reads output 0, the group holds 1:6"),
    ],
)
def test_patches_stay_within_the_group(held: dict[str, Any], wrong: str) -> None:
    p = net([Table(0, 0, {0: 0}, {0: 0}), Table(0, 0, {15: 0}, {4: 0})], [-1])
    body = replace(p.tiles[1], groups=(replace(p.tiles[1].groups[0], **held),))
    with judged(not wrong, wrong):
        check(replace(p, tiles=(p.tiles[0], body, *p.tiles[2:])))


# ---- declarations and tables ----


def changed(p: Program, **fields: Any) -> Program:
    return replace(p, rounds=(replace(p.rounds[0], **fields),))


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"count": 0}, "rounds 'r': count=0 inputs=36 outputs=0:4; give at least one of each"),
        ({"inputs": 0}, "count=2 inputs=0"),
        ({"outputs": (4, 4)}, "outputs=4:4"),
        ({"outputs": (-1, 3)}, "outputs=-1:3"),
        ({"name": "s"}, "group 'g' works in rounds 'r', which the program does not have"),
        ({"inputs": 35}, "window 'w' sees 36 inputs of 'x', rounds 'r' take 35"),
        ({"outputs": (0, 3)}, "group 'g' makes channels 0:3 in rounds 'r', the destination is 0:4"),
        ({"count": 1}, "round 1 of patch 1 is not within 0:1"),
        ({"count": 3}, "round 2 has no patch"),
    ],
)
def test_declarations_fit_what_uses_them(fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ProgramError, match=wrong):
        check(changed(net(TWO, [-1] * 4), **fields))


def test_a_name_is_declared_once() -> None:
    p = net(TWO, [-1] * 4)
    with pytest.raises(ProgramError, match="rounds 'r' is declared twice"):
        check(replace(p, rounds=(*p.rounds, p.rounds[0])))


@pytest.mark.parametrize("part", ["patches", "rows", "columns", "copies"])
def test_tables_are_there_in_shape_and_type(part: str) -> None:
    p = net(TWO, [-1] * 4)
    table = p.tensors[f"r.{part}"]
    with pytest.raises(ProgramError, match=f"tensor 'r.{part}' is int64 .*, expected int32"):
        check(replace(p, tensors={**p.tensors, f"r.{part}": table.astype(np.int64)}))
    with pytest.raises(ProgramError, match=f"tensor 'r.{'rows' if part == 'patches' else part}' is int32"):
        check(replace(p, tensors={**p.tensors, f"r.{part}": table[:-1]}))
    missing = {name: tensor for name, tensor in p.tensors.items() if name != f"r.{part}"}
    with pytest.raises(ProgramError, match=f"the program has no tensor 'r.{part}'"):
        check(replace(p, tensors=missing))


def test_the_window_needs_all_channels() -> None:
    p = net(TWO, [-1] * 4)
    body = p.tiles[1]
    part = replace(body.buffers[0], chans=(0, 3))
    with pytest.raises(ProgramError, match="buffer 'x' holds channels 0:3, the rounds need all 4"):
        check(replace(p, tiles=(p.tiles[0], replace(body, buffers=(part, *body.buffers[1:])), *p.tiles[2:])))


def test_the_destination_is_what_the_rounds_make() -> None:
    p = net(TWO, [-1] * 4)
    code = tuple(replace(i, dst=Slab("acc", I, None, (0, 3))) if isinstance(i, Mvm) else i for i in p.tiles[1].code)
    with pytest.raises(ProgramError, match="makes channels 0:4 in rounds 'r', the destination is 0:3"):
        check(replace(p, tiles=(p.tiles[0], replace(p.tiles[1], code=code), *p.tiles[2:])))


def test_rounds_need_one_convolution_group() -> None:
    p = net(TWO, [-1] * 4)
    with pytest.raises(ProgramError, match="rounds need weights of one convolution group: give the groups"):
        check(replace(p, weights=(replace(p.weights[0], groups=2),)))


# ---- limits ----


@pytest.mark.parametrize(("field", "limit"), [("count", "rounds"), ("inputs", "channels"), ("outputs", "channels")])
@pytest.mark.parametrize("extra", [0, 1])
def test_sizes_of_rounds(field: str, limit: str, extra: int) -> None:
    most = LIMITS[limit].most + extra
    p = changed(net(TWO, [-1] * 4), **{field: (0, most) if field == "outputs" else most})
    assert len(list(declared_rounds(p))) == extra


@pytest.mark.parametrize("extra", [0, 1])
def test_patches_at_their_limit(extra: int) -> None:
    """20 rows on two crossbars side by side."""
    p = net(TWO, [-1] * 4)
    many = np.broadcast_to(np.zeros((1, 2), np.int32), (LIMITS["patches"].most // 40 + extra, 2))
    found = next(rounds_tensors(replace(p, tensors={**p.tensors, "r.patches": many}), p.tiles[1].groups[0]))
    assert ("patches x rows x crossbars side by side is" in found) == bool(extra)
