"""The error of a slicing, bit by bit in plain integers, and which slicing algorithm 1 of RAELLA ends with."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from pimc.analysis.slicing import BUDGET, SlicedLayer, choose_slicing
from pimc_backends.raella.flows import all_slicings
from pimc_isa.crossbar.centres import best_centres

Array = np.ndarray
ROWS = 24


def quantise(sums: Array) -> Array:
    return np.asarray(np.clip((sums + 40) // 80 + 10, 0, 255), np.uint8)


def layer(seed: int, zero: int = 10, passes: int | None = None) -> SlicedLayer:
    rng = np.random.default_rng(seed)
    weights = np.clip(rng.normal(6, 30, (1, 40, 5)), -128, 127).astype(np.int8)
    vectors = rng.integers(0, 256, (9, 1, 40), dtype=np.uint8)
    centres = {slices: best_centres(weights, slices, ROWS) for slices in all_slicings()}
    return SlicedLayer(vectors, weights, quantise, zero, ROWS, -64, 63, centres.__getitem__, passes)


def plainly(made: SlicedLayer, slices: tuple[int, ...]) -> Array:
    """Dot products [windows, n], one conversion after the other."""
    x, w, centres = made.vectors[:, 0].tolist(), made.weights[0].tolist(), made.centres(slices)[0].tolist()
    total = np.zeros((len(x), len(w[0])), np.int64)
    zero = made.passes or 0
    for m, n in product(range(len(x)), range(len(w[0]))):
        total[m, n] = zero * sum(row[n] for row in w)
        for first in range(0, len(w), ROWS):
            rows = range(first, min(first + ROWS, len(w)))
            for sign in (1,) if made.passes is None else (1, -1):
                driven = {r: max(0, sign * (x[m][r] - zero)) for r in rows}
                total[m, n] += sign * centres[first // ROWS][n] * sum(driven.values())
                shift = 0
                for width in slices:
                    for bit in range(8):
                        held = {r: w[r][n] - centres[first // ROWS][n] for r in rows}
                        field = {r: (abs(v) >> shift & (1 << width) - 1) * (1, -1)[v < 0] for r, v in held.items()}
                        code = max(made.lowest, min(made.highest, sum(field[r] * (driven[r] >> bit & 1) for r in rows)))
                        total[m, n] += sign * (code << bit + shift)
                    shift += width
    return total


@pytest.mark.parametrize("passes", [None, 0, 100])
@pytest.mark.parametrize("slices", [(4, 4), (2, 2, 4), (1,) * 8])
def test_sums_are_those_of_the_plain_model(slices: tuple[int, ...], passes: int | None) -> None:
    made = layer(0, passes=passes)
    np.testing.assert_array_equal(made.sums(slices), plainly(made, slices))


def test_the_error_leaves_out_results_that_are_the_zero_point() -> None:
    made = replace(layer(1), lowest=-16, highest=15)
    exact = quantise(made.vectors[:, 0].astype(np.int64) @ made.weights[0].astype(np.int64)).astype(int)
    found = quantise(plainly(made, (4, 4))).astype(int)
    for zero in (int(exact[0, 0]), 255):
        counted = exact != zero
        expected = np.abs(found - exact)[counted].mean()
        assert expected > 0
        assert replace(made, zero=zero).error((4, 4)) == pytest.approx(expected)
    nothing = replace(made, quantise=lambda sums: np.full(sums.shape, 7, np.uint8), zero=7)
    assert nothing.error((4, 4)) == 0


class Named(SlicedLayer):
    """A layer whose errors are given."""

    def error(self, slices: tuple[int, ...]) -> float:
        return ERRORS.get(slices, 1.0)


ERRORS: dict[tuple[int, ...], float] = {}


@pytest.mark.parametrize(
    ("errors", "chosen", "tried"),
    [
        ({(4, 4): 0.08, (4, 2, 2): 0.0}, (4, 4), 1),
        ({(4, 4): BUDGET, (4, 2, 2): 0.03, (2, 2, 4): 0.05, (2, 2, 2, 2): 0.0}, (4, 2, 2), 13),
        ({(1,) * 8: 0.5, (2, 2, 2, 2): 0.7}, (1,) * 8, 108),
    ],
)
def test_the_fewest_slices_below_the_budget(
    errors: dict[tuple[int, ...], float], chosen: tuple[int, ...], tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "ERRORS", errors)
    plan = choose_slicing(Named(**vars(layer(0))), all_slicings())
    assert (plan.slices, plan.error, plan.tried) == (chosen, errors[chosen], tried)
    assert sum(len(each) <= len(chosen) for each in all_slicings()) == tried


def test_seeded_noise_is_added_before_clipping() -> None:
    made = layer(2)
    noisy = replace(made, noise=0.1)
    np.testing.assert_array_equal(noisy.sums((4, 4)), replace(made, noise=0.1).sums((4, 4)))
    wide = replace(made, lowest=-(1 << 20), highest=1 << 20)
    exact = made.vectors[:, 0].astype(np.int64) @ made.weights[0].astype(np.int64)
    np.testing.assert_array_equal(wide.sums((4, 4)), exact)
    strayed = replace(wide, noise=0.1).sums((4, 4)) - exact
    assert (strayed != 0).mean() > 0.9
    assert abs(strayed.mean()) < strayed.std()
