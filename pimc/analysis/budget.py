"""One option for each of several layers, so that the total cost keeps within a budget and the total noise is least.

A multiple-choice knapsack, solved exactly by dynamic programming over the cost: HAWQ-V3 chooses bits of layers by an
integer linear program of the same form (abstract; EPIM's own search is recalled to be HAWQ's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc_isa.errors import PimcError

__all__ = ["BudgetError", "Option", "least_noise"]

Array = npt.NDArray[Any]

UNITS = 20_000
"""Steps of the cost that are told apart; where a budget has more, costs are rounded up to such a step."""


class BudgetError(PimcError):
    """A budget that nothing fits."""


@dataclass(frozen=True)
class Option:
    """What one option costs, a whole number, and the noise that it makes."""

    cost: int
    noise: float


def least_noise(layers: Sequence[Sequence[Option]], budget: int) -> list[int]:
    """The number of the option that each layer takes.

    Of equal noise the one that costs less. Raises BudgetError where all the cheapest options together cost more.
    """
    floors = [min(option.cost for option in options) for options in layers]
    room = budget - sum(floors)
    if room < 0:
        raise BudgetError(f"a budget of {budget} is too small: the least is {sum(floors)}\ngive at least that")
    unit = max(1, ceil(room / UNITS))
    best, taken = np.zeros(room // unit + 1), []
    for options, floor in zip(layers, floors, strict=True):
        best, number = _with_layer(best, [Option(-((floor - o.cost) // unit), o.noise) for o in options])
        taken.append(number)
    left, chosen = len(best) - 1, list[int]()
    for options, floor, number in reversed(list(zip(layers, floors, taken, strict=True))):
        pick = int(number[left])
        left += (floor - options[pick].cost) // unit
        chosen.append(pick)
    return chosen[::-1]


def _with_layer(best: Array, options: Sequence[Option]) -> tuple[Array, Array]:
    """Least noise for every room with one layer more, and the option that this layer takes then."""
    found, number = np.full(len(best), np.inf), np.zeros(len(best), np.uint8)
    for n in sorted(range(len(options)), key=lambda n: (options[n].cost, n)):
        cost, noise = options[n].cost, options[n].noise
        if cost >= len(best):
            continue
        made = np.full(len(best), np.inf)
        made[cost:] = best[: len(best) - cost] + noise
        better = made < found
        found[better], number[better] = made[better], n
    return found, number
