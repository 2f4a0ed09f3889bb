"""What a data movement reads for each row of its result: the pieces it copies, and how its rows repeat.

A movement is an index: for every element of the result the number of the element it comes from, counted through all
inputs one after another, or -1 for a fixed value. Everything a compiler wants to know follows from that array.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FIXED", "Piece", "Reach", "Segment", "reach_of"]

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]
Range = tuple[int, int]

FIXED = -1
#: Longest pattern of rows that is looked for.
PERIODS = range(1, 9)


@dataclass(frozen=True)
class Piece:
    """A rectangle of one row: columns and channels of the result, and where it begins in an input (-1: fixed value)."""

    cols: Range
    chans: Range
    source: int
    row: int
    col: int
    chan: int

    def shape_from(self, row: int) -> tuple[object, ...]:
        """Equal for pieces that differ only in the row they read, which is counted from ``row`` here."""
        return self.cols, self.chans, self.source, self.col, self.chan, self.row - row


@dataclass(frozen=True)
class Segment:
    """Rows ``first``, ... of the result in ``times`` repetitions of ``period`` rows.

    From one repetition to the next, input n moves on by ``steps[n]`` rows. ``until[p][n]`` rows of it must be there
    before row p of the first repetition.
    """

    first: int
    period: int
    times: int
    steps: tuple[int, ...]
    until: tuple[tuple[int, ...], ...]


class Reach:
    """An index [rows, columns, channels] into inputs of some shapes."""

    def __init__(self, index: Array, shapes: Sequence[Shape]) -> None:
        self.index, self.shapes = index, tuple(shapes)
        sizes = [h * w * c for h, w, c in shapes]
        starts = np.cumsum([0, *sizes])
        self._source = np.where(index >= 0, np.searchsorted(starts, index, side="right") - 1, FIXED)
        local = index - starts[np.maximum(self._source, 0)]
        at = [np.zeros_like(index) for _ in range(3)]
        for n, (_, w, c) in enumerate(shapes):
            mine = self._source == n
            values = local[mine]
            at[0][mine], at[1][mine], at[2][mine] = values // (w * c), values // c % w, values % c
        self._row, self._col, self._chan = at

    # ---- ranges ----

    def columns(self, source: int, cols: Range) -> Range:
        """Columns of an input that columns of the result read; at least one."""
        first, behind = self._column_extremes[source]
        low, high = int(first[cols[0] : cols[1]].min()), int(behind[cols[0] : cols[1]].max())
        return (low, high) if high else (0, 1)

    def channels(self, source: int, chans: Range) -> Range:
        """Channels of an input that channels of the result read; at least one."""
        return self._range(self._chan[..., chans[0] : chans[1]], self._source[..., chans[0] : chans[1]] == source)

    def _range(self, values: Array, chosen: Array) -> Range:
        found = values[chosen]
        return (int(found.min()), int(found.max()) + 1) if found.size else (0, 1)

    @cached_property
    def _column_extremes(self) -> tuple[tuple[Array, Array], ...]:
        """Of each input: the first column that each column of the result reads, and one behind the last (0: none)."""
        found = []
        for n, (_, width, _) in enumerate(self.shapes):
            mine = self._source == n
            first = np.where(mine, self._col, width).min(axis=(0, 2))
            found.append((first, np.where(mine, self._col + 1, 0).max(axis=(0, 2))))
        return tuple(found)

    @cached_property
    def _extremes(self) -> tuple[tuple[Array, Array], ...]:
        """Of each input: the first row that each row of the result reads, and one behind the last."""
        found = []
        for n, (height, _, _) in enumerate(self.shapes):
            mine = self._source == n
            first = np.where(mine, self._row, height).min(axis=(1, 2))
            last = np.where(mine, self._row + 1, 0).max(axis=(1, 2))
            found.append((first, last))
        return tuple(found)

    @cached_property
    def until(self) -> tuple[tuple[int, ...], ...]:
        """Rows of each input that must be there before each row of the result; as a program waits for them."""
        waits: list[list[int]] = [[] for _ in self.shapes]
        for segment in self.segments:
            for turn in range(segment.times):
                for row in segment.until:
                    for n, (height, _, _) in enumerate(self.shapes):
                        waits[n].append(min(height, row[n] + turn * segment.steps[n]))
        return tuple(tuple(np.maximum.accumulate(w).tolist()) for w in waits)

    def slots(self, source: int) -> int:
        """Rows of an input that are held at once."""
        first, _ = self._extremes[source]
        needed_from = np.minimum.accumulate(first[::-1])[::-1]
        return max(1, int((np.array(self.until[source]) - needed_from).max()))

    # ---- pieces ----

    def pieces(self, row: int, cols: Range, chans: Range) -> tuple[Piece, ...]:
        """The rectangles of a part of a row."""
        block = np.s_[row, cols[0] : cols[1], chans[0] : chans[1]]
        source, at = self._source[block], (self._row[block], self._col[block], self._chan[block])
        fixed = source == FIXED
        follows = (source[:, 1:] == source[:, :-1]) & (at[0][:, 1:] == at[0][:, :-1]) & (at[1][:, 1:] == at[1][:, :-1])
        follows &= (at[2][:, 1:] == at[2][:, :-1] + 1) | fixed[:, 1:]
        beside = (source[1:] == source[:-1]) & (at[0][1:] == at[0][:-1]) & (at[2][1:] == at[2][:-1])
        beside = (beside & ((at[1][1:] == at[1][:-1] + 1) | fixed[1:])).all(axis=1)
        edges = [0, *(np.flatnonzero(~beside) + 1).tolist(), len(source)]
        found = []
        for x0, x1 in itertools.pairwise(edges):
            cuts = [0, *(np.flatnonzero(~follows[x0]) + 1).tolist(), source.shape[1]]
            for c0, c1 in itertools.pairwise(cuts):
                where = tuple(int(a[x0, c0]) for a in at)
                part = (cols[0] + x0, cols[0] + x1), (chans[0] + c0, chans[0] + c1)
                found.append(Piece(*part, int(source[x0, c0]), *where))
        return tuple(found)

    @cached_property
    def _rows(self) -> list[tuple[Piece, ...]]:
        _, w, c = self.index.shape
        return [self.pieces(row, (0, w), (0, c)) for row in range(len(self.index))]

    @cached_property
    def instructions(self) -> int:
        """Copies of a tile that does it all, those of a loop counted once."""
        rows = (row for s in self.segments for row in range(s.first, s.first + s.period))
        return sum(len(self._rows[row]) for row in rows)

    @cached_property
    def row_copies(self) -> int:
        """Most pieces of a row."""
        return max(map(len, self._rows))

    # ---- repetition ----

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The rows in order, as few straight stretches and repetitions as are easily found."""
        found: list[Segment] = []
        row, height = 0, len(self.index)
        straight = row
        while row < height:
            period, times = self._repetition(row)
            if times < 2:
                row += 1
                continue
            found += self._straight(straight, row)
            found.append(self._segment(row, period, times))
            row += period * times
            straight = row
        return (*found, *self._straight(straight, height))

    def _straight(self, first: int, last: int) -> list[Segment]:
        return [self._segment(first, last - first, 1)] if last > first else []

    def _repetition(self, row: int) -> tuple[int, int]:
        """The period from ``row`` on that covers most rows, and how often it repeats."""
        best = (1, 1)
        for period in PERIODS:
            steps = self._steps(row, period)
            times = 1
            while steps is not None and self._is_repeated(row, period, times, steps):
                times += 1
            if times > 1 and period * times > best[0] * best[1]:
                best = (period, times)
        return best

    def _steps(self, row: int, period: int) -> tuple[int, ...] | None:
        """How far each input moves on within one period; None where pieces disagree."""
        if row + 2 * period > len(self.index):
            return None
        steps: dict[int, int] = {}
        for p in range(period):
            one, other = self._rows[row + p], self._rows[row + p + period]
            if len(one) != len(other):
                return None
            for a, b in zip(one, other, strict=True):
                if (
                    a.shape_from(a.row) != b.shape_from(b.row)
                    or steps.setdefault(a.source, b.row - a.row) != b.row - a.row
                ):
                    return None
        found = tuple(steps.get(n, 0) for n in range(len(self.shapes)))
        return found if min(found, default=0) >= 0 else None

    def _is_repeated(self, row: int, period: int, turn: int, steps: tuple[int, ...]) -> bool:
        if row + (turn + 1) * period > len(self.index):
            return False
        for p in range(period):
            one, other = self._rows[row + p], self._rows[row + p + turn * period]
            if len(one) != len(other):
                return False
            for a, b in zip(one, other, strict=True):
                shift = turn * steps[a.source] if a.source >= 0 else 0
                if a.shape_from(a.row) != b.shape_from(b.row) or b.row - a.row != shift:
                    return False
        return True

    def _segment(self, first: int, period: int, times: int) -> Segment:
        steps = self._steps(first, period) if times > 1 else None
        steps = steps or (0,) * len(self.shapes)
        until = []
        for p in range(period):
            waits = []
            for n in range(len(self.shapes)):
                last = self._extremes[n][1][first + p : first + p + period * times : period]
                waits.append(int((last - np.arange(len(last)) * steps[n]).max()))
            until.append(tuple(waits))
        return Segment(first, period, times, steps, tuple(until))


def reach_of(index: Array, shapes: Sequence[Shape]) -> Reach:
    """The reach of an index; equal indexes into equal shapes share one."""
    key = blake2b(np.ascontiguousarray(index).data, digest_size=16).digest(), index.shape, tuple(shapes)
    found = _KNOWN.pop(key, None) or Reach(index, shapes)
    _KNOWN[key] = found  # the last that was asked for is the last to go
    while len(_KNOWN) > KEPT:
        del _KNOWN[next(iter(_KNOWN))]
    return found


#: Reaches that are kept for the next who asks.
KEPT = 256
_KNOWN: dict[tuple[object, ...], Reach] = {}
