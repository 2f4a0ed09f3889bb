"""What a buffer holds, as pieces of computed values: the algebra behind lifting and sharing.

A *value* is what one computing instruction (or several merged ones) writes over all rows; it covers a box in absolute
row, column and channel numbers. Moves (send, recv, copy) compute nothing: they only say which piece of which value
lies where.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pimc_isa.operands import Range

__all__ = [
    "Box",
    "Content",
    "ContentPiece",
    "content_key",
    "coverage",
    "extent",
    "moved",
    "overlay",
    "rows_identity",
    "shifted_rows",
    "unite",
]

Array = np.ndarray
Box = tuple[Range, Range, Range]  # rows, columns, channels
Key = tuple[int, int, int, Range, Range, bytes]


@dataclass(frozen=True, eq=False)
class ContentPiece:
    """Columns and channels of some rows, taken from value ``value``.

    ``rows[r]`` is the value's absolute row that row r holds, -1 where this piece holds nothing; the value's column is
    the piece's plus ``dcol``, and so for channels.
    """

    rows: Array
    cols: Range
    chans: Range
    value: int
    dcol: int = 0
    dchan: int = 0

    @property
    def key(self) -> Key:
        """Equal for equal pieces."""
        return (self.value, self.dcol, self.dchan, self.cols, self.chans, self.rows.tobytes())


Content = tuple[ContentPiece, ...]  # later pieces lie over earlier ones


def rows_identity(height: int, rows: Array) -> Array:
    """A row map of ``height`` rows in which each of ``rows`` is itself."""
    return shifted_rows(height, rows, rows)


def shifted_rows(height: int, rows: Array, sources: Array) -> Array:
    """A row map in which ``rows[n]`` comes from ``sources[n]``."""
    result = np.full(height, -1, np.int32)
    result[rows] = sources
    return result


def content_key(content: Content) -> tuple[Key, ...]:
    """Equal for equal contents."""
    return tuple(p.key for p in content)


def moved(content: Content, rows: Array, cols: Range, chans: Range, dcol: int, dchan: int) -> Content:
    """The content of a place whose row r is row ``rows[r]`` (-1: none) of ``content``, columns and channels shifted."""
    result = []
    for p in content:
        inside_cols = _intersect(cols, (p.cols[0] - dcol, p.cols[1] - dcol))
        inside_chans = _intersect(chans, (p.chans[0] - dchan, p.chans[1] - dchan))
        if inside_cols is None or inside_chans is None:
            continue
        there = (rows >= 0) & (rows < len(p.rows))
        through = np.where(there, p.rows[np.where(there, rows, 0)], -1).astype(np.int32)
        if (through >= 0).any():
            result.append(ContentPiece(through, inside_cols, inside_chans, p.value, p.dcol + dcol, p.dchan + dchan))
    return overlay(result)


def overlay(pieces: Iterable[ContentPiece]) -> Content:
    """Drop what later pieces hide, then join neighbours that come from the same value in the same way."""
    visible = _visible(list(pieces))
    joined = unite(visible) if len(visible) > 1 else visible
    return tuple(visible if joined is None else joined)


def unite(pieces: list[ContentPiece]) -> Content | None:
    """Join pieces that agree where they overlap, in a fixed order; None where two of them contradict each other."""
    groups: dict[tuple[int, int, int], dict[Key, ContentPiece]] = {}
    for p in pieces:
        groups.setdefault((p.value, p.dcol, p.dchan), {})[p.key] = p
    result: list[ContentPiece] = []
    for group in groups.values():
        joined = _unite_group(list(group.values()))
        if joined is None:
            return None
        result += joined
    if len(groups) > 1 and not _disjoint_groups(result):
        return None
    return tuple(sorted(result, key=lambda p: p.key))


def extent(content: Content) -> Box:
    """The smallest box around everything held."""
    held = np.flatnonzero(np.any([p.rows >= 0 for p in content], axis=0))
    cols = (min(p.cols[0] for p in content), max(p.cols[1] for p in content))
    chans = (min(p.chans[0] for p in content), max(p.chans[1] for p in content))
    return (int(held[0]), int(held[-1]) + 1), cols, chans


def coverage(content: Content, cols: Range, chans: Range, height: int) -> Array:
    """How many elements of columns x channels each row holds (for disjoint pieces)."""
    held = np.zeros(height, np.int64)
    for p in content:
        inside_cols, inside_chans = _intersect(cols, p.cols), _intersect(chans, p.chans)
        if inside_cols and inside_chans:
            held += (p.rows >= 0) * (_length(inside_cols) * _length(inside_chans))
    return held


def _length(r: Range) -> int:
    return r[1] - r[0]


def _intersect(a: Range, b: Range) -> Range | None:
    first, last = max(a[0], b[0]), min(a[1], b[1])
    return (first, last) if first < last else None


def _hides(over: ContentPiece, under: ContentPiece) -> bool:
    """Whether ``over`` holds everything that ``under`` holds."""
    within = over.cols[0] <= under.cols[0] and under.cols[1] <= over.cols[1]
    within = within and over.chans[0] <= under.chans[0] and under.chans[1] <= over.chans[1]
    return within and not ((under.rows >= 0) & (over.rows < 0)).any()


def _visible(pieces: list[ContentPiece]) -> list[ContentPiece]:
    if len(pieces) > 1 and _paint(pieces, once=True) is not None:  # the usual case needs no pairwise look
        return pieces
    return [p for n, p in enumerate(pieces) if not any(_hides(q, p) for q in pieces[n + 1 :])]


def _paint(pieces: list[ContentPiece], once: bool) -> tuple[Array, list[int], list[int]] | None:
    """Which elements are held, on the grid of column and channel cuts; None where ``once`` and one is held twice."""
    cols = sorted({c for p in pieces for c in p.cols})
    chans = sorted({c for p in pieces for c in p.chans})
    at_col = {c: n for n, c in enumerate(cols)}
    at_chan = {c: n for n, c in enumerate(chans)}
    painted = np.zeros((len(cols) - 1, len(chans) - 1, len(pieces[0].rows)), bool)
    for p in pieces:
        area = painted[at_col[p.cols[0]] : at_col[p.cols[1]], at_chan[p.chans[0]] : at_chan[p.chans[1]]]
        held = p.rows >= 0
        if once and (area & held).any():
            return None
        area |= held
    return painted, cols, chans


def _unite_group(pieces: list[ContentPiece]) -> list[ContentPiece] | None:
    """Pieces of one value at one offset: one piece where they fill a box; None where their row maps disagree."""
    if len(pieces) == 1:
        return pieces
    rows = np.max([p.rows for p in pieces], axis=0)
    if any(((p.rows >= 0) & (p.rows != rows)).any() for p in pieces):
        return pieces if _paint(pieces, once=True) is not None else None
    grid = _paint(pieces, once=False)
    assert grid is not None
    painted, cols, chans = grid
    if (painted == (rows >= 0)).all():
        first = pieces[0]
        return [ContentPiece(rows, (cols[0], cols[-1]), (chans[0], chans[-1]), first.value, first.dcol, first.dchan)]
    return pieces


def _disjoint_groups(pieces: list[ContentPiece]) -> bool:
    """Whether pieces of different values or offsets never hold the same element."""
    if _paint(pieces, once=True) is not None:
        return True
    groups: dict[tuple[int, int, int], list[ContentPiece]] = {}
    for p in pieces:
        groups.setdefault((p.value, p.dcol, p.dchan), []).append(p)
    lists = list(groups.values())
    return all(not _overlap(p, q) for n, a in enumerate(lists) for b in lists[n + 1 :] for p in a for q in b)


def _overlap(p: ContentPiece, q: ContentPiece) -> bool:
    if _intersect(p.cols, q.cols) is None or _intersect(p.chans, q.chans) is None:
        return False
    return bool(((p.rows >= 0) & (q.rows >= 0)).any())
