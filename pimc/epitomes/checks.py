"""What can be wrong with an epitome of a layer, and with the rounds that put its weights together.

Graphs are judged again after every pass, and their constants never change: what was found sound stays so.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.epitome import reconstruct
from pimc.epitomes.rounds import Tables

__all__ = ["epitome_problems", "rounds_problems"]

Array = npt.NDArray[Any]
KEPT = 4096


class _Sound:
    """Arrays that a question about them, with some numbers, has found nothing wrong with."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[weakref.ref[Array], ...]] = {}

    def knows(self, arrays: tuple[Array, ...], *numbers: int) -> bool:
        """Whether just these have been found sound."""
        known = self._known.get((*map(id, arrays), *numbers), ())
        return bool(known) and all(ref() is array for ref, array in zip(known, arrays, strict=True))

    def add(self, arrays: tuple[Array, ...], *numbers: int) -> None:
        """Remember these, as long as they live."""
        if len(self._known) >= KEPT:
            self._known = {key: refs for key, refs in self._known.items() if all(ref() is not None for ref in refs)}
        self._known[*map(id, arrays), *numbers] = tuple(map(weakref.ref, arrays))


_SOUND = _Sound()


def epitome_problems(weights: Array, epitome: Array, index: Array) -> Iterator[str]:
    """Yield what is wrong with an epitome [p, q] and an index of weights [O, kh, kw, I/groups]."""
    arrays = weights, epitome, index
    if _SOUND.knows(arrays):
        return
    if index.shape != weights.shape:
        yield f"the index has shape {index.shape}, the weights {weights.shape}"
        return
    if epitome.ndim != 2 or index.min(initial=0) < -1 or index.max(initial=-1) >= epitome.size:
        yield f"the index has cells {index.min(initial=0)}..{index.max(initial=-1)}, the epitome {epitome.size}"
        return
    wrong = int(np.count_nonzero(reconstruct(epitome, index) != weights))
    if wrong:
        yield f"{wrong} of {weights.size} weights are not what the epitome has in their cells"
    else:
        _SOUND.add(arrays)


def rounds_problems(tables: Tables, index: Array, stored: tuple[int, int], groups: int) -> Iterator[str]:
    """Yield what is wrong with rounds for an epitome of the shape ``stored``; what crossbars forbid, programs check."""
    arrays = tables.patches, tables.rows, tables.columns, tables.copies, index
    if _SOUND.knows(arrays, *stored, groups):
        return
    outputs, inputs = len(index), index[0].size * groups
    limits = (tables.patches, len(tables.patches)), (tables.rows, inputs), (tables.columns, outputs)
    shapes = [array.shape for array, _ in limits]
    if shapes != [(shapes[0][0], 2), *((shapes[0][0], n) for n in stored)] or tables.copies.shape != (outputs,):
        yield f"tables of shapes {shapes} and {tables.copies.shape} do not fit an epitome of {stored[0]} x {stored[1]}"
    elif any((array < -1).any() or (array >= most).any() for array, most in (*limits, (tables.copies, outputs))):
        yield "tables name rounds, inputs or channels that there are not"
    elif not _puts_together(tables, index, groups):
        yield "rounds do not put together the weights that the index asks for"
    else:
        _SOUND.add(arrays, *stored, groups)


def _puts_together(tables: Tables, index: Array, groups: int) -> bool:
    """Whether patches use the cells that the index asks for, every weight once, and copies are of what is the same."""
    outputs, depth = len(index), index.shape[3]
    cells, own = index.reshape(outputs, -1), np.arange(outputs) * groups // outputs
    made = tables.copies < 0
    used = 0
    for _, patch in tables.placed():
        tap, channel = np.divmod(patch.inputs, depth * groups)
        group, within = np.divmod(channel, depth)
        asked = cells[np.ix_(patch.channels, tap * depth + within)]
        if (asked != patch.rows * tables.columns.shape[1] + patch.columns[:, None]).any():
            return False
        if (own[patch.channels][:, None] != group).any() or not made[patch.channels].all():
            return False
        used += asked.size
    source = tables.copies[~made]
    same = (cells[~made] == cells[source]).all() and (own[~made] == own[source]).all()
    return bool(same) and used == np.count_nonzero(cells[made] >= 0)
