"""Weights of an epitome into which a factor for each output channel was folded, as batch normalisation is.

Neighbours of one channel keep their ratio. Windows of ratios that repeat say which channels are multiples of each other
where; the quotients make one factor for each channel, and without it equal weights are equal again but for rounding.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.windows import Repeats

__all__ = ["Scaled", "scaled"]

Array = npt.NDArray[Any]

TOLERANCE = 2.0**-19
"""Relative: weights, factors and their products are rounded at 2**-24 each."""

DROPPED = 9
"""Lowest bits of a 32-bit float that rounding may change."""

AGREEING = 3
"""Windows that must agree on the quotient of two channels."""


@dataclass(frozen=True, eq=False)
class Scaled:
    """``weights`` f64 without the ``factor`` [O] of output channels; ``codes`` are equal where they nearly are."""

    weights: Array
    factor: Array
    codes: Array
    tolerance: float = TOLERANCE


def scaled(weights: Array) -> Scaled | None:
    """Take factors of output channels off float weights [O, I, kh, kw]; None where ratios do not repeat."""
    if weights.shape[1] < 2:
        return None
    with np.errstate(all="ignore"):
        ratios = (weights[:, 1:] / weights[:, :-1]).astype(np.float32)
    ratios[~np.isfinite(ratios)] = 0
    repeats = Repeats(_codes(ratios))
    if not repeats.any:
        return None
    factor = _factors(weights.astype(np.float64), repeats)
    if (factor == 1).all():
        return None
    plain = weights.astype(np.float64) / factor.reshape(-1, 1, 1, 1)
    return Scaled(plain, factor, _codes(plain.astype(np.float32)))


def _codes(values: Array) -> Array:
    """Floats without the bits that rounding changes, as whole numbers."""
    half = np.uint64(1 << (DROPPED - 1))
    plain = np.ascontiguousarray(values + np.float32(0))
    return (plain.view(np.uint32).astype(np.uint64) + half) >> np.uint64(DROPPED)


def _factors(weights: Array, repeats: Repeats) -> Array:
    """A factor for each output channel, 1 for the first of those that belong together."""
    quotients: dict[int, list[tuple[int, float, int]]] = defaultdict(list)
    for a, b, quotient, count in _quotients(weights, repeats):
        quotients[a].append((b, quotient, count))
        quotients[b].append((a, 1 / quotient, count))
    factor = np.zeros(len(weights))
    for first in range(len(weights)):
        if factor[first]:
            continue
        factor[first] = 1
        pending = deque([first])
        while pending:
            a = pending.popleft()
            for b, quotient, _ in sorted(quotients[a], key=lambda q: (-q[2], q[0])):
                if not factor[b]:
                    factor[b] = factor[a] * quotient
                    pending.append(b)
    return factor


def _quotients(weights: Array, repeats: Repeats) -> list[tuple[int, int, float, int]]:
    """Pairs of channels, how many times the first the second is, and how many windows agree."""
    first, second = repeats.pairs
    other = first[:, 0] != second[:, 0]
    first, second = first[other], second[other]
    here, there = weights[tuple(first.T)], weights[tuple(second.T)]
    fine = (here != 0) & (there != 0)
    first, second, quotient = first[fine], second[fine], there[fine] / here[fine]
    key = first[:, 0] * len(weights) + second[:, 0]
    order = np.lexsort((quotient, key))
    key, quotient = key[order], quotient[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    found = []
    for low, high in itertools.pairwise([*starts.tolist(), len(key)]):
        middle = float(quotient[(low + high) // 2])
        agree = int(np.count_nonzero(np.abs(quotient[low:high] - middle) <= TOLERANCE * abs(middle)))
        if agree >= AGREEING and 2 * agree > high - low:
            found.append((int(key[low]) // len(weights), int(key[low]) % len(weights), middle, agree))
    return found
