"""Signed inputs in two passes: what flows compute, against plain integers, what is proved, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc_isa.binary.container import from_bytes, to_bytes
from pimc_isa.check import check
from pimc_isa.crossbar.cells import Cells, decode, encode_differential
from pimc_isa.crossbar.exactness import conversions_exact, guarded_flags, sliced_dot
from pimc_isa.crossbar.inputs import driven, largest, parts_of
from pimc_isa.errors import FlowError, ProgramError
from pimc_isa.flow import Flow, check_flow, normal_form, parse_flow, print_flow
from pimc_isa.flow.use import Tally, Use
from pimc_isa.operands import Weights
from pimc_isa.program import Program
from pimc_isa.text import assemble, disassemble
from tests.properties.programs import random_program
from tests.unit.isa.flow.test_guards import machine

Array = np.ndarray

#: Four bits of each part in slices of two; a guarded one is refined bit by bit.
TWO = """
.flow two input_bits=4 slices=1,2 step_cycles=1 interval=10 latency=12
  @0 load
  @1 drive 2:4 positive
  @1 read pairs
  @1 count-inputs 2:4 positive
  @2 convert signed 4 guarded
  @2 drive 3:4 positive
  @2 read pairs
  @3 accumulate <<2
  @3 convert signed 4 flagged
  @3 drive 2:3 positive
  @3 read pairs
  @4 accumulate <<3
  @4 convert signed 4 flagged
  @4 drive 0:2 positive
  @4 read pairs
  @4 count-inputs 0:2 positive
  @5 accumulate <<2
  @5 convert signed 4
  @5 drive 2:4 negative
  @5 read pairs
  @5 count-inputs 2:4 negative
  @6 accumulate <<0
  @6 convert signed 4
  @6 drive 0:2 negative
  @6 read pairs
  @6 count-inputs 0:2 negative
  @7 accumulate <<2
  @7 convert signed 4
  @8 accumulate <<0
  @9 correct
  @10 merge
  @11 store
"""

#: Each part folded, converted, and accumulated.
FOLDED = """
.flow folded input_bits=4 slices=1,2 step_cycles=1 interval=12 latency=12
  @0 load
  @1 drive 0:2 positive
  @1 read pairs
  @2 fold >>2
  @2 drive 2:4 positive
  @2 read pairs
  @3 fold >>2
  @4 convert signed 5
  @5 accumulate <<0
  @5 drive 0:2 negative
  @5 read pairs
  @6 fold >>2
  @6 drive 2:4 negative
  @6 read pairs
  @7 fold >>2
  @8 convert signed 5
  @9 accumulate <<0
  @10 merge
  @11 store
"""


def flow(text: str = TWO) -> Flow:
    return parse_flow(text)


def layer(seed: int, centred: bool = True, k: int = 12, n: int = 5, rows: int = 5) -> tuple[Cells, Weights]:
    values = np.random.default_rng(seed).integers(-7, 8, (1, k, n))
    return encode_differential(values, (1, 2), rows, centred=centred), Weights("w", 1, k, n, rows, (1, 2), True)


def plainly(x: Array, cells: Cells, zero: int) -> tuple[Array, int]:
    """What TWO computes of integers [m, k], one conversion after the other, and how many were flagged."""
    total, flags = np.zeros((len(x), cells.codes.shape[2]), np.int64), 0
    for block, first in enumerate(range(0, x.shape[1], 5)):
        far, w = x[:, first : first + 5] - zero, cells.codes[0, first : first + 5].astype(np.int64)
        total += far.sum(axis=1)[:, None] * cells.centre[0, block].astype(np.int64)
        for sign, (shift, width), lo in product((1, -1), ((0, 1), (1, 2)), (0, 2)):
            part, column = np.maximum(sign * far, 0), np.sign(w) * (np.abs(w) >> shift & (1 << width) - 1)
            code = np.clip((part >> lo & 3) @ column, -8, 7)
            made = code << lo
            if sign == 1 and lo == 2:
                flagged = (code == -8) | (code == 7)
                bits = [np.clip((part >> bit & 1) @ column, -8, 7) << bit for bit in (2, 3)]
                made, flags = np.where(flagged, sum(bits), made), flags + int(flagged.sum())
            total += sign * made << shift
    return total, flags


def inputs(seed: int, cells: Cells, bits: int = 4) -> Array:
    x = np.random.default_rng(seed).integers(0, 1 << bits, (9, cells.codes.shape[1]))
    x[0], x[1] = 0, (1 << bits) - 1
    return x


# ---- what is computed ----


def test_text_and_back() -> None:
    for text in (TWO, FOLDED):
        assert print_flow(flow(text)) == text.lstrip()
        assert parse_flow(print_flow(flow(text))) == flow(text)
        assert flow(text).signed
    assert not flow(TWO.replace(" positive", "").replace(" negative", "")).signed


def test_the_form_says_which_part_each_slice_is_of() -> None:
    form = check_flow(flow(), machine())
    assert form.input_slices == ((2, 4), (0, 2), (2, 4), (0, 2), (3, 4), (2, 3))
    assert form.input_parts == ("positive",) * 2 + ("negative",) * 2 + ("positive",) * 2
    assert [form.sign(i) for i in range(6)] == [1, 1, -1, -1, 1, 1]
    assert len(form.blocks) == 8
    assert form.unit_conversions == (None,) * 4
    assert form.shape.parts == {"refinement", "unit_conversions", "input_parts"}
    assert form.at(3).shape.parts == {"refinement", "unit_conversions", "input_parts", "zero"}
    folded = check_flow(flow(FOLDED), machine())
    assert [len(block.pairs) for block in folded.blocks] == [4, 4]


@pytest.mark.parametrize("zero", [0, 3, 8, 15])
@pytest.mark.parametrize("seed", range(3))
def test_the_reference_is_the_plain_model(seed: int, zero: int) -> None:
    cells, weights = layer(seed)
    x, form = inputs(seed, cells), normal_form(flow()).at(zero)
    expected, flags = plainly(x, cells, zero)
    np.testing.assert_array_equal(sliced_dot(x[:, None], cells, weights, form)[:, 0], expected)
    assert guarded_flags(x[:, None], cells, weights, form).sum() == flags
    assert flags > 0 or zero >= 8


def test_folded_passes_are_clipped_and_subtracted() -> None:
    cells, weights = layer(0, centred=False)
    x, w = inputs(0, cells), decode(*layer(0, centred=False))[0].astype(np.int64)
    expected = np.zeros((len(x), weights.n), np.int64)
    for first in range(0, 12, 5):
        far, rows = x[:, first : first + 5] - 6, w[first : first + 5]
        expected += np.clip(np.maximum(far, 0) @ rows, -16, 15) - np.clip(np.maximum(-far, 0) @ rows, -16, 15)
    found = sliced_dot(x[:, None], cells, weights, normal_form(flow(FOLDED)).at(6))[:, 0]
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 15), st.integers(0, 2**31))
def test_parts_are_the_input_less_its_zero_point(zero: int, seed: int) -> None:
    x, form = np.random.default_rng(seed).integers(0, 16, 20).astype(np.uint8), normal_form(flow()).at(zero)
    positive, negative = (part.astype(int) for part in parts_of(x, form))
    assert (positive - negative == x.astype(int) - zero).all()
    assert not (positive * negative).any()
    assert all((part <= largest(form, i)).all() for i, part in enumerate(driven(x, form)))
    whole = driven(np.arange(16, dtype=np.uint8), form)
    assert [int(part.max()) for part in whole] == [largest(form, i) for i in range(len(whole))]


# ---- what is proved ----


def wide(text: str = TWO) -> Flow:
    return flow(text.replace("signed 4", "signed 8").replace("signed 5", "signed 8"))


@pytest.mark.parametrize("text", [TWO, FOLDED])
def test_wide_conversions_are_the_integer_product(text: str) -> None:
    for seed, zero in product(range(3), (0, 5, 15)):
        cells, weights = layer(seed, centred="correct" in text)
        x, form = inputs(seed, cells), normal_form(wide(text)).at(zero)
        w = decode(cells, weights)[0].astype(np.int64)
        assert conversions_exact(cells, weights, form).holds == (text == TWO)  # folds reach 15 x 7 x 5
        wider = normal_form(flow(text.replace("signed 5", "signed 12").replace("signed 4", "signed 12"))).at(zero)
        assert conversions_exact(cells, weights, wider).holds
        np.testing.assert_array_equal(sliced_dot(x[:, None], cells, weights, wider)[:, 0], (x - zero) @ w)


def test_each_part_is_proved_for_its_own_range() -> None:
    """What can be above, or below, the zero point is all that a conversion can see."""
    cells, weights = layer(0)
    full = Cells(np.full_like(cells.codes, 7), cells.polarity, cells.centre)
    form = normal_form(flow())
    proved = {zero: conversions_exact(full, weights, form.at(zero)).proved for zero in range(16)}
    assert conversions_exact(full, weights, form.at(0)).total == 8 * 3 * 5 + 4 * 3  # blocks, and sums of inputs
    assert proved[0] > proved[3]  # nothing is below 0
    assert proved[15] > proved[12]  # nothing is above 15
    for zero, text in ((0, "negative"), (15, "positive")):
        i = form.input_parts.index(text)
        assert largest(form.at(zero), i) == 0


# ---- what is counted ----


def test_pulses_are_those_of_the_part() -> None:
    tally = Tally(1, (1, 2, 3, 4, 50, 60, 70, 80), (10,) * 4 + (20,) * 4)
    use = Use(1, 9, 90, 1, 0, 1, 1, 0, 0, 1, 2, None, tally)
    assert use.pulses_sent((1, 3), "positive") == 2 * (2 + 2 * 3)
    assert use.pulses_sent((1, 3), "negative") == 2 * (60 + 2 * 70)
    assert use.cells_read((0, 2), "negative") == 2 * (20 + 2 * 20)
    assert replace(use, tally=None).pulses_sent((1, 3), "negative") == 2 * 9 * 3


# ---- what is refused ----


def without(part: str) -> str:
    return "\n".join(line for line in TWO.splitlines() if part not in line)


ONE_PASS = without("negative").replace("@6 accumulate <<0\n  @6 convert signed 4", "@6 accumulate <<0")
ONE_PASS = ONE_PASS.replace("  @7 accumulate <<2\n  @7 convert signed 4\n  @8 accumulate <<0\n", "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ONE_PASS, "adds input bit 0 of the negative part 0 times instead of once\n.*of both parts"),
        (
            TWO.replace("@4 drive 0:2 positive", "@4 drive 0:2 negative"),
            "adds input bit 0 of the positive part 0",
        ),
        (
            TWO.replace("@6 drive 0:2 negative", "@6 drive 0:2 positive"),
            "adds input bit 0 of the positive part 2",
        ),
        (TWO.replace("@4 drive 0:2 positive", "@4 drive 0:2"), "adds bits of the inputs and bits of a part of them"),
        (TWO.replace("@2 drive 3:4 positive", "@2 drive 3:4 negative"), "input bit 3 of the negative part is not in"),
        (
            TWO.replace("count-inputs 0:2 negative", "count-inputs 0:2 positive"),
            "sums input bit 0 of the positive",
        ),
        (TWO.replace("count-inputs 0:2 negative", "count-inputs 0:2"), "sums bits of the inputs and bits of a part"),
        (FOLDED.replace("@2 drive 2:4 positive", "@2 drive 2:4 negative"), "it adds samples of different parts"),
        (TWO.replace("drive 2:4 positive", "drive 2:4 above"), "wrong arguments"),
    ],
)
def test_refused(text: str, problem: str) -> None:
    with pytest.raises(FlowError, match=problem) as error:
        check_flow(flow(text), machine())
    assert len(str(error.value).splitlines()) <= 3


def test_both_parts_in_one_buffer_are_refused() -> None:
    text = FOLDED.replace("fold >>2", "buffer <<0 8", 1).replace("fold >>2", "buffer <<2 8", 1)
    text = text.replace("fold >>2", "buffer <<0 8", 1).replace("fold >>2", "buffer <<2 8", 1)
    with pytest.raises(FlowError, match="it adds samples of different parts of the inputs"):
        normal_form(flow(text))


def test_a_part_cannot_be_merged_as_it_is() -> None:
    text = FOLDED.replace("  @5 accumulate <<0\n", "  @5 merge\n").replace("  @9 accumulate <<0\n", "")
    with pytest.raises(FlowError, match="codes of a part of the inputs are merged without a sign"):
        normal_form(flow(text))


def signed_program() -> Program:
    return next(
        p
        for p in (random_program(Random(seed), 2, signed=True) for seed in range(40))
        if any(group.zero for tile in p.tiles for group in tile.groups)
    )


def with_zero(program: Program, zero: int) -> Program:
    tiles = tuple(replace(t, groups=tuple(replace(g, zero=zero) for g in t.groups)) for t in program.tiles)
    return replace(program, tiles=tiles)


def test_the_zero_point_is_in_text_and_file_where_it_is_not_0() -> None:
    program = signed_program()
    text, data = disassemble(program), to_bytes(program)
    assert any(" zero=" in line for line in text.splitlines() if ".group" in line)
    assert disassemble(assemble(text)) == text == disassemble(from_bytes(data))
    groups = [g for t in from_bytes(data).tiles for g in t.groups]
    assert groups == [g for t in program.tiles for g in t.groups] == [g for t in assemble(text).tiles for g in t.groups]
    plain = with_zero(program, 0)
    assert not any(" zero=" in line for line in disassemble(plain).splitlines() if ".group" in line)
    assert to_bytes(plain).count(b"zero") < data.count(b"zero")


@pytest.mark.parametrize("zero", [-1, 256])
def test_a_zero_point_is_an_input(zero: int) -> None:
    with pytest.raises(ProgramError, match=rf"zero={zero} is not an input\D+give one of 0..255"):
        check(with_zero(signed_program(), zero))


def test_only_signed_flows_have_a_zero_point() -> None:
    program = next(p for p in (random_program(Random(seed), 2) for seed in range(40)) if any(t.groups for t in p.tiles))
    with pytest.raises(ProgramError, match=r"zero=9, but flow .* drives inputs as they are\nleave zero out"):
        check(with_zero(program, 9))
