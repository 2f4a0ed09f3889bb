"""Options under a budget: against all combinations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import pimc.analysis.budget as module
from pimc.analysis.budget import BudgetError, Option, least_noise


def cases(seed: int, most: int = 30) -> list[list[Option]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, 5)
    return [[Option(int(rng.integers(1, most)), float(rng.integers(0, 12)) / 4) for _ in range(n)] for n in sizes]


def by_hand(layers: list[list[Option]], budget: int) -> float:
    """The least noise of all combinations that fit."""
    fits = (c for c in product(*layers) if sum(o.cost for o in c) <= budget)
    return min(sum(o.noise for o in c) for c in fits)


def total(layers: list[list[Option]], chosen: list[int]) -> tuple[int, float]:
    taken = [options[n] for options, n in zip(layers, chosen, strict=True)]
    return sum(o.cost for o in taken), sum(o.noise for o in taken)


@pytest.mark.parametrize("seed", range(30))
def test_it_is_the_best_of_all_combinations(seed: int) -> None:
    layers = cases(seed)
    least = sum(min(o.cost for o in options) for options in layers)
    for budget in (least, least + 7, least + 40, 1000):
        cost, noise = total(layers, least_noise(layers, budget))
        assert cost <= budget
        assert noise == pytest.approx(by_hand(layers, budget))
    with pytest.raises(BudgetError, match=f"the least is {least}"):
        least_noise(layers, least - 1)


def test_of_equal_noise_the_cheapest_is_taken() -> None:
    assert least_noise([[Option(8, 1.0), Option(5, 1.0), Option(3, 2.0)]], 100) == [1]


def test_large_budgets_are_cut_into_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never above the budget, and near the best."""
    layers = cases(3, 100_000)
    budget = sum(min(o.cost for o in options) for options in layers) + 90_000
    cost, noise = total(layers, least_noise(layers, budget))
    assert cost <= budget
    assert noise == pytest.approx(by_hand(layers, budget))
    monkeypatch.setattr(module, "UNITS", 5)
    for seed in range(40):
        layers = cases(seed, 100_000)
        budget = sum(min(o.cost for o in options) for options in layers) + 70_000
        assert total(layers, least_noise(layers, budget))[0] <= budget
