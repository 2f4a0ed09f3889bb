"""The proof never claims too much, and the slice-by-slice reference computes what it should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimc_backends import isaac
from pimc_isa.crossbar.cells import Cells, encode
from pimc_isa.crossbar.exactness import conversions_exact, sliced_dot
from pimc_isa.errors import ProgramError
from pimc_isa.flow import Block, Conversion, NormalForm, normal_form
from pimc_isa.operands import Weights

ISAAC8 = normal_form(isaac.flow("isaac8"))
SLICES = (2, 2, 2, 2)


def converters(form: NormalForm, conversion: Conversion) -> NormalForm:
    """The same flow with other converters."""
    blocks = tuple(replace(b, conversion=conversion) for b in form.blocks)
    return replace(form, blocks=blocks, unit_conversions=tuple(conversion for _ in form.unit_conversions))


def one_by_one(x: np.ndarray, cells: Cells, w: Weights, top: int) -> np.ndarray:
    """ISAAC with converters that clip at ``top``: plain Python, one position, output, bit and slice at a time."""
    groups, k, n = cells.codes.shape
    y = np.zeros((len(x), groups, n), np.int64)
    for p, g, o in np.ndindex(y.shape):
        for first in range(0, k, w.block_rows):
            rows, b = range(first, min(first + w.block_rows, k)), first // w.block_rows
            for bit in range(8):
                ones = [r for r in rows if int(x[p, g, r]) >> bit & 1]
                for s in range(4):
                    total = min(top, sum(int(cells.codes[g, r, o]) >> 2 * s & 3 for r in ones))
                    y[p, g, o] += (-total if int(cells.polarity[g, b, o]) >> s & 1 else total) << (bit + 2 * s)
                y[p, g, o] += int(cells.centre[g, b, o]) * min(top, len(ones)) << bit
    return y


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Weights]:
    """Inputs and weights of a small grouped layer."""
    groups, k, n, rows, positions = (draw(st.integers(1, top)) for top in (2, 9, 3, 6, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(-128, 128, (groups, k, n)).astype(np.int8)
    x = rng.integers(0, 256, (positions, groups, k)).astype(np.uint8)
    return x, values, Weights("w", groups, k, n, rows, SLICES)


@given(cases())
def test_isaac_computes_integer_dot_products(case: tuple[np.ndarray, np.ndarray, Weights]) -> None:
    x, values, w = case
    cells = encode(values, w.slices, w.block_rows)
    want = np.einsum("pgk,gkn->pgn", x.astype(np.int64), values.astype(np.int64))
    assert np.array_equal(sliced_dot(x, cells, w, ISAAC8), want)
    assert conversions_exact(cells, w, ISAAC8).holds


@given(cases(), st.integers(1, 12))
def test_clipping_converters_against_plain_python(case: tuple[np.ndarray, np.ndarray, Weights], top: int) -> None:
    x, values, w = case
    cells = encode(values, w.slices, w.block_rows)
    form = converters(ISAAC8, Conversion(0, top))
    assert np.array_equal(sliced_dot(x, cells, w, form), one_by_one(x, cells, w, top))


@given(cases(), st.integers(1, 12))
def test_what_is_proved_is_exact_and_the_rest_can_fail(case: tuple[np.ndarray, np.ndarray, Weights], top: int) -> None:
    """All inputs at their largest reach every column's worst sum: then exactly the unproved conversions clip."""
    _, values, w = case
    cells = encode(values, w.slices, w.block_rows)
    proof = conversions_exact(cells, w, converters(ISAAC8, Conversion(0, top)))
    total = proved = 0
    for g in range(w.groups):
        for first in range(0, w.k, w.block_rows):
            part = cells.codes[g, first : first + w.block_rows].astype(int)
            columns = [int((part[:, o] >> 2 * s & 3).sum()) for o in range(w.n) for s in range(4)]
            total += 8 * (len(columns) + 1)
            proved += 8 * (sum(c <= top for c in columns) + (len(part) <= top))
            for o in range(w.n):
                ok = len(part) <= top and all(c <= top for c in columns[4 * o : 4 * o + 4])
                assert proof.exact[g, first // w.block_rows, o] == ok
    assert (proof.proved, proof.total) == (proved, total)


def test_full_array_needs_the_flips() -> None:
    """128 rows of 2-bit cells reach 384 as they are and 192 with flipped columns, which 8 bits hold and 7 do not."""
    w = Weights("w", 1, 128, 4, 128, SLICES)
    values = np.full((1, 128, 4), 127, np.int8)
    values[:, :64] = -128
    flipped = encode(values, SLICES, 128)
    plain = Cells((np.full((1, 128, 4), 127, np.int16) + 128).astype(np.uint8), flipped.polarity * 0, flipped.centre)
    assert conversions_exact(flipped, w, ISAAC8).holds
    assert not conversions_exact(flipped, w, converters(ISAAC8, Conversion(0, 127))).holds
    assert not conversions_exact(plain, w, ISAAC8).exact.any()


def test_rounding_is_never_called_exact() -> None:
    w = Weights("w", 1, 4, 1, 4, SLICES)
    cells = encode(np.zeros((1, 4, 1), np.int8), SLICES, 4)
    assert conversions_exact(cells, w, converters(ISAAC8, Conversion(0, 254, 2))).proved == 0


def test_rounding_is_to_the_nearest_step_halves_up() -> None:
    w = Weights("w", 1, 3, 1, 3, (2,))
    cells = Cells(np.array([[[1], [1], [3]]], np.uint8), np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1, 1), np.int32))
    form = NormalForm(((0, 1),), (0,), (Block(((0, 0),), (0,), 0, Conversion(0, 8, 4)),))
    x = np.array([[[1, 0, 0]], [[1, 1, 0]], [[1, 1, 1]], [[1, 1, 0]]], np.uint8)
    assert sliced_dot(x, cells, w, form).ravel().tolist() == [0, 4, 4, 4]


def test_a_block_of_several_columns_converts_their_signed_sum() -> None:
    """One conversion for the whole grid, as an analog accumulator does: two input bits, two slices, one flipped."""
    w = Weights("w", 1, 2, 1, 2, (2, 2))
    cells = Cells(np.array([[[0b0111], [0b1001]]], np.uint8), np.full((1, 1, 1), 2, np.uint8), np.zeros((1, 1, 1), int))
    pairs = ((0, 0), (0, 1), (1, 0), (1, 1))
    form = NormalForm(((0, 1), (1, 2)), (0, 2), (Block(pairs, (0, 2, 1, 3), 0, Conversion(-20, 19)),))
    x = np.array([[[1, 2]], [[3, 3]]], np.uint8)
    weights = np.array([3 - 4 * 1, 1 - 4 * 2])
    want = [max(-20, int(row @ weights)) for row in x[:, 0].astype(int)]
    assert want == [-15, -20]
    assert sliced_dot(x, cells, w, form).ravel().tolist() == want
    # worst sums: up 3*(3+1) = 12, down 3*4*(1+2) = 36
    assert not conversions_exact(cells, w, form).holds
    wide = replace(form, blocks=(replace(form.blocks[0], conversion=Conversion(-36, 12)),))
    assert conversions_exact(cells, w, wide).holds
    tight = replace(form, blocks=(replace(form.blocks[0], conversion=Conversion(-36, 11)),))
    assert not conversions_exact(cells, w, tight).holds


def test_a_centre_needs_the_sum_of_inputs() -> None:
    w = Weights("w", 1, 1, 1, 1, SLICES)
    cells = encode(np.ones((1, 1, 1), np.int8), SLICES, 1)
    with pytest.raises(ProgramError, match="sums no inputs"):
        sliced_dot(np.ones((1, 1, 1), np.uint8), cells, w, replace(ISAAC8, unit_conversions=()))


def test_ranged_conversions_without_a_scale_are_not_exact() -> None:
    """A column of one cell of 1 and one input bit: any converter with a code for 1 would do, if it had a scale."""
    w = Weights("w", 1, 1, 1, 1, (1,))
    cells = Cells(np.ones((1, 1, 1), np.int16), np.zeros((1, 1, 1), np.uint8), np.zeros((1, 1, 1), np.int32))
    form = NormalForm(((0, 1),), (0,), (Block(((0, 0),), (0,), 0, Conversion(-8, 7, ranged=True)),))
    assert not conversions_exact(cells, w, form).holds
    assert conversions_exact(cells, w, form, 7.0).holds
    assert conversions_exact(cells, w, form, 3.5).holds  # two codes a unit
    assert not conversions_exact(cells, w, form, 7 / 8).holds  # eight codes a unit: the largest is 7
    assert not conversions_exact(cells, w, form, 14.0).holds  # half a code a unit
    with pytest.raises(ProgramError, match="full scale"):
        sliced_dot(np.ones((1, 1, 1), np.uint8), cells, w, form)
