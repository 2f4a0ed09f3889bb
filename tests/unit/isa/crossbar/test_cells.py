"""Encoding: cells stand for exactly the weights, and no column is more than half full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimc_isa.crossbar.cells import Cells, column_sums, decode, encode, encode_differential
from pimc_isa.errors import ProgramError
from pimc_isa.operands import Weights

SLICINGS = {8: [(2, 2, 2, 2), (4, 4), (1,) * 8, (2, 2, 4), (3, 3, 2)], 16: [(2,) * 8, (4,) * 4, (1,) * 16]}


def by_the_formula(cells: Cells, w: Weights) -> np.ndarray:
    """``centre + sum_s 2**l_s * sign_s * field_s * sign(code)`` for each weight, written out."""
    out = np.zeros(cells.codes.shape, np.int64)
    for (g, r, o), code in np.ndenumerate(cells.codes):
        block = r // w.block_rows
        total, shift = int(cells.centre[g, block, o]), 0
        for s, width in enumerate(w.slices):
            field = abs(int(code)) >> shift & ((1 << width) - 1)
            sign = -1 if int(cells.polarity[g, block, o]) >> s & 1 else 1
            total += (field << shift) * sign * (-1 if code < 0 else 1)
            shift += width
        out[g, r, o] = total
    return out


@st.composite
def layers(draw: st.DrawFn) -> tuple[np.ndarray, Weights]:
    """Small weights of 8 or 16 bits, from all-alike to spread over the whole range."""
    bits = draw(st.sampled_from([8, 16]))
    slices = draw(st.sampled_from(SLICINGS[bits]))
    groups, k, n, rows = (draw(st.integers(1, top)) for top in (3, 11, 5, 5))
    half = 1 << (bits - 1)
    lo = draw(st.integers(-half, half - 1))
    hi = draw(st.integers(lo, half - 1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(lo, hi, (groups, k, n), endpoint=True).astype(np.int8 if bits == 8 else np.int16)
    return values, Weights("w", groups, k, n, rows, slices)


@given(layers())
def test_cells_stand_for_the_weights(layer: tuple[np.ndarray, Weights]) -> None:
    values, w = layer
    cells = encode(values, w.slices, w.block_rows)
    assert np.array_equal(by_the_formula(cells, w), values)
    assert np.array_equal(decode(cells, w), values)
    assert cells.codes.dtype == (np.uint8 if sum(w.slices) == 8 else np.uint16)
    assert cells.codes.flags.c_contiguous


@given(layers())
def test_no_column_is_more_than_half_full(layer: tuple[np.ndarray, Weights]) -> None:
    values, w = layer
    positive, negative = column_sums(encode(values, w.slices, w.block_rows).codes, w)
    rows = np.array([min(w.block_rows, w.k - b * w.block_rows) for b in range(w.blocks)])
    tops = np.array([(1 << width) - 1 for width in w.slices])
    assert (2 * positive <= (rows[:, None, None] * tops)[None]).all()
    assert not negative.any()


@given(layers())
def test_column_sums_against_loops(layer: tuple[np.ndarray, Weights]) -> None:
    values, w = layer
    codes = encode(values, w.slices, w.block_rows).codes
    positive, _ = column_sums(codes, w)
    for g, b, o, s in np.ndindex(positive.shape):
        part = codes[g, b * w.block_rows : (b + 1) * w.block_rows, o]
        shift = sum(w.slices[:s])
        assert positive[g, b, o, s] == sum(int(c) >> shift & ((1 << w.slices[s]) - 1) for c in part)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_bipolar_cells_decode_by_the_formula(seed: int, flips: bool) -> None:
    rng = np.random.default_rng(seed)
    w = Weights("w", 2, 7, 3, 4, (2, 2, 4), bipolar=True)
    codes = rng.integers(-255, 255, (2, 7, 3), endpoint=True).astype(np.int16)
    polarity = rng.integers(0, 8 if flips else 1, (2, 2, 3)).astype(np.uint8)
    cells = Cells(codes, polarity, rng.integers(-128, 128, (2, 2, 3)).astype(np.int32))
    assert np.array_equal(decode(cells, w), by_the_formula(cells, w))
    positive, negative = column_sums(codes, w)
    assert np.array_equal(positive[0, 0, 0] - negative[0, 0, 0], _signed_sums(codes[0, :4, 0], w.slices))


def _signed_sums(codes: np.ndarray, slices: tuple[int, ...]) -> list[int]:
    shifts = [sum(slices[:s]) for s in range(len(slices))]
    return [
        sum((abs(int(c)) >> shift & ((1 << width) - 1)) * (-1 if c < 0 else 1) for c in codes)
        for shift, width in zip(shifts, slices, strict=True)
    ]


def test_flips_are_needed_and_cost_nothing() -> None:
    """Weights of 127 are codes 255: all four slices full, so all four are flipped and every cell is 0."""
    cells = encode(np.full((1, 128, 1), 127, np.int8), (2, 2, 2, 2), 128)
    assert not cells.codes.any()
    assert cells.polarity.item() == 0b1111
    assert cells.centre.item() == 127


def test_tall_columns_of_wide_cells_do_not_overflow() -> None:
    w = Weights("w", 1, 512, 1, 512, (8,))
    positive, _ = column_sums(np.full((1, 512, 1), 255, np.uint8), w)
    assert positive.item() == 512 * 255


def test_input_is_not_changed_and_views_are_welcome() -> None:
    original = np.random.default_rng(0).integers(-128, 128, (6, 9)).astype(np.int8)
    view = original.reshape(1, 6, 9).transpose(0, 2, 1)
    before = original.copy()
    cells = encode(view, (2, 2, 2, 2), 4)
    assert np.array_equal(original, before)
    assert np.array_equal(decode(cells, Weights("w", 1, 9, 6, 4, (2, 2, 2, 2)), np.int8), view)


@pytest.mark.parametrize("values", [[[[128]]], [[[-129]]]])
def test_weights_beyond_the_slices_are_refused(values: list[Any]) -> None:
    with pytest.raises(ValueError, match="do not fit 8 bits"):
        encode(np.array(values, np.int32), (2, 2, 2, 2), 4)


def test_decoding_into_too_narrow_a_type_is_refused() -> None:
    w = Weights("w", 1, 1, 1, 1, (2, 2, 2, 2))
    cells = encode(np.full((1, 1, 1), 100, np.int8), w.slices, 1)
    damaged = Cells(cells.codes, cells.polarity, cells.centre + 100)
    with pytest.raises(ProgramError, match=r"outside -128\.\.127"):
        decode(damaged, w, np.int8)


def test_bits_beyond_the_slices_are_no_fields() -> None:
    w = Weights("w", 1, 2, 1, 2, (2, 1))
    flip = np.array([[[0b01]]], np.uint8)
    plain = Cells(np.array([[[0b101], [0b010]]], np.uint8), flip, np.zeros((1, 1, 1), np.int32))
    dirty = Cells(plain.codes | 0b11111000, flip, plain.centre)
    assert decode(plain, w).ravel().tolist() == by_the_formula(plain, w).ravel().tolist() == [4 - 1, -2]
    np.testing.assert_array_equal(decode(dirty, w), decode(plain, w))
    np.testing.assert_array_equal(column_sums(dirty.codes, w)[0], column_sums(plain.codes, w)[0])


@pytest.mark.parametrize(
    ("slices", "value", "fits"),
    [
        ((1,) * 8, 255, True),
        ((1,) * 8, 256, False),
        ((16, 15), 2**31 - 1, True),
        ((16, 16), 1, False),
        ((8, 7), 2**15 - 1, True),
        ((8, 8), 2**16 - 1, True),
    ],
)
def test_differences_hold_what_their_slices_hold(slices: tuple[int, ...], value: int, fits: bool) -> None:
    values = np.array([[[value], [-value]]], np.int64)
    if not fits:
        with pytest.raises(ValueError, match="weights"):
            encode_differential(values, slices, 2)
        return
    cells = encode_differential(values, slices, 2)
    assert cells.codes.dtype == (np.int16 if sum(slices) <= 15 else np.int32)
    assert cells.codes.ravel().tolist() == [value, -value]


@pytest.mark.parametrize(("rows", "width"), [(257, 8), (258, 8), (65535, 1), (65536, 1), (70000, 1), (4, 15)])
def test_sums_of_full_columns_do_not_wrap(rows: int, width: int) -> None:
    top = (1 << width) - 1
    codes = np.full((1, rows, 1), top, np.uint16)
    sums, _ = column_sums(codes, Weights("w", 1, rows, 1, rows, (width,)))
    assert sums.ravel().tolist() == [rows * top]
