"""Rounds: patches put on crossbars and merged, as many as go together in one read of every crossbar.

A column sums all word lines that are driven on its crossbar. So, on one crossbar, patches of the same channels go
together where no row is wanted twice (`patches_of` has joined them), patches of different columns where the same inputs
are on the same rows; nothing else does. Crossbars have word lines of their own and never hinder each other. What is
left is a list colouring: a read takes a round in which its crossbar is free, one in which its channels are made
anyway if there is one, since then its sums are added to theirs for nothing. There are as many rounds as the busiest
crossbar has reads, and no schedule of these reads has fewer. (EPIM's tables IFAT, IFRT and OFAT hold the inputs, rows
and channels of the rounds; their form is recalled, ours is `pimc_isa.operands.Rounds`.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.patches import Patch
from pimc_isa.operands import Range

__all__ = ["Size", "Tables", "merged", "unmerged"]

Array = npt.NDArray[Any]
OVERWRITE, ADD = 0, 1
Placed = tuple[int, Patch]  # the round, and what is done in it


@dataclass(frozen=True)
class Size:
    """An epitome of ``rows`` x ``columns`` on crossbars of ``height`` word lines and ``across`` columns of weights."""

    rows: int
    columns: int
    height: int
    across: int


@dataclass(frozen=True, eq=False)
class Tables:
    """The rounds as programs have them (`pimc_isa.operands.Rounds`): i32, -1 for none.

    ``patches`` [patches, 2]: round, and 0 to overwrite or 1 to add; ``rows`` [patches, p]: inputs; ``columns``
    [patches, q]: channels; ``copies`` [outputs].
    """

    patches: Array
    rows: Array
    columns: Array
    copies: Array

    @property
    def count(self) -> int:
        """How many rounds."""
        return int(self.patches[:, 0].max(initial=-1)) + 1

    def named(self, rounds: str) -> dict[str, Array]:
        """As the tensors of a program's rounds of this name."""
        parts = {"patches": self.patches, "rows": self.rows, "columns": self.columns, "copies": self.copies}
        return {f"{rounds}.{part}": table for part, table in parts.items()}

    def placed(self) -> list[Placed]:
        """The patches and their rounds."""
        return [
            (int(mode[0]), _patch(*both)) for mode, *both in zip(self.patches, self.rows, self.columns, strict=True)
        ]

    def within(self, k: Range) -> Tables:
        """What of it some rows do, in no more rounds than they need; all rows keep their numbers."""
        return _tables(_cut(self.placed(), k), (self.rows.shape[1], self.columns.shape[1]), self.copies)

    def makes(self) -> Array:
        """Which channels are made, copies left out: bool [outputs]."""
        made = np.zeros(len(self.copies), bool)
        made[self.columns[self.columns >= 0]] = True
        return made

    @property
    def complete(self) -> bool:
        """Whether every channel is made or copied."""
        return bool((self.makes() | (self.copies >= 0)).all())


def merged(patches: Iterable[Patch], copies: Array, size: Size) -> Tables:
    """All patches in as many rounds as the busiest crossbar has reads."""
    reads = [read for crossbar in _crossbars(patches, size).values() for read in crossbar.reads()]
    return _tables(_coloured(reads), (size.rows, size.columns), copies)


def unmerged(patches: Iterable[Patch], copies: Array, size: Size) -> Tables:
    """Every patch in a round of its own: what merging saves is measured against it."""
    return _tables(list(enumerate(patches)), (size.rows, size.columns), copies)


def _patch(rows: Array, columns: Array) -> Patch:
    driven, read = np.flatnonzero(rows >= 0), np.flatnonzero(columns >= 0)
    return Patch(driven, rows[driven], read, columns[read])


# ---- crossbar by crossbar ----


@dataclass(frozen=True, eq=False)
class _Read:
    """One read of a crossbar, whose number is ``at``."""

    at: tuple[int, int]
    does: Patch


class _Crossbar:
    """What one crossbar has to do: inputs on rows, and the columns that are read then."""

    def __init__(self, at: tuple[int, int], first: int, across: int) -> None:
        self.at, self.first, self.across = at, first, across
        self.drives: dict[tuple[bytes, bytes], tuple[Array, Array, list[Array]]] = {}

    def add(self, piece: Patch) -> None:
        """Read its columns where the same inputs are on the same rows and they are free; else once more."""
        key = piece.rows.tobytes(), piece.inputs.tobytes()
        *_, goes = self.drives.setdefault(key, (piece.rows, piece.inputs, []))
        columns, channels, turn = piece.columns - self.first, piece.channels, 0
        while len(columns):
            if turn == len(goes):
                goes.append(np.full(self.across, -1))
            free = goes[turn][columns] < 0
            goes[turn][columns[free]] = channels[free]
            columns, channels, turn = columns[~free], channels[~free], turn + 1

    def reads(self) -> Iterator[_Read]:
        """What it reads, one after another."""
        for rows, inputs, goes in self.drives.values():
            for channels in goes:
                read = np.flatnonzero(channels >= 0)
                yield _Read(self.at, Patch(rows, inputs, self.first + read, channels[read]))


def _crossbars(patches: Iterable[Patch], size: Size) -> dict[tuple[int, int], _Crossbar]:
    found: dict[tuple[int, int], _Crossbar] = {}
    for patch in patches:
        for down, across, piece in _pieces(patch, size):
            at = down, across
            if at not in found:
                found[at] = _Crossbar(at, across * size.across, size.across)
            found[at].add(piece)
    return found


def _pieces(patch: Patch, size: Size) -> Iterator[tuple[int, int, Patch]]:
    """A patch cut where crossbars end; rows are in order, so that equal ones are seen to be equal."""
    rows, inputs = _ordered(patch.rows, patch.inputs)
    columns, channels = _ordered(patch.columns, patch.channels)
    for down, k in _cuts(rows, size.height):
        for across, n in _cuts(columns, size.across):
            yield down, across, Patch(rows[k], inputs[k], columns[n], channels[n])


def _ordered(places: Array, others: Array) -> tuple[Array, Array]:
    order = np.argsort(places)
    return places[order], others[order]


def _cuts(places: Array, unit: int) -> list[tuple[int, slice]]:
    """The crossbars that ordered places are on, and which places are on each."""
    number = places // unit
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(places)]
    return [(int(number[first]), slice(first, last)) for first, last in pairwise(edges)]


def _coloured(reads: Sequence[_Read]) -> list[Placed]:
    """A round for every read."""
    order = sorted(reads, key=lambda read: (read.does.channels.min(), read.does.inputs.min(), read.at))
    count: dict[tuple[int, int], int] = {}
    for read in reads:
        count[read.at] = count.get(read.at, 0) + 1
    free = {at: dict.fromkeys(range(max(count.values()))) for at in count}
    makes: dict[bytes, list[int]] = {}
    placed = []
    for read in order:
        rounds = makes.setdefault(np.sort(read.does.channels).tobytes(), [])
        number = next((n for n in rounds if n in free[read.at]), None)
        if number is None:
            number = next(iter(free[read.at]))
            rounds.append(number)
        del free[read.at][number]
        placed.append((number, read.does))
    return placed


# ---- the tables ----


def _cut(placed: Iterable[Placed], k: Range) -> list[Placed]:
    """What rows ``k`` do, in rounds numbered anew."""
    kept = []
    for number, patch in placed:
        here = (k[0] <= patch.rows) & (patch.rows < k[1])
        if here.any():
            kept.append((number, Patch(patch.rows[here], patch.inputs[here], patch.columns, patch.channels)))
    names = {number: n for n, number in enumerate(sorted({number for number, _ in kept}))}
    return [(names[number], patch) for number, patch in kept]


def _tables(placed: Iterable[Placed], shape: tuple[int, int], copies: Array) -> Tables:
    found = list(_joined(_with_modes(sorted(placed, key=lambda each: each[0]), len(copies))))
    heads = np.array([head for head, _ in found], np.int32).reshape(-1, 2)
    rows, columns = (np.full((len(found), n), -1, np.int32) for n in shape)
    for place, (_, patch) in enumerate(found):
        rows[place, patch.rows], columns[place, patch.columns] = patch.inputs, patch.channels
    return Tables(heads, rows, columns, copies)


def _with_modes(placed: Sequence[Placed], outputs: int) -> Iterator[tuple[tuple[int, int], Patch]]:
    """With the round, in order, whether it overwrites or adds; a patch that does both becomes two."""
    first = np.full(outputs, np.iinfo(np.int64).max)
    for number, patch in reversed(placed):  # they are in order
        first[patch.channels] = number
    for number, patch in placed:
        before = first[patch.channels] < number
        for mode, here in ((OVERWRITE, ~before), (ADD, before)):
            if here.any():
                yield (number, mode), Patch(patch.rows, patch.inputs, patch.columns[here], patch.channels[here])


def _joined(moded: Iterable[tuple[tuple[int, int], Patch]]) -> Iterator[tuple[tuple[int, int], Patch]]:
    """Fewer, larger patches that do the same: rows of one set of columns, then columns of one set of rows."""
    by_columns: dict[Any, list[Patch]] = {}
    for head, patch in moded:
        by_columns.setdefault((head, patch.columns.tobytes(), patch.channels.tobytes()), []).append(patch)
    by_rows: dict[Any, list[Patch]] = {}
    for (head, *_), some in by_columns.items():
        rows, inputs = (np.concatenate([getattr(each, name) for each in some]) for name in ("rows", "inputs"))
        rows, inputs = _ordered(rows, inputs)
        tall = Patch(rows, inputs, some[0].columns, some[0].channels)
        by_rows.setdefault((head, rows.tobytes(), inputs.tobytes()), []).append(tall)
    for (head, *_), some in by_rows.items():
        columns, channels = (np.concatenate([getattr(each, name) for each in some]) for name in ("columns", "channels"))
        yield head, Patch(some[0].rows, some[0].inputs, columns, channels)
