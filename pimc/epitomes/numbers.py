"""Which whole numbers an array has, by flags: cells and channels are few and small, and sorting them takes long."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["distinct", "parted", "ranks"]

Array = npt.NDArray[Any]

SPREAD = 8
"""Numbers that may lie between those there are, over these, above which they are sorted after all."""


def distinct(numbers: Array) -> int:
    """How many different numbers there are, negative ones left out."""
    held = _flags(numbers + 1)
    return len(np.unique(numbers[numbers >= 0])) if held is None else int(np.count_nonzero(held[1:]))


def ranks(numbers: Array) -> Array:
    """Each number's place among those there are, from 0 on: their order, without gaps."""
    low = numbers.min(initial=0)
    held = _flags(numbers - low)
    if held is None:
        return np.asarray(np.unique(numbers, return_inverse=True)[1].reshape(numbers.shape))
    return np.asarray((np.cumsum(held, dtype=np.int32) - 1)[numbers - low])


def parted(numbers: Array) -> Iterator[Array]:
    """Places in the flat array of every number that is not negative, the least number first."""
    flat = numbers.reshape(-1)
    if flat.size and flat.min() == flat.max():
        yield from [np.arange(flat.size)] if flat[0] >= 0 else []
        return
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    starts = [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist(), len(ordered)]
    for first, last in pairwise(starts):
        if last > first and ordered[first] >= 0:
            yield order[first:last]


def _flags(numbers: Array) -> Array | None:
    """Which numbers from 0 on there are; None where they lie too far apart."""
    size = int(numbers.max(initial=-1)) + 1
    if size > SPREAD * numbers.size + 1:
        return None
    held = np.zeros(size, bool)
    held[numbers.reshape(-1)] = True
    return held
