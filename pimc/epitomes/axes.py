"""Word lines and columns of epitomes whose sources are known: axes of the sources, as weights move along them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.pack import matrix_of

__all__ = ["Origin", "cells_of"]

Array = npt.NDArray[Any]

ALONG, ACROSS = 64, 8
"""Places along an axis of the weights, and across it, at which it is seen what changes."""


@dataclass(frozen=True)
class Origin:
    """A tensor whose elements are cells: they are numbered from ``first`` on, the last axis first."""

    first: int
    shape: tuple[int, ...]

    def place(self, numbers: Array, axis: int) -> Array:
        """Coordinates of cells along an axis; not by numpy, whose ``unravel_index`` can be wrong (numpy #31980)."""
        return np.asarray((numbers - self.first) // prod(self.shape[axis + 1 :]) % self.shape[axis])


def cells_of(numbers: Array, origins: Sequence[Origin]) -> tuple[tuple[int, int], Array]:
    """Shape (p, q) and cells [O, I, kh, kw] for the ``numbers`` of elements, -1 for none; see `matrix_of`.

    An axis of an origin along which the next output channel lies, more often than the next input of a channel does,
    counts columns; the others count word lines.
    """
    last = max((origin.first + prod(origin.shape) for origin in origins), default=0)
    used = np.zeros(last + 1, bool)
    used[numbers.reshape(-1)] = True
    held = np.flatnonzero(used[:-1])
    part, row, column = (np.zeros(last, np.int32) for _ in range(3))
    steps = list(_steps(numbers))
    for n, origin in enumerate(origins):
        here = slice(origin.first, origin.first + prod(origin.shape))
        if not used[here].any():
            continue
        part[here] = n
        columns = [_follows_outputs(origin, axis, steps) for axis in range(len(origin.shape))]
        row[here] = _counted(origin.shape, [not follows for follows in columns])
        column[here] = _counted(origin.shape, columns)
    shape, cells = matrix_of(part[held], row[held], column[held])
    table = np.full(last + 1, -1, np.int32)
    table[held] = cells
    return shape, table[numbers]


def _counted(shape: tuple[int, ...], axes: Sequence[bool]) -> Array:
    """For every element of a shape its number along these axes, the last one first."""
    counted = [size if held else 1 for size, held in zip(shape, axes, strict=True)]
    numbers = np.arange(prod(counted), dtype=np.int32).reshape(counted)
    return np.broadcast_to(numbers, shape).reshape(-1)


def _steps(numbers: Array) -> Iterator[tuple[Array, Array]]:
    """For each axis of the weights, numbers at some places (all of few), and those one further along it."""
    rng = np.random.default_rng(numbers.shape)
    for axis in range(numbers.ndim):
        if numbers.shape[axis] < 2:
            yield numbers[:0], numbers[:0]
            continue
        sizes = [n - (other == axis) for other, n in enumerate(numbers.shape)]
        some = [np.sort(rng.permutation(n)[: ALONG if other == axis else ACROSS]) for other, n in enumerate(sizes)]
        here = numbers[np.ix_(*some)]
        some[axis] = some[axis] + 1
        yield here, numbers[np.ix_(*some)]


def _follows_outputs(origin: Origin, axis: int, steps: Sequence[tuple[Array, Array]]) -> bool:
    """Whether a coordinate of an origin changes from output to output rather than from input to input."""
    changes = [_changes(origin, axis, here, there) for here, there in steps]
    return changes[0] > max(changes[1:])


def _changes(origin: Origin, axis: int, here: Array, there: Array) -> float:
    """How often a coordinate of an origin's elements is another one there."""
    size = prod(origin.shape)
    both = [(a >= origin.first) & (a < origin.first + size) for a in (here, there)]
    ones, others = (origin.place(a[both[0] & both[1]], axis) for a in (here, there))
    return float(np.count_nonzero(ones != others)) / len(ones) if len(ones) else 0.0
