"""Centres of RAELLA: equation 2 against brute force, ties, extremes, and the example of the authors' talk."""

from __future__ import annotations

import numpy as np
import pytest

from pimc_isa.crossbar.cells import Cells, decode, encode_differential
from pimc_isa.crossbar.centres import best_centres
from pimc_isa.operands import Weights

Array = np.ndarray
SLICINGS = ((4, 4), (2, 2, 4), (1,) * 8, (3, 2, 3), (4, 1, 3))  # low bits first


def cost(column: Array, slices: tuple[int, ...], centre: int) -> int:
    """Equation 2 as it stands, in Python's integers."""
    total, low = 0, 0
    for width in slices:
        fields = [(abs(int(w) - centre) >> low & (1 << width) - 1) * (1 if w >= centre else -1) for w in column]
        total += 2**low * sum(fields) ** 4
        low += width
    return total


@pytest.mark.parametrize("slices", SLICINGS)
@pytest.mark.parametrize("seed", range(3))
def test_the_least_cost_and_of_those_the_nearest_to_the_mean(slices: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = np.clip(rng.normal(rng.integers(-60, 60), 25, (1, 40, 4)), -128, 127).astype(np.int8)
    found = best_centres(weights, slices, 16)
    assert found.shape == (1, 3, 4)
    for block, first in enumerate((0, 16, 32)):
        for n in range(4):
            column = weights[0, first : first + 16, n]
            costs = {c: cost(column, slices, c) for c in range(-127, 128)}
            best = [c for c, value in costs.items() if value == min(costs.values())]
            assert found[0, block, n] == min(best, key=lambda c: (abs(c - column.mean()), c))


def test_equal_weights_are_their_own_centre() -> None:
    for value in (-127, -3, 0, 90, 127):
        weights = np.full((1, 8, 2), value, np.int8)
        assert (best_centres(weights, (2, 2, 4), 8) == value).all()
    assert (best_centres(np.full((1, 8, 1), -128, np.int8), (2, 2, 4), 8) == -127).all()


def test_the_extreme_is_exact() -> None:
    """512 rows of 255: sums of 512 * 15 to the fourth power, times 2**4, in 64 bits; |w - c| up to 254 in the cells."""
    weights = np.full((1, 512, 1), 127, np.int8)
    weights[0, :300] = -128
    slices = (4, 4)
    found = int(best_centres(weights, slices, 512)[0, 0, 0])
    column = weights[0, :, 0]
    assert cost(column, slices, found) == min(cost(column, slices, c) for c in range(-127, 128))
    edge = encode_differential(weights, slices, 512, centre=np.full((1, 1, 1), 127))
    assert edge.codes.min() == -255
    held = Weights("w", 1, 512, 1, 512, slices, True)
    assert (decode(edge, held) == weights).all()
    x = np.full((1, 512), 255, np.int64)
    exact = x @ weights[0].astype(np.int64)
    assert ((x @ edge.codes[0].astype(np.int64)) + x.sum() * 127 == exact).all()
    assert abs(x @ edge.codes[0].astype(np.int64)).max() > 1 << 24, "beyond what float32 holds"


@pytest.mark.parametrize("slices", [(4, 4), (2, 2, 4)])
def test_columns_whose_costs_outgrow_64_bits(slices: tuple[int, ...]) -> None:
    """Costs are real numbers there: the centre is the best as far as these tell."""
    weights = np.clip(np.random.default_rng(7).normal(-20, 30, (1, 3000, 3)), -128, 127).astype(np.int8)
    for n, found in enumerate(best_centres(weights, slices, 3000)[0, 0].tolist()):
        costs = {c: cost(weights[0, :, n], slices, c) for c in range(-127, 128)}
        assert max(costs.values()) > 1 << 62
        assert costs[found] == pytest.approx(min(costs.values()), rel=1e-12)


def test_the_example_of_the_talk() -> None:
    """Weights 15, 10, 14 with centre 13 are 2, -3, 1; inputs 4, 2, 1: 91 + 3."""
    weights = np.array([15, 10, 14]).reshape(1, 3, 1)
    cells: Cells = encode_differential(weights, (2, 2, 4), 3, centre=np.full((1, 1, 1), 13))
    assert cells.codes.ravel().tolist() == [2, -3, 1]
    x = np.array([4, 2, 1])
    assert x.sum() * 13 == 91
    assert x @ cells.codes[0, :, 0] == 3


def test_a_centre_that_leaves_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        encode_differential(np.full((1, 2, 1), 100), (2, 2, 3), 2, centre=np.full((1, 1, 1), -100))
