"""Folds, buffer cells, ranged conversions and sides: against plain Python, and the proof against the worst inputs."""

from __future__ import annotations

from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc_isa.crossbar.cells import Cells, decode, encode, encode_differential
from pimc_isa.crossbar.exactness import conversions_exact, full_scale, sliced_dot
from pimc_isa.errors import ProgramError
from pimc_isa.flow import Block, Conversion, NormalForm, normal_form, parse_flow
from pimc_isa.operands import Weights

SLICES = (1, 1, 2)
INPUTS = ((0, 2), (2, 3))
SHIFTS = (0, 1, 2)
FAST = settings(max_examples=150, deadline=None, derandomize=True)


def _round(value: float, c: Conversion | None, step: float) -> float:
    """One conversion in plain Python; codes if it is ranged."""
    if c is None:
        return value
    if c.ranged:
        return min(max(floor(value / step + 0.5), c.lo), c.hi)
    return min(max(floor(value / c.step + 0.5) * c.step, c.lo), c.hi)


def plainly(x: np.ndarray, cells: Cells, w: Weights, form: NormalForm, scale: float) -> np.ndarray:
    """The normal form as it reads, one position, output, block and column sum at a time."""
    y = np.zeros((len(x), w.groups, w.n), np.int64)
    for p, g, o in np.ndindex(y.shape):
        exact, codes, step = 0, 0.0, 1.0
        for number, first in enumerate(range(0, w.k, w.block_rows)):
            rows = range(first, min(first + w.block_rows, w.k))

            def column(i: int, j: int, sign: int, rows: range = rows, p: int = p, g: int = g, o: int = o) -> int:
                lo, hi = form.input_slices[i]
                return sum(
                    (int(x[p, g, r]) >> lo & (1 << (hi - lo)) - 1)
                    * (abs(int(cells.codes[g, r, o])) >> SHIFTS[j] & (1 << w.slices[j]) - 1)
                    for r in rows
                    if (int(cells.codes[g, r, o]) < 0) == (sign < 0)
                )

            for b in form.blocks:
                c = b.conversion
                step = scale / c.hi if c is not None and c.ranged else step
                parts = []
                for sides in [(1,), (-1,)] if form.sides else [(1, -1)]:
                    total = 0.0
                    for (i, j), e in zip(b.pairs, b.exponents, strict=True):
                        flip = -1 if int(cells.polarity[g, number, o]) >> j & 1 and len(b.pairs) > 1 else 1
                        side_sign = 1 if form.sides else None
                        for s in sides:
                            value = _round(column(i, j, s), b.cell, 1.0)
                            total += flip * (side_sign or s) * value * 2**e
                    parts.append(_round(total, c, step))
                value = parts[0] - parts[1] if form.sides else parts[0]
                if len(b.pairs) == 1 and int(cells.polarity[g, number, o]) >> b.pairs[0][1] & 1:
                    value = -value
                if c is not None and c.ranged:
                    codes += value * 2**b.shift
                else:
                    exact += int(value) * 2**b.shift
            for lo, hi in form.input_slices:
                ones = sum(int(x[p, g, r]) >> lo & (1 << (hi - lo)) - 1 for r in rows)
                if form.unit_conversions:
                    exact += int(cells.centre[g, number, o]) * ones << lo
        y[p, g, o] = exact + floor(codes * step + 0.5)
    return y


def _blocks(shape: str, conversion: Conversion | None, cell: Conversion | None) -> tuple[Block, ...]:
    pairs = [(lo + s, i, j) for i, (lo, _) in enumerate(INPUTS) for j, s in enumerate(SHIFTS)]
    if shape == "single":
        return tuple(Block(((i, j),), (0,), place, conversion) for place, i, j in pairs)
    if shape == "all":
        return (Block(tuple((i, j) for _, i, j in pairs), tuple(p for p, _, _ in pairs), 0, conversion),)
    blocks = []
    for place in sorted({p for p, _, _ in pairs}):
        inside = tuple((i, j) for p, i, j in pairs if p == place)
        blocks.append(Block(inside, (0,) * len(inside), place, conversion, cell))
    return tuple(blocks)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, Cells, Weights, NormalForm, float]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from(["single", "all", "diagonal"]))
    bipolar = draw(st.booleans())
    ranged = draw(st.booleans())
    bits = draw(st.integers(2, 9))
    step = 1 if ranged else draw(st.integers(1, 3))
    lo, hi = (-(1 << bits) // 2, (1 << bits) // 2 - 1) if bipolar or shape != "single" else (0, (1 << bits) - 1)
    conversion = Conversion(lo * step, hi * step, step, ranged)
    cell = draw(st.sampled_from([None, Conversion(0, 7), Conversion(0, 12, 4)])) if shape == "diagonal" else None
    sides = bipolar and shape == "single" and draw(st.booleans())
    k, rows = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    w = Weights("w", 1, k, 2, rows, SLICES, bipolar)
    values = rng.integers(-8, 8, (1, k, 2))
    cells = (encode_differential if bipolar else encode)(values, SLICES, rows)
    form = NormalForm(INPUTS, SHIFTS, _blocks(shape, conversion, cell), () if bipolar else (None, None), sides)
    scale = (
        full_scale(w, 3, draw(st.sampled_from([1.0, 0.5, 0.125])), draw(st.sampled_from([1.0, 3.0]))) if ranged else 0.0
    )
    return rng.integers(0, 8, (4, 1, k)), cells, w, form, scale


@FAST
@given(cases())
def test_sliced_dot_is_the_normal_form(case: tuple[np.ndarray, Cells, Weights, NormalForm, float]) -> None:
    x, cells, w, form, scale = case
    np.testing.assert_array_equal(sliced_dot(x, cells, w, form, scale), plainly(x, cells, w, form, scale))


@FAST
@given(cases())
def test_the_proof_holds_for_every_input(case: tuple[np.ndarray, Cells, Weights, NormalForm, float]) -> None:
    """Outputs that are proved exact are, for random inputs and for those that make columns large."""
    x, cells, w, form, scale = case
    exact = conversions_exact(cells, w, form, scale).exact.all(axis=1)
    weights = decode(cells, w).astype(np.int64)
    positive = np.where(weights.transpose(2, 0, 1) > 0, 7, 0)
    x = np.concatenate([x, np.full_like(x[:1], 7), positive, 7 - positive])
    want = np.einsum("pgk,gkn->pgn", x.astype(np.int64), weights)
    got = sliced_dot(x, cells, w, form, scale)
    np.testing.assert_array_equal(np.where(exact, got, 0), np.where(exact, want, 0))


RANGED = Conversion(-128, 127, ranged=True)


def folded(conversion: Conversion) -> NormalForm:
    return NormalForm(((0, 8),), (0,), (Block(((0, 0),), (0,), 0, conversion),))


def test_codes_clip_and_round_halves_up() -> None:
    w = Weights("w", 1, 1, 1, 1, (8,), bipolar=True)
    cells = encode_differential(np.array([[[1]]]), (8,), 1)
    scale = 127 * 4.0  # a code stands for 4
    x = np.array([0, 1, 2, 3, 5, 6, 255])[:, None, None]
    assert sliced_dot(x, cells, w, folded(RANGED), scale).ravel().tolist() == [0, 0, 4, 4, 4, 8, 256]
    minus = Cells(-cells.codes, cells.polarity, cells.centre)
    assert sliced_dot(x, minus, w, folded(RANGED), scale).ravel().tolist() == [0, 0, 0, -4, -4, -4, -256]
    assert sliced_dot(x, minus, w, folded(RANGED), 127 * 1.5).ravel().tolist() == [0, -1, -1, -3, -4, -6, -192]


@pytest.mark.parametrize(
    ("step", "largest", "holds"),
    [(1.0, 127, True), (1.0, 128, False), (0.5, 63, True), (0.5, 64, False), (1 / 3, 42, True), (0.75, 10, False)],
)
def test_a_step_of_one_nth_is_exact_until_a_code_clips(step: float, largest: int, holds: bool) -> None:
    w = Weights("w", 1, 1, 1, 1, (8,), bipolar=True)
    cells = encode_differential(np.array([[[largest]]]), (8,), 1)
    form = NormalForm(((0, 1),), (0,), (Block(((0, 0),), (0,), 0, RANGED),))
    assert conversions_exact(cells, w, form, step * 127).holds == holds
    if holds:
        assert sliced_dot(np.ones((1, 1, 1), np.uint8), cells, w, form, step * 127).item() == largest


def test_codes_of_row_blocks_are_added_before_the_multiplication() -> None:
    w = Weights("w", 1, 2, 1, 1, (8,), bipolar=True)
    cells = encode_differential(np.array([[[1], [1]]]), (8,), 1)
    got = sliced_dot(np.array([[[10, 10]]]), cells, w, folded(RANGED), 127 * 2.75)
    assert got.item() == floor(2.75 * (4 + 4) + 0.5) != 2 * floor(2.75 * 4 + 0.5) - 1


def test_ranged_conversions_need_a_full_scale() -> None:
    w = Weights("w", 1, 1, 1, 1, (8,), bipolar=True)
    cells = encode_differential(np.array([[[1]]]), (8,), 1)
    with pytest.raises(ProgramError, match="need a full scale"):
        sliced_dot(np.ones((1, 1, 1), np.uint8), cells, w, folded(RANGED))
    assert not conversions_exact(cells, w, folded(RANGED)).holds


def test_full_scale_is_the_largest_product() -> None:
    assert full_scale(Weights("w", 1, 9, 1, 128, (1,) * 8, True), 8, 1.0, 1.0) == 128 * 255 * 255
    assert full_scale(Weights("w", 1, 9, 1, 128, (1,) * 8, True), 8, 0.25, 16.0) == 128 * 255 * 255 / 64


@given(st.integers(0, 2**32 - 1))
def test_differential_cells_decode(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-128, 128, (2, 9, 3)).astype(np.int8)
    cells = encode_differential(values, (1,) * 8, 4)
    assert cells.codes.dtype == np.int16
    assert not cells.centre.any()
    assert not cells.polarity.any()
    assert np.array_equal(decode(cells, Weights("w", 2, 9, 3, 4, (1,) * 8, True)), values)


def test_differential_weights_beyond_the_slices_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit slices of 7 bits"):
        encode_differential(np.array([[[-128]]], np.int8), (1,) * 7, 1)


CASCADE = """
.flow two input_bits=2 slices=1,1 step_cycles=1 interval=9 latency=9
  @0 drive 0:1
  @0 read pairs
  @1 buffer <<0 4
  @1 drive 1:2
  @1 read pairs
  @2 buffer <<1 4
  @3 convert signed 6 step=2 columns=0:2 summed
  @4 accumulate <<0
  @4 convert signed 6 columns=2:3
  @5 accumulate <<2
  @6 merge
  @7 store
"""


def test_buffer_columns_are_blocks() -> None:
    form = normal_form(parse_flow(CASCADE))
    cell = Conversion(0, 15)
    low = Block(((0, 0), (0, 1), (1, 0)), (0, 1, 1), 0, Conversion(-64, 62, 2), cell)
    assert form.blocks == (low, Block(((1, 1),), (0,), 2, Conversion(-32, 31), cell))
    assert form.input_slices == ((0, 1), (1, 2))
