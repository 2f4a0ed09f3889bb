"""Kernels that count bits against the slow reference: random forms, cells and inputs, extremes, flags."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc_backends import cascade, raella
from pimc_isa.crossbar.cells import Cells, encode, encode_differential
from pimc_isa.crossbar.exactness import guarded_flags, sliced_dot
from pimc_isa.engines.dots.counted import CountedProduct
from pimc_isa.engines.kernels.corrected import CorrectedProduct, corrected_product
from pimc_isa.engines.kernels.popcount import bit_product, grouped_bits, pack, widened
from pimc_isa.flow import Block, Conversion, NormalForm, normal_form
from pimc_isa.operands import Weights

Array = np.ndarray
SLICINGS = [(2, 2, 4), (4, 4), (1,) * 8, (2, 2, 2, 2), (3, 5), (8,)]


@dataclass(frozen=True)
class Case:
    """A layer's part and window vectors u8 [m, groups, k]."""

    cells: Cells
    weights: Weights
    form: NormalForm
    x: Array

    @property
    def expected(self) -> Array:
        return sliced_dot(self.x, self.cells, self.weights, self.form).astype(np.int32).reshape(len(self.x), -1)


def cuts_of(draw: st.DrawFn, lo: int, hi: int) -> list[tuple[int, int]]:
    """Bits cut into slices, in any order."""
    inside = draw(st.sets(st.integers(lo + 1, hi - 1))) if hi - lo > 1 else set()
    return draw(st.permutations(list(pairwise([lo, *sorted(inside), hi]))))


def conversions(draw: st.DrawFn, signed: bool) -> Conversion:
    top, step = draw(st.integers(1, 300)), draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    return Conversion(-(top + 1) * step if signed else 0, top * step, step)


@st.composite
def singles(draw: st.DrawFn, slices: tuple[int, ...], bipolar: bool) -> NormalForm:
    """A pair in each block, guarded or not, all alike or each as it likes."""
    inputs, shifts = cuts_of(draw, 0, 8), [sum(slices[:j]) for j in range(len(slices))]
    finer: dict[tuple[int, int], list[tuple[int, int]]] = {}
    alike = conversions(draw, bipolar) if draw(st.booleans()) else None
    guards = draw(st.sampled_from(["all", "none", "some"]))
    bits, number = draw(st.booleans()), {each: i for i, each in enumerate(inputs)}

    def block(piece: tuple[int, int], j: int) -> Block:
        place = number.setdefault(piece, len(number))
        return Block(((place, j),), (0,), piece[0] + shifts[j], alike or conversions(draw, bipolar))

    blocks = []
    for piece in inputs:
        finer[piece] = [(b, b + 1) for b in range(*piece)] if bits else cuts_of(draw, *piece)
        for j in range(len(slices)):
            made = block(piece, j)
            if guards == "all" or (guards == "some" and draw(st.booleans())):
                made = replace(made, refinement=tuple(block(part, j) for part in finer[piece]))
            blocks.append(made)
    units = tuple(draw(st.sampled_from([None, Conversion(0, 255), Conversion(0, 90, 3)])) for _ in inputs)
    sides = bipolar and draw(st.booleans())
    return NormalForm(tuple(number), tuple(shifts), tuple(blocks), units, sides)


@st.composite
def cases(draw: st.DrawFn, groups: int = 1) -> Case:
    slices, bipolar = draw(st.sampled_from(SLICINGS)), draw(st.booleans())
    k, n = draw(st.integers(1, 150)), draw(st.integers(1, 20))
    rows = draw(st.sampled_from([32, 64, 40, 512]))
    weights = Weights("w", groups, k, n, rows, slices, bipolar)
    rng, kind = np.random.default_rng(draw(st.integers(0, 999))), draw(st.sampled_from(["any", "small", "largest"]))
    top = {"any": 255, "small": 6, "largest": 255}[kind]
    codes = rng.integers(-top if bipolar else 0, top + 1, (groups, k, n)).astype(np.int16)
    x = np.minimum(rng.exponential(20, (5, groups, k)), 255).astype(np.uint8)
    if kind == "largest":
        codes[:] = top
        x[1:] = 255
    blocks = weights.blocks
    polarity = rng.integers(0, 2 ** len(slices), (groups, blocks, n)).astype(np.uint8)
    centre = rng.integers(-254, 255, (groups, blocks, n)).astype(np.int32)
    return Case(Cells(codes, polarity, centre), weights, draw(singles(slices, bipolar)), x)


def check_dense(case: Case) -> None:
    wide = widened(case.x[:, 0], case.weights.block_rows)
    ours = bit_product(case.cells, case.weights, case.form, 1, wide.shape[1])
    assert ours is not None
    np.testing.assert_array_equal(ours(pack(wide)), case.expected)
    flags = guarded_flags(case.x, case.cells, case.weights, case.form)
    np.testing.assert_array_equal(ours.flags(pack(wide)), flags[:, :, :, 0])


@settings(max_examples=60, deadline=None)
@given(cases())
def test_pairs_by_themselves(case: Case) -> None:
    check_dense(case)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 20).flatmap(cases), st.integers(0, 5))
def test_grouped_layers(case: Case, gap: int) -> None:
    """Rows of a group may lie anywhere in a window."""
    k = case.x.shape[2]
    ours = grouped_bits(case.cells, case.weights, case.form, np.arange(k), k + gap)
    assert ours is not None
    x = np.pad(case.x, [(0, 0), (0, 0), (0, gap)], constant_values=255).reshape(len(case.x), -1)
    np.testing.assert_array_equal(ours(x), case.expected)
    flags = guarded_flags(case.x, case.cells, case.weights, case.form)
    np.testing.assert_array_equal(ours.flags(x), flags)


@pytest.mark.parametrize("groups", [16, 40])
def test_neighbouring_groups_of_one_channel(groups: int) -> None:
    """Depthwise windows have taps first: sixteen channels are read at once, what is left one by one."""
    rng = np.random.default_rng(groups)
    w = rng.integers(-128, 128, (groups, 9, 1), dtype=np.int8)
    form = normal_form(raella.flow())
    cells = encode_differential(w, form_slices(form), 512)
    weights = Weights("w", groups, 9, 1, 512, form_slices(form), True)
    x = rng.integers(0, 256, (7, groups, 9), dtype=np.uint8)
    ours = grouped_bits(cells, weights, form, np.arange(9) * groups, 1)
    assert ours is not None
    expected = sliced_dot(x, cells, weights, form)[:, :, 0]
    np.testing.assert_array_equal(ours(np.ascontiguousarray(x.transpose(0, 2, 1)).reshape(7, -1)), expected)


def form_slices(form: NormalForm) -> tuple[int, ...]:
    return tuple(b - a for a, b in pairwise([*form.weight_shifts, 8]))


@pytest.mark.parametrize("speculates", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums(speculates: bool, sign: int) -> None:
    """512 rows of 15 x 15 and |w - c| = 254: every speculated sum is flagged, every bit clips to an end."""
    form = normal_form(raella.flow((4, 4), speculates))
    w = np.full((1, 512, 16), sign * 127, np.int8)
    cells = encode_differential(w, (4, 4), 512, centred=True, centre=np.full((1, 1, 16), -sign * 127, np.int32))
    assert abs(cells.codes).max() == 254
    case = Case(cells, Weights("w", 1, 512, 16, 512, (4, 4), True), form, np.full((1, 1, 512), 255, np.uint8))
    check_dense(case)
    clipped = 63 if sign > 0 else -64
    assert (case.expected == clipped * 255 * 17 - sign * 127 * 512 * 255).all()
    wide = NormalForm(form.input_slices[:1], (0, 4), (Block(((0, 0),), (0,), 0, None), Block(((0, 1),), (0,), 4, None)))
    part = replace(case, form=replace(wide, input_slices=((0, 4),)), cells=replace(cells, centre=0 * cells.centre))
    assert (part.expected == sign * (512 * 15 * 14 + 16 * 512 * 15 * 15)).all()
    ours = bit_product(part.cells, part.weights, part.form, 1, 512)
    assert ours is not None
    np.testing.assert_array_equal(ours(pack(part.x[:, 0])), part.expected)


def buffered(form: NormalForm, cell: int, top: int, step: int) -> NormalForm:
    """CASCADE's form with other buffer cells, and another conversion of the summed columns."""
    low, *others = (replace(b, cell=Conversion(0, cell)) for b in form.blocks)
    low = replace(low, conversion=Conversion(-top * step, (top - 1) * step, step))
    return replace(form, blocks=(low, *others))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.sampled_from([3, 20, 63, 100]), st.sampled_from([(3, 1), (40, 7), (512, 64), (9, 2048)]))
def test_buffered_sums(seed: int, cell: int, limits: tuple[int, int]) -> None:
    """Cells that overflow where it is likely, conversions that clip and round."""
    rng = np.random.default_rng(seed)
    k, n, rows = int(rng.integers(1, 200)), int(rng.integers(1, 20)), int(rng.choice([32, 40, 128]))
    w = np.clip(rng.normal(0, rng.choice([2, 60]), (1, k, n)), -128, 127).astype(np.int8)
    cells, weights = encode(w, (1,) * 8, rows), Weights("w", 1, k, n, rows, (1,) * 8)
    cells.polarity[:] = rng.integers(0, 256, cells.polarity.shape) if seed % 2 else cells.polarity
    x = np.minimum(rng.exponential(rng.choice([5, 200]), (6, 1, k)), 255).astype(np.uint8)
    x[0] = 255
    case = Case(cells, weights, buffered(normal_form(cascade.flow()), cell, *limits), x)
    ours = corrected_product(cells, weights, case.form)
    assert isinstance(ours, CorrectedProduct)
    np.testing.assert_array_equal(ours(x[:, 0]), case.expected)


def test_buffered_sums_that_lose_nothing_but_cells() -> None:
    """No conversion can clip: the product less what cells lose."""
    rng = np.random.default_rng(1)
    form = normal_form(cascade.flow())
    free = replace(form, blocks=tuple(replace(b, conversion=None, cell=Conversion(0, 9)) for b in form.blocks))
    w = rng.integers(-128, 128, (1, 100, 17), dtype=np.int8)
    weights = Weights("w", 1, 100, 17, 64, (1,) * 8)
    case = Case(encode(w, weights.slices, 64), weights, free, rng.integers(0, 256, (5, 1, 100), dtype=np.uint8))
    ours = corrected_product(case.cells, weights, free)
    assert ours is not None
    np.testing.assert_array_equal(ours(case.x[:, 0]), case.expected)
    assert (case.expected != case.x[:, 0].astype(np.int64) @ w[0]).any()


@pytest.mark.parametrize("change", ["cell that rounds", "two that lose", "slices of two bits"])
def test_other_forms_are_not_corrected(change: str) -> None:
    form = normal_form(cascade.flow())
    low, second, *others = form.blocks
    assert second.conversion is not None
    if change == "cell that rounds":
        form = replace(form, blocks=(replace(low, cell=Conversion(0, 63, 3)), second, *others))
    elif change == "two that lose":
        form = replace(form, blocks=(low, replace(second, conversion=Conversion(-8, 7)), *others))
    else:
        form = replace(form, input_slices=tuple((lo, lo + 2) for lo, _ in form.input_slices))
    cells, weights = encode(np.ones((1, 32, 3), np.int8), (1,) * 8, 32), Weights("w", 1, 32, 3, 32, (1,) * 8)
    assert corrected_product(cells, weights, form) is None


@pytest.mark.parametrize("numba", ["0", "1"])
def test_without_numba_the_reference_computes(numba: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIMC_NUMBA", numba)
    form = normal_form(raella.flow())
    rng = np.random.default_rng(0)
    w = rng.integers(-128, 128, (1, 70, 5), dtype=np.int8)
    cells = encode_differential(w, form_slices(form), 64)
    weights = Weights("w", 1, 70, 5, 64, form_slices(form), True)
    case = Case(cells, weights, form, rng.integers(0, 256, (6, 1, 70), dtype=np.uint8))
    asked = []

    def reference(a: Array) -> Array:
        asked.append(len(a))
        return case.expected

    product = CountedProduct(cells, weights, form, 0.0, reference)
    np.testing.assert_array_equal(product.dense(case.x[:, 0]), case.expected)
    np.testing.assert_array_equal(product.flags(case.x), guarded_flags(case.x, cells, weights, form))
    assert asked == ([6] if numba == "0" else [])


@pytest.mark.parametrize("part", ["mask", "cells", "centre"])
def test_a_wrong_table_is_seen(part: str) -> None:
    rng = np.random.default_rng(2)
    form = normal_form(raella.flow())
    w = rng.integers(-128, 128, (1, 70, 16), dtype=np.int8)
    cells = encode_differential(w, form_slices(form), 64, centred=True)
    weights = Weights("w", 1, 70, 16, 64, form_slices(form), True)
    x = rng.integers(0, 256, (6, 70), dtype=np.uint8)
    wide = widened(x, 64)
    ours = bit_product(cells, weights, form, 1, wide.shape[1])
    assert ours is not None
    held = getattr(ours._columns, part)
    held.flat[0] = ~held.flat[0]
    assert (ours(pack(wide)) != sliced_dot(x[:, None], cells, weights, form)[:, 0]).any()
