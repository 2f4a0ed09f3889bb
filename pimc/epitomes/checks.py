"""What can be wrong with an epitome of a layer, and with the rounds that put its weights together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.epitome import reconstruct
from pimc.epitomes.rounds import Tables

__all__ = ["epitome_problems", "rounds_problems"]

Array = npt.NDArray[Any]


def epitome_problems(weights: Array, epitome: Array, index: Array) -> Iterator[str]:
    """Yield what is wrong with an epitome [p, q] and an index of weights [O, kh, kw, I/groups]."""
    if index.shape != weights.shape:
        yield f"the index has shape {index.shape}, the weights {weights.shape}"
        return
    if epitome.ndim != 2 or index.min(initial=0) < -1 or index.max(initial=-1) >= epitome.size:
        yield f"the index has cells {index.min(initial=0)}..{index.max(initial=-1)}, the epitome {epitome.size}"
        return
    wrong = int(np.count_nonzero(reconstruct(epitome, index) != weights))
    if wrong:
        yield f"{wrong} of {weights.size} weights are not what the epitome has in their cells"


def rounds_problems(tables: Tables, index: Array, stored: tuple[int, int], groups: int) -> Iterator[str]:
    """Yield what is wrong with rounds for an epitome of the shape ``stored``; what crossbars forbid, programs check."""
    outputs, inputs = len(index), index[0].size * groups
    limits = (tables.patches, len(tables.patches)), (tables.rows, inputs), (tables.columns, outputs)
    shapes = [array.shape for array, _ in limits]
    if shapes != [(shapes[0][0], 2), *((shapes[0][0], n) for n in stored)] or tables.copies.shape != (outputs,):
        yield f"tables of shapes {shapes} and {tables.copies.shape} do not fit an epitome of {stored[0]} x {stored[1]}"
    elif any((array < -1).any() or (array >= most).any() for array, most in (*limits, (tables.copies, outputs))):
        yield "tables name rounds, inputs or channels that there are not"
    elif (tables.cells(inputs) != _cells(index, groups)).any():
        yield "rounds do not put together the weights that the index asks for"


def _cells(index: Array, groups: int) -> Array:
    """The cells of every channel's weights [outputs, inputs of all groups], -1 for none."""
    outputs, taps, depth = len(index), index.shape[1] * index.shape[2], index.shape[3]
    found = np.full((outputs, taps, groups, depth), -1, np.int64)
    group = np.arange(outputs) * groups // outputs
    found[np.arange(outputs), :, group] = index.reshape(outputs, taps, depth)
    return found.reshape(outputs, -1)
