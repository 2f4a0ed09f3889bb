"""Scales of blocks that differ by powers of two: int8 weights that are multiples, errors with and without."""

from __future__ import annotations

import numpy as np
import pytest

from pimc.epitomes.codes import largest_code
from pimc.epitomes.found import Found
from pimc.epitomes.scales import Precision, quantised_cells, quantised_weights
from pimc.epitomes.shifts import Blocks, places_of
from pimc.epitomes.steps import LARGEST, SQUARES


def uneven(seed: int) -> np.ndarray:
    """Weights [8, 6, 3, 3] whose rows are smaller the further down they are."""
    rng = np.random.default_rng(seed)
    size = np.exp2(-np.linspace(0, 3.5, 54)).reshape(3, 3, 6).transpose(2, 0, 1)
    return rng.standard_normal((8, 6, 3, 3)) * size


def by_rows(weights: np.ndarray) -> np.ndarray:
    """As crossbars hold them: kernel positions, then channels, down; outputs across."""
    return weights.transpose(2, 3, 1, 0).reshape(54, 8)


def error(weights: np.ndarray, how: Precision) -> float:
    made = quantised_weights(weights, how)
    return float(np.square(weights - made.weights * made.scale.astype(np.float64).reshape(-1, 1, 1, 1)).sum())


@pytest.mark.parametrize("fit", [LARGEST, SQUARES])
@pytest.mark.parametrize("bits", [3, 5, 7, 8])
def test_a_block_holds_few_bits_times_a_power_of_two(bits: int, fit: str) -> None:
    for seed in range(4):
        made = by_rows(quantised_weights(uneven(seed), Precision(bits, fit, blocks=Blocks(16, 3))).weights)
        shifts = set()
        for row in range(0, 54, 16):
            for column in range(0, 8, 3):
                block = made[row : row + 16, column : column + 3].astype(np.int64)
                fits = [
                    k
                    for k in range(9 - bits)
                    if not (block % 2**k).any() and abs(block).max() <= largest_code(bits) << k
                ]
                assert fits
                shifts.add(fits[0])
        assert len(shifts) > 1 or bits >= 7


@pytest.mark.parametrize("fit", [LARGEST, SQUARES])
def test_errors_with_and_without(fit: str) -> None:
    """Never more; much less where blocks differ; the same at 8 bits, where int8 has no room."""
    for seed in range(4):
        weights = uneven(seed)
        for bits, least in ((3, 1.2), (5, 1.3), (7, 1.05), (8, 1.0)):
            without, with_ = (
                error(weights, Precision(bits, fit)),
                error(weights, Precision(bits, fit, blocks=Blocks(16, 8))),
            )
            assert with_ * least <= without
            assert with_ == without or bits < 8


def test_cells_of_an_epitome_count_as_often_as_they_are_used() -> None:
    """A small cell that a thousand weights are decides the shift of its block, a large one is cut for it."""
    index = np.array([[0] * 1000 + [1]], np.int32)
    cells = np.array([[0.13], [1.0]])
    how = Precision(3, blocks=Blocks(2, 1))
    for used, small in ((index, 3), (index[:, -2:], 0)):
        found = Found((2, 1), used, np.ones(1))
        made = quantised_cells(found, found.rebuilt(cells), how)
        real = made.weights * made.scale[:, None]
        assert round(float(real[0, 0]) * 24) == small
        assert real[0, -1] == pytest.approx(0.125 if small else 1.0)


def test_places_are_those_of_crossbars() -> None:
    row, column = places_of((8, 6, 3, 3))
    rows = np.empty((54, 8), np.int64)
    rows[row, column] = np.arange(8 * 54)
    np.testing.assert_array_equal(rows, by_rows(np.arange(8 * 54).reshape(8, 6, 3, 3)))
    assert [x.tolist() for x in places_of((2, 3))] == [[0, 1, 2] * 2, [0] * 3 + [1] * 3]
    np.testing.assert_array_equal(
        np.unique(Blocks(16, 3).of(row, column), return_counts=True)[1], [48, 48, 32] * 3 + [18, 18, 12]
    )
