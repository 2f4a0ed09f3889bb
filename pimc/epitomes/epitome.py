"""The epitome operator with whole-numbered offsets: blocks of a convolution's weights are windows of a smaller tensor.

Source: epitomes of Neural Epitome Search (arXiv 1907.05642) as EPIM (arXiv 2311.07620) uses them; both are recalled,
and the sampler here is their operator for whole-numbered offsets, where nothing is interpolated:

    W[m*bo + a, y, x, n*bi + b] = E[oo + a, oy + y, ox + x, oi + b]      (oo, oy, ox, oi) = offsets[m, n]

All tensors are in the order of the graph: output, kernel row, kernel column, input channel. What is stored is a matrix
[p, q]: a word line for each (row, column, channel) of E, a column for each of its outputs. Output blocks whose offsets
are equal are wrapped: they make the same channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc_isa.errors import PimcError

__all__ = ["EpitomeError", "Sampler", "cells_of_weights", "even_offsets", "fold", "reconstruct", "tiled_index"]

Array = npt.NDArray[Any]
Shape = tuple[int, int, int, int]


class EpitomeError(PimcError):
    """An epitome, or an index into one, that cannot be."""


@dataclass(frozen=True, eq=False)
class Sampler:
    """Where every block of the weights lies in the epitome.

    ``weights`` and ``epitome`` are shapes (outputs, kernel rows, kernel columns, input channels), ``block`` the outputs
    and input channels of a block (the last ones may be short); ``offsets`` [output blocks, input blocks, 4].
    Raises EpitomeError where a block is not inside the epitome.
    """

    weights: Shape
    epitome: Shape
    block: tuple[int, int]
    offsets: Array

    def __post_init__(self) -> None:
        """Refuse blocks that are not inside the epitome."""
        _refuse_nothing(self.weights, self.epitome, self.block)
        if self.offsets.shape != (*self.blocks, 4):
            raise EpitomeError(f"offsets have shape {self.offsets.shape}, the blocks are {self.blocks}; give 4 of each")
        for m, n in product(*map(range, self.blocks)):
            span, offset = self._size(m, n), self.offsets[m, n]
            if (offset < 0).any() or (offset + span > self.epitome).any():
                where = f"of block {m}, {n} at {tuple(map(int, offset))}"
                raise EpitomeError(f"{span} weights {where} are not inside an epitome of {self.epitome}")

    @classmethod
    def evenly(cls, weights: Shape, epitome: Shape, block: tuple[int, int]) -> Sampler:
        """Blocks spread evenly: output blocks over the epitome's outputs, input blocks over all else it has.

        Where a block is as wide as the epitome, all output blocks are the same: they are wrapped.
        """
        _refuse_nothing(weights, epitome, block)
        outputs, inputs = ceil(weights[0] / block[0]), ceil(weights[3] / block[1])
        room = np.array(epitome) - (block[0], weights[1], weights[2], block[1])
        if (room < 0).any():
            raise EpitomeError(f"blocks {block} of weights {weights} are larger than the epitome {epitome}")
        offsets = even_offsets((outputs, inputs), room.tolist())
        return cls(weights, epitome, block, np.array(offsets, np.int64))

    @property
    def blocks(self) -> tuple[int, int]:
        """How many blocks there are over the outputs and over the input channels."""
        return ceil(self.weights[0] / self.block[0]), ceil(self.weights[3] / self.block[1])

    @property
    def stored(self) -> tuple[int, int]:
        """Rows and columns of the stored matrix."""
        return prod(self.epitome[1:]), self.epitome[0]

    def matrix(self, epitome: Array) -> Array:
        """The stored matrix [p, q] of an epitome of this sampler's shape."""
        return np.ascontiguousarray(epitome.reshape(self.stored[::-1]).T)

    def index(self) -> Array:
        """The stored cell of every weight: i32 [outputs, kernel rows, kernel columns, input channels]."""
        cells = np.arange(prod(self.stored), dtype=np.int32).reshape(*self.epitome[1:], self.epitome[0])
        cells = cells.transpose(3, 0, 1, 2)
        found = np.empty(self.weights, np.int32)
        for m, n in product(*map(range, self.blocks)):
            a, y, x, b = (slice(at, at + size) for at, size in zip(self.offsets[m, n], self._size(m, n), strict=True))
            first, last = (m * self.block[0], n * self.block[1]), ((m + 1) * self.block[0], (n + 1) * self.block[1])
            found[first[0] : last[0], :, :, first[1] : last[1]] = cells[a, y, x, b]
        return found

    def _size(self, m: int, n: int) -> Shape:
        outputs = min(self.block[0], self.weights[0] - m * self.block[0])
        return outputs, self.weights[1], self.weights[2], min(self.block[1], self.weights[3] - n * self.block[1])


def _refuse_nothing(weights: Shape, epitome: Shape, block: tuple[int, int]) -> None:
    if min(*weights, *epitome, *block) < 1:
        raise EpitomeError(f"epitome {epitome} of weights {weights} in blocks {block}: give at least 1 of each")


def even_offsets(blocks: tuple[int, int], room: Sequence[int]) -> list[list[tuple[int, ...]]]:
    """Offsets of output x input blocks, in even steps over the ``room`` that is left beside one block along every axis.

    The first axis is that of the outputs: output blocks go over it, input blocks over all others at once. Without room
    for outputs all output blocks are the same: they are wrapped.
    """
    outer, inner = (max(1, n - 1) for n in blocks)
    return [
        [(m * room[0] // outer, *(n * each // inner for each in room[1:])) for n in range(blocks[1])]
        for m in range(blocks[0])
    ]


def tiled_index(weights: Shape, stored: tuple[int, int], tile: tuple[int, int], *, wraps: bool = True) -> Array:
    """Cells of weights whose matrix is cut into tiles (rows, columns) that lie on those of the epitome in turn.

    Weights of this shape, as a matrix of kernel positions and input channels x outputs, down the columns first; i32,
    as `Sampler.index`. With tiles of a crossbar's size every crossbar is used in every round but the last ones. Unless
    it ``wraps``, the rows of a tile are one further on each time that it is used, so that no two outputs are the same.
    Raises EpitomeError where the epitome ``stored`` has no whole tile.
    """
    rows, outputs = prod(weights[1:]), weights[0]
    places = [(down, across) for across in range(stored[1] // tile[1]) for down in range(stored[0] // tile[0])]
    if not places:
        raise EpitomeError(f"an epitome of {stored[0]} x {stored[1]} has no tile of {tile[0]} x {tile[1]}")
    found = np.empty((rows, outputs), np.int32)
    blocks = product(range(ceil(outputs / tile[1])), range(ceil(rows / tile[0])))
    for number, (n, k) in enumerate(blocks):
        down, across = places[number % len(places)]
        part = found[k * tile[0] : (k + 1) * tile[0], n * tile[1] : (n + 1) * tile[1]]
        row, column = (np.arange(size) for size in part.shape)
        turned = row if wraps else (row + number // len(places)) % tile[0]
        part[:] = (down * tile[0] + turned)[:, None] * stored[1] + across * tile[1] + column
    return np.ascontiguousarray(found.T).reshape(weights)


def reconstruct(epitome: Array, index: Array) -> Array:
    """The weights that an epitome [p, q] stands for: its cells by ``index``, 0 where that is -1."""
    if index.min(initial=0) >= 0:
        return np.asarray(epitome.ravel()[index])
    return np.where(index < 0, epitome.dtype.type(0), epitome.ravel()[np.maximum(index, 0)])


def cells_of_weights(weights: Array, index: Array, stored: tuple[int, int]) -> Array:
    """A matrix [p, q] of the weights of each cell, of the last one where they differ; cells that nothing uses are 0."""
    cells = np.zeros(stored, weights.dtype)
    if index.min(initial=0) >= 0:
        cells.reshape(-1)[index] = weights
    else:
        held = index >= 0
        cells.reshape(-1)[index[held]] = weights[held]
    return cells


def fold(weights: Array, index: Array, stored: tuple[int, int]) -> Array:
    """The epitome [p, q] that stands for ``weights``, the inverse of `reconstruct`; cells that nothing uses are 0.

    Raises EpitomeError where weights of one cell differ, or where a weight that is not stored is not 0.
    """
    epitome = cells_of_weights(weights, index, stored)
    wrong = np.argwhere(reconstruct(epitome, index) != weights)
    if len(wrong):
        where = tuple(map(int, wrong[0]))
        what = "is not stored and not 0" if index[where] < 0 else f"is not the other weights of cell {index[where]}"
        raise EpitomeError(f"weight {where} is {weights[where]}, which {what}")
    return epitome
