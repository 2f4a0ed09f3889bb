"""Where weights repeat: windows of several values that are equal, and the displacements that they vote for.

A value alone says little: 32-bit numbers are equal by chance in large layers, 8-bit ones everywhere (EPIM notes, 8.3,
measured). So windows are as long as it takes for chance to be improbable, by the entropy of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BITS", "LONGEST", "REPEATED", "Repeats", "Vote", "entropy_of"]

Array = npt.NDArray[Any]

BITS = 32
"""Of evidence: how improbable it is, in powers of two, that values are equal by chance."""

SAMPLE = 1 << 16
"""About so many windows are looked at: those whose hash ends in zeros, so that equal ones are chosen alike."""

VALUES = 1 << 13
"""About so many values are looked at for their entropy."""
LONGEST = 24
REPEATED = 0.04
"""Share of windows that repeat, below which nothing is searched."""

_RNG = np.random.default_rng(20231112)
_ODD = _RNG.integers(0, 2**63, LONGEST, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_FIRST = int(_RNG.integers(0, 2**63)) * 2 + 1


@dataclass(frozen=True)
class Vote:
    """A displacement (outputs, inputs, kernel rows, columns), and the box of outputs and inputs it was seen in."""

    by: tuple[int, int, int, int]
    count: int
    outputs: tuple[int, int]
    inputs: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Repeats:
    """Repetitions in values [O, I, kh, kw], by ``codes``: unsigned numbers, equal where values are (nearly) equal."""

    codes: Array

    @cached_property
    def entropy(self) -> float:
        """Bits that it says of two values that they are equal, 0 to 20."""
        return entropy_of(self._some, 0.01, 20)

    @cached_property
    def _some(self) -> Array:
        """Values from all over."""
        flat = self.codes.reshape(-1)
        return flat[:: max(1, flat.size // VALUES)]

    @cached_property
    def length(self) -> int:
        """Values in a window."""
        return int(np.clip(np.ceil(BITS / self.entropy), 2, LONGEST))

    @property
    def any(self) -> bool:
        """Whether enough windows repeat for a search; quick, for it is all that most layers need."""
        return any(_has_repeats(h) for h, _ in self._sampled)

    def votes(self, most: int) -> list[Vote]:
        """Displacements between windows that repeat, the most frequent first."""
        first, second = self.pairs
        moved = second - first
        if not len(moved):
            return []
        _, number, counts = np.unique(_keys(moved), return_inverse=True, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:most]
        by_vote = np.argsort(number, kind="stable")
        ends = np.cumsum(counts)
        found = []
        for n in order:
            at = by_vote[ends[n] - counts[n] : ends[n]]
            box = [(int(first[at, axis].min()), int(first[at, axis].max()) + 1) for axis in (0, 1)]
            a, b, u, v = (int(x) for x in moved[at[0]])
            found.append(Vote((a, b, u, v), int(counts[n]), box[0], box[1]))
        return found

    @cached_property
    def pairs(self) -> tuple[Array, Array]:
        """Positions [n, 4] of equal windows, each with those of the next one that is equal."""
        first, second = (np.concatenate(ends) for ends in zip(*self._pairs(), strict=True))
        return first, second

    def _pairs(self) -> Iterator[tuple[Array, Array]]:
        for hashes, positions in self._sampled:
            order = np.argsort(hashes, kind="stable")
            same = hashes[order[1:]] == hashes[order[:-1]]
            yield positions[order[:-1][same]], positions[order[1:][same]]
        yield np.zeros((0, 4), np.int64), np.zeros((0, 4), np.int64)

    @cached_property
    def _sampled(self) -> list[tuple[Array, Array]]:
        """Hashes of windows along inputs and along outputs, with their positions."""
        return [self._along(axis) for axis in (1, 0) if self.codes.size and self.codes.shape[axis] >= self.length]

    def _along(self, axis: int) -> tuple[Array, Array]:
        """Hashes and positions of windows along an axis, without those of one value.

        Of many windows, first those are taken that begin with one of some values: most are never hashed.
        """
        stride = prod(self.codes.shape[axis + 1 :])
        shape = list(self.codes.shape)
        shape[axis] -= self.length - 1
        flat = np.ascontiguousarray(self.codes).reshape(-1)
        starts = self.codes[tuple(map(slice, shape))]
        rank, last = self._first_values(SAMPLE / starts.size)
        at = np.unravel_index(np.flatnonzero(rank(starts) <= last), shape)
        first = np.ravel_multi_index(at, self.codes.shape)
        windows = [flat[first + n * stride] for n in range(self.length)]
        hashes = np.zeros(len(first), np.uint64)
        varied = np.zeros(len(first), bool)
        for value, odd in zip(windows, _ODD, strict=False):
            hashes += value.astype(np.uint64) * odd
            varied |= value != windows[0]
        hashes ^= hashes >> np.uint64(31)
        hashes *= _ODD[0]
        hashes ^= hashes >> np.uint64(29)
        mask = np.uint64((1 << max(0, int(np.log2(max(1, hashes.size) / SAMPLE)))) - 1)
        chosen = varied & ((hashes & mask) == 0)
        return hashes[chosen], np.stack([along[chosen] for along in at], axis=1)

    def _first_values(self, share: float) -> tuple[Callable[[Array], Array], Any]:
        """An order of values without sense, and where it ends for about a ``share`` of them; 0 comes last."""
        kind = self.codes.dtype.type

        def rank(values: Array) -> Array:
            return np.asarray(values * kind(_FIRST & np.iinfo(kind).max) - kind(1))

        order = np.sort(rank(self._some))
        return rank, order[min(len(order) - 1, int(len(order) * share))]


def entropy_of(values: Array, least: float, most: float) -> float:
    """Bits, in these bounds, that it says of two of the values that they are equal."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    n = max(2, len(values))
    return float(np.clip(-np.log2(max((counts * (counts - 1)).sum() / (n * (n - 1)), 2.0**-most)), least, most))


def _has_repeats(hashes: Array) -> bool:
    """Whether enough of them are equal to others."""
    ordered = np.sort(hashes)
    return bool(len(hashes) > (np.count_nonzero(np.diff(ordered)) + 1) * (1 + REPEATED))


def _keys(vectors: Array) -> Array:
    """One number for each row."""
    spans = np.abs(vectors).max(axis=0, initial=0) * 2 + 1
    key = np.zeros(len(vectors), np.int64)
    for axis in range(vectors.shape[1]):
        key = key * int(spans[axis]) + vectors[:, axis] + int(spans[axis]) // 2
    return key
