"""Word lines and columns of epitomes whose sources are known: axes of the sources, as weights move along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.pack import matrix_of

__all__ = ["Origin", "cells_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Origin:
    """A tensor whose elements are cells: they are numbered from ``first`` on, the last axis first."""

    first: int
    shape: tuple[int, ...]


def cells_of(numbers: Array, origins: Sequence[Origin]) -> tuple[tuple[int, int], Array]:
    """Shape (p, q) and cells [O, I, kh, kw] for the ``numbers`` of elements, -1 for none; see `matrix_of`.

    An axis of an origin along which the next output channel lies, more often than the next input of a channel does,
    counts columns; the others count word lines.
    """
    part, row, column = np.full(numbers.shape, -1), np.zeros(numbers.shape, int), np.zeros(numbers.shape, int)
    for n, origin in enumerate(origins):
        held = (numbers >= origin.first) & (numbers < origin.first + prod(origin.shape))
        if not held.any():
            continue
        places = np.unravel_index(np.where(held, numbers - origin.first, 0), origin.shape or (1,))
        part[held] = n
        for place, size in zip(places, origin.shape or (1,), strict=True):
            target = column if _follows_outputs(place, held) else row
            target[held] = target[held] * size + place[held]
    return matrix_of(part, row, column)


def _follows_outputs(place: Array, held: Array) -> bool:
    """Whether a coordinate changes from output to output rather than from input to input."""
    changes = [_changes(place, held, axis) for axis in range(place.ndim)]
    return changes[0] > max(changes[1:])


def _changes(place: Array, held: Array, axis: int) -> float:
    """How often a coordinate changes along an axis of the weights."""
    both = np.take(held, range(1, held.shape[axis]), axis) & np.take(held, range(held.shape[axis] - 1), axis)
    count = np.count_nonzero(both)
    return float(np.count_nonzero((np.diff(place, axis=axis) != 0) & both)) / count if count else 0.0
