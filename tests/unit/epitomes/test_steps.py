"""Steps of quantised cells: the error of cells, each as often as it is used, is the error of the weights."""

from __future__ import annotations

import numpy as np
import pytest

from pimc.epitomes.codes import largest_code
from pimc.epitomes.found import Found
from pimc.epitomes.scales import Precision, quantised_cells, quantised_weights
from pimc.epitomes.steps import LARGEST, SQUARES, Cells, codes_of, steps_of


def woven(seed: int, *, factors: bool = True) -> tuple[Found, np.ndarray]:
    """Weights of 6 channels whose cells are used between no and many times, and some that are not stored."""
    rng = np.random.default_rng(seed)
    index = np.minimum(rng.integers(-1, 40, (6, 3, 2, 2)), rng.integers(0, 40, (6, 3, 2, 2))).astype(np.int32)
    factor = rng.uniform(0.2, 3, 6) if factors else np.ones(6)
    found = Found((8, 5), index, factor)
    return found, found.rebuilt(rng.standard_normal((8, 5)).astype(np.float32))


def squares(weights: np.ndarray, made: np.ndarray, scale: np.ndarray) -> float:
    real = made.astype(np.float64) * scale.astype(np.float64).reshape(-1, 1, 1, 1)
    return float(np.square(weights.astype(np.float64) - real).sum())


@pytest.mark.parametrize("fit", [LARGEST, SQUARES])
@pytest.mark.parametrize("bits", [3, 5, 8])
@pytest.mark.parametrize("seed", range(4))
def test_the_error_of_cells_is_that_of_weights(seed: int, bits: int, fit: str) -> None:
    """By loops over weights: each adds the square of its channel's factor to its cell's count."""
    found, weights = woven(seed)
    made = quantised_cells(found, weights, Precision(bits, fit))
    counts = np.zeros(40)
    codes, step = np.zeros(40), np.ones(40)
    for place in np.ndindex(*found.index.shape):
        if (cell := found.index[place]) >= 0:
            counts[cell] += found.factor[place[0]] ** 2
            codes[cell] = made.weights[place]
            step[cell] = made.scale[place[0]] / found.factor[place[0]]
    cells = found.stored(weights.astype(np.float64)).reshape(-1)
    of_cells = float((counts * np.square(cells - codes * step)).sum())
    assert of_cells == pytest.approx(squares(weights, made.weights, made.scale), rel=1e-4)
    assert np.abs(made.weights).max() == largest_code(bits) or fit == SQUARES


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_squares_are_never_worse(bits: int) -> None:
    for seed in range(6):
        found, weights = woven(seed)
        made = (quantised_cells(found, weights, Precision(bits, fit)) for fit in (LARGEST, SQUARES))
        largest, least = (squares(weights, each.weights, each.scale) for each in made)
        assert least <= largest * (1 + 1e-6)


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_squares_are_the_least(bits: int) -> None:
    """Against steps tried one by one."""
    weights = np.random.default_rng(bits).standard_normal((1, 10, 10, 10))
    made = quantised_weights(weights, Precision(bits, SQUARES))
    tried = float(np.abs(weights).max()) / largest_code(bits) * np.linspace(0.2, 1.0, 1000)
    least = min(squares(weights, codes_of(weights, np.array(s), bits), np.full(1, s)) for s in tried)
    assert squares(weights, made.weights, made.scale) <= least * 1.01


def test_cells_that_are_used_often_count_more() -> None:
    """One large cell is cut where the small ones stand for many weights each, and held where they do not."""
    values = np.array([0.1, -0.2, 0.3, 0.25, 4.0])
    often, once = np.array([1e4] * 4 + [1.0]), np.ones(5)
    steps = [steps_of(Cells(values, counts, np.zeros(5, np.int64), 1), 3, SQUARES)[0] for counts in (often, once)]
    assert np.abs(codes_of(values, steps[0], 3)).tolist() == [1, 2, 3, 3, 3]
    assert 3 * steps[1] > 3.9


def test_a_scale_for_each_channel_or_one() -> None:
    weights = np.array([[1.0, -0.5], [0.1, 0.02], [0.0, 0.0]])
    made = quantised_weights(weights, Precision(3))
    assert made.weights.tolist() == [[3, -2], [3, 1], [0, 0]]
    assert np.allclose(made.scale, [1 / 3, 0.1 / 3, 1 / 3])
    one = quantised_weights(weights, Precision(3, per_channel=False))
    assert one.weights.tolist() == [[3, -2], [0, 0], [0, 0]]
    assert np.allclose(one.scale, 1 / 3)
    assert made.snr_db > one.snr_db
