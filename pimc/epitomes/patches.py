"""Patches: parts of the weights whose inputs lie on word lines and whose channels on columns of the epitome.

An index (see `epitome`) says of every weight in which cell it is. A crossbar can only do whole patches: some inputs on
some rows, some columns to some channels, all cells where they cross being wanted. A channel whose cells and inputs are
those of another is a copy of it (output channel wrapping, EPIM): nothing is computed for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.epitome import EpitomeError

__all__ = ["MOST_PATCHES", "Patch", "TooManyPatchesError", "patches_of", "voiced"]

Array = npt.NDArray[Any]

MOST_PATCHES = 1 << 14
"""Of one layer. Networks' epitomes have tens to thousands; one with more would work in thousands of rounds."""


class TooManyPatchesError(EpitomeError):
    """An index in which nearly every channel is unlike every other: it can be folded, but to no purpose."""


@dataclass(frozen=True, eq=False)
class Patch:
    """``inputs`` (elements of the window's vector) on ``rows``, and the sums of ``columns`` to ``channels``.

    Rows differ from each other, and so do columns; an input may be on several rows.
    """

    rows: Array
    inputs: Array
    columns: Array
    channels: Array


def voiced(epitome: Array, index: Array) -> tuple[Array, Array]:
    """An epitome and index that make every channel: one all of whose weights are 0 and not stored reads a cell of 0.

    Where the epitome has no such cell, a word line of them is added to it.
    """
    silent = np.flatnonzero((index < 0).reshape(len(index), -1).all(axis=1))
    if not len(silent):
        return epitome, index
    if epitome.all():
        epitome = np.concatenate([epitome, np.zeros((1, epitome.shape[1]), epitome.dtype)])
    index = index.copy()
    index.reshape(len(index), -1)[silent, 0] = np.flatnonzero(epitome.reshape(-1) == 0)[0]
    return epitome, index


def patches_of(index: Array, columns: int, groups: int = 1, most: int = MOST_PATCHES) -> tuple[list[Patch], Array]:
    """Patches that make every channel that is no copy, each weight in one of them; and the copies.

    ``index`` i32 [outputs, kernel rows, kernel columns, input channels of a group] into an epitome of so many
    ``columns``. Inputs are numbered as in the window's vector: kernel row, kernel column, channel of all groups.
    Channels whose cells lie alike, some columns further on, are in the same patches; a row that one column needs with
    several inputs is in as many. Copies, i32 [outputs]: the channel that each is a copy of, -1 for those that are made.
    Raises TooManyPatchesError where there are more than ``most``, as soon as that is known.
    """
    cells = index.reshape(len(index), -1)
    base, lies = _from_first_column(cells, columns)
    alike: dict[tuple[int, bytes], dict[int, int]] = {}
    copies = np.full(len(cells), -1, np.int32)
    for channel, start in enumerate(base.tolist()):
        own = alike.setdefault((channel * groups // len(cells), lies[channel].tobytes()), {})
        if own.setdefault(start, channel) != channel:
            copies[channel] = own[start]
    if len(alike) > most:
        raise _too_many(most)
    patches: list[Patch] = []
    for (group, _), channels in alike.items():
        some, starts = np.array(list(channels.values())), np.array(list(channels))
        for shift, rows, inputs in _by_column(lies[some[0]], columns):
            elements = _elements(inputs, index.shape[3], groups, group)
            patches += [Patch(rows[use], elements[use], starts + shift, some) for use in _once_each(rows)]
            if len(patches) > most:
                raise _too_many(most)
    return patches, copies


def _too_many(most: int) -> TooManyPatchesError:
    return TooManyPatchesError(f"the epitome's index is in more than {most} patches\nleave the layer dense")


def _from_first_column(cells: Array, columns: int) -> tuple[Array, Array]:
    """The first column that each channel has cells in, and its cells counted from there, -1 for none."""
    if (cells >= 0).all():
        base = (cells % columns).min(axis=1)
        return base, cells - base[:, None]
    base = np.where(cells < 0, columns, cells % columns).min(axis=1)
    return base, np.where(cells < 0, -1, cells - base[:, None])


def _by_column(lies: Array, columns: int) -> Iterator[tuple[int, Array, Array]]:
    """Of one channel's cells, by column: which, their rows, and the numbers of the weights."""
    held = np.flatnonzero(lies >= 0)
    rows, shifts = np.divmod(lies[held], columns)
    for shift in np.unique(shifts):
        here = shifts == shift
        yield int(shift), rows[here], held[here]


def _elements(inputs: Array, depth: int, groups: int, group: int) -> Array:
    """Numbers of a convolution group's weights as elements of the window's vector over all groups."""
    tap, channel = np.divmod(inputs, depth)
    return np.asarray(tap * depth * groups + group * depth + channel)


def _once_each(rows: Array) -> Iterator[Array]:
    """Places in ``rows``, so dealt out that no row is there twice: the first use of every row, the second, ..."""
    order = np.argsort(rows, kind="stable")
    ranked = rows[order]
    uses = np.empty(len(rows), np.int64)
    uses[order] = np.arange(len(rows)) - np.searchsorted(ranked, ranked)
    for use in range(int(uses.max(initial=-1)) + 1):
        yield np.flatnonzero(uses == use)
