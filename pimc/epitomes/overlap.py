"""Where a displacement maps weights to equal ones, and at which channels the blocks begin that it moves as a whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.windows import Vote

__all__ = ["Overlap", "blocks_of_zeros", "closed", "cuts_of", "overlap_of"]

Array = npt.NDArray[Any]

MOST_CUTS = 512
"""Blocks along an axis; weights with more are no epitome in blocks."""
MOST_CLOSED = 96
"""Cuts along an axis that images of cuts may add up to."""
ZEROS = 8
"""Channels that are 0 next to each other, in both directions, to be a block."""
MARGIN = 8
"""Channels around a vote's box that are looked at too: sampled windows do not reach its edges."""


@dataclass(frozen=True, eq=False)
class Overlap:
    """Which channels are equal to those ``by`` further: ``equal`` [outputs, inputs] from ``corner`` on, at all taps.

    ``bits`` is what the equality of one pair of channels says.
    """

    by: tuple[int, int, int, int]
    corner: tuple[int, int]
    equal: Array
    bits: float


def overlap_of(values: Array, tolerance: float, entropy: float, vote: Vote) -> Overlap:
    """Compare the values [O, I, kh, kw] in and around a vote's box with those that it is moved to."""
    spans, corner = [], []
    for axis, (first, last) in enumerate((vote.outputs, vote.inputs)):
        n, d = values.shape[axis], vote.by[axis]
        low, high = max(0, -d, first - MARGIN), min(n, n - d, last + MARGIN + 2 * MARGIN)
        corner.append(low)
        spans.append((slice(low, high), slice(low + d, high + d)))
    for axis in (2, 3):
        n, d = values.shape[axis], vote.by[axis]
        spans.append((slice(max(0, -d), min(n, n - d)), slice(max(0, d), min(n, n + d))))
    here, there = (values[tuple(span[side] for span in spans)] for side in (0, 1))
    equal = here == there if not tolerance else np.abs(here - there) <= tolerance * np.abs(here)
    taps = here.shape[2] * here.shape[3]
    return Overlap(vote.by, (corner[0], corner[1]), equal.all(axis=(2, 3)), taps * entropy)


def cuts_of(overlaps: Sequence[Overlap], zeros: Array, axis: int, least_bits: float, *, few: bool) -> Array:
    """Where blocks begin along outputs (0) or inputs (1), with 0 and the number of these.

    A run of equal channels ends where a block does, at its own end or at that of its image: a ``few`` cuts explain all
    ends (a vertex cover, greedy), or there are cuts at both. A run longer than its displacement repeats itself: it is
    cut there. Stretches of ``zeros`` [outputs, inputs] are blocks of their own.
    """
    size = zeros.shape[axis]
    empty = [at for at, _ in _ends(np.moveaxis(zeros, axis, 0), ZEROS)]
    ends: dict[tuple[int, int], int] = {}
    apart: list[tuple[int, int]] = []
    for overlap in overlaps:
        by, corner = overlap.by[axis], overlap.corner[axis]
        runs, least = _runs(overlap, axis, least_bits)
        found = _ends(runs, least)
        pairs = [((corner + at, corner + at + by), count) for at, count in found]
        if by and _is_cut_along(overlap, axis):
            wholes = _wholes(runs, [at for at, _ in found])
            pairs += [((corner + at, corner + at), 1) for at in _periods(wholes, abs(by))]
            apart += [(corner + first + min(by, 0), corner + last + max(by, 0)) for first, last in wholes]
        for pair, count in pairs:
            if not {0, size} & set(pair):
                ends[pair] = ends.get(pair, 0) + count
    chosen = {0, size, *empty, *(_cover(ends) if few else [at for pair in ends for at in pair if 0 < at < size])}
    for first, last in apart:  # a run and its image, with no cut in between yet
        if len(chosen) < MOST_CUTS and not any(first < cut < last for cut in chosen):
            chosen.add((first + last) // 2)
    return np.array(sorted(chosen))


def closed(cuts: Array, overlaps: Sequence[Overlap], axis: int) -> Array:
    """The cuts and all that they are moved to, over and over; as they are where that makes many.

    Blocks that repeat with a period, but out of step from channel to channel, are cut alike only so.
    """
    size, found, pending = int(cuts[-1]), set(cuts.tolist()), cuts.tolist()
    steps = {step for overlap in overlaps if (step := overlap.by[axis])}
    while pending:
        cut = pending.pop()
        for at in {cut + step for step in steps} | {cut - step for step in steps}:
            if 0 < at < size and at not in found:
                found.add(at)
                pending.append(at)
        if len(found) > MOST_CLOSED:
            return cuts
    return np.array(sorted(found))


def blocks_of_zeros(values: Array) -> Array:
    """Where [outputs, inputs] all taps of values [O, I, kh, kw] are 0, and so are they at many next to it."""
    zeros = np.asarray(~values.any(axis=(2, 3)))
    if not zeros.any():
        return zeros
    return _long_runs(zeros, ZEROS) & _long_runs(zeros.T, ZEROS).T


def _runs(overlap: Overlap, axis: int, least_bits: float) -> tuple[Array, int]:
    """Channels [along the axis, across] that are in long runs along the other axis, and how long those must be.

    Chance prolongs a run of low-bit weights along the axis, but not many next to each other.
    """
    least = int(np.ceil(least_bits / overlap.bits))
    across = np.moveaxis(overlap.equal, axis, 0)
    if across.shape[1] >= least:
        return _long_runs(across, least), least
    return _long_runs(across.T, least).T, 1


def _ends(runs: Array, least: int) -> list[tuple[int, int]]:
    """Where at least so many runs begin or end at once; what is behind the first and last channel is not known."""
    counts = np.zeros(len(runs) + 1, np.int64)
    counts[1:-1] = np.count_nonzero(runs[1:] != runs[:-1], axis=1)
    return [(int(at), int(counts[at])) for at in np.flatnonzero(counts >= least)]


def _is_cut_along(overlap: Overlap, axis: int) -> bool:
    """Whether runs and their images are kept apart along this axis: that of the longer displacement."""
    by, other = abs(overlap.by[axis]), abs(overlap.by[1 - axis])
    return not other or (overlap.equal.shape[1 - axis] > other and (by > other or (by == other and axis == 0)))


def _wholes(runs: Array, ends: Sequence[int]) -> list[tuple[int, int]]:
    """Stretches between ends in which every channel is in some run."""
    held = np.asarray(runs.any(axis=1))
    return [(a, b) for a, b in itertools.pairwise([0, *ends, len(runs)]) if b > a and held[a:b].all()]


def _periods(wholes: Sequence[tuple[int, int]], period: int) -> Iterator[int]:
    """Multiples of the period in stretches that are longer, and one behind each."""
    for first, last in wholes:
        if last - first > period:
            yield from range(first, last + period, period)


def _long_runs(equal: Array, least: int) -> Array:
    """Entries of rows that are in runs of at least so many."""
    if least <= 1:
        return equal
    if equal.shape[1] < least:
        return np.zeros_like(equal)
    whole = _narrowed(equal, least)
    found = np.zeros_like(equal)
    found[:, : whole.shape[1]] = whole
    reach = 1
    while reach < least:  # each entry of a run that starts here, in steps that double
        step = min(reach, least - reach)
        found[:, step:] |= found[:, :-step].copy()
        reach += step
    return found


def _narrowed(equal: Array, least: int) -> Array:
    """Where runs of at least so many start, or go on for so many more."""
    whole, held = equal, 1
    while held < least:
        step = min(held, least - held)
        whole = whole[:, :-step] & whole[:, step:]
        held += step
    return whole


def _cover(ends: dict[tuple[int, int], int]) -> set[int]:
    """Numbers of which each pair has one, those in most pairs first; `MOST_CUTS` at most."""
    partners: dict[int, dict[int, int]] = {}
    for (a, b), count in ends.items():
        partners.setdefault(a, {})[b] = count
        partners.setdefault(b, {})[a] = count
    weight = {number: sum(others.values()) for number, others in partners.items()}
    chosen: set[int] = set()
    while len(chosen) < MOST_CUTS:
        best = max(weight, key=lambda number: (weight[number], -number), default=0)
        if not weight.get(best):
            break
        chosen.add(best)
        weight[best] = 0
        for other, count in partners[best].items():
            if other not in chosen:
                weight[other] -= count
    return chosen
