"""Cells as bit planes for counting: sixteen columns side by side, 32 rows in a word, only the planes that hold a one.

What one column holds of one weight slice in one row block are fields; their planes are those of two's complement, so
that W+ and W- that are subtracted before conversion are counted together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pimc_isa.crossbar.cells import Cells, row_blocks, slice_shifts
from pimc_isa.operands import Weights

__all__ = ["LANES", "WORD", "Columns", "columns_of", "words_of"]

Array = np.ndarray
WORD, LANES = 32, 16


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of all convolution groups, one after the other, filled up to a multiple of sixteen.

    ``cells``: words of all planes, highest first. ``jobs`` [sixteens, n, 6]: where planes begin, how many there are,
    -1 if the first is the sign, row block, weight slice, and 1 if what is converted is subtracted. ``spans`` [row
    blocks, 2]: first word and the word behind the last. ``mask`` [row blocks, slices, 2, columns]: -1 where it is
    subtracted after all, for what is added and for what is not. ``centre`` [row blocks, columns].
    """

    cells: Array
    jobs: Array
    spans: Array
    mask: Array
    centre: Array

    @property
    def outputs(self) -> int:
        """Columns, those that only fill up too."""
        return int(self.centre.shape[1])


def words_of(k: int, block_rows: int) -> Array:
    """First and last word [row blocks, 2] of row blocks that each begin a word."""
    each = -(-block_rows // WORD)
    return np.array([(n * each, n * each - (r.start - r.stop) // WORD) for n, r in row_blocks(k, block_rows)], np.int64)


def columns_of(cells: Cells, weights: Weights, apart: bool) -> Columns:
    """Columns of a layer's part; ``apart``: W+ and W- go through conversions of their own."""
    groups, k, n = cells.codes.shape
    codes = _filled(cells.codes.transpose(1, 0, 2).reshape(k, groups * n)).astype(np.int64)
    words: list[Array] = []
    jobs: list[list[tuple[int, ...]]] = [[] for _ in range(codes.shape[1] // LANES)]
    end = 0
    for number, rows in row_blocks(k, weights.block_rows):
        for j, side, field in _fields(codes[rows], weights, apart):
            for c, own in enumerate(jobs):
                planes, below = _planes(field[:, c * LANES : (c + 1) * LANES])
                own.append((end, len(planes), below, number, j, side))
                words.append(planes.ravel())
                end += planes.size
    polarity = _filled(cells.polarity.transpose(1, 0, 2).reshape(-1, groups * n)).astype(np.int64)
    flipped = -(polarity[:, None] >> np.arange(len(weights.slices))[:, None] & 1)
    return Columns(
        np.concatenate([*words, np.zeros(LANES, np.uint32)]),
        np.array(jobs, np.int64),
        words_of(k, weights.block_rows),
        np.ascontiguousarray(np.stack([flipped, -1 - flipped], axis=2), np.int32),
        _filled(cells.centre.transpose(1, 0, 2).reshape(-1, groups * n)).astype(np.int32),
    )


def _filled(a: Array) -> Array:
    """Columns [..., n] filled up with zeros to a multiple of sixteen."""
    return np.ascontiguousarray(np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, -a.shape[-1] % LANES)]))


def _fields(codes: Array, weights: Weights, apart: bool) -> Iterator[tuple[int, int, Array]]:
    """Weight slice, 1 for W- columns, and what each cell holds."""
    magnitude, sign = np.abs(codes), np.sign(codes)
    for j, (shift, width) in enumerate(zip(slice_shifts(weights.slices), weights.slices, strict=True)):
        field = (magnitude >> shift & ((1 << width) - 1)) * sign
        if not apart:
            yield j, 0, field
            continue
        yield j, 0, np.maximum(field, 0)
        if weights.bipolar:
            yield j, 1, np.maximum(-field, 0)


def _planes(field: Array) -> tuple[Array, int]:
    """Planes u32 [planes, words, 16] of fields [rows, 16], and -1 if the first counts negative."""
    low, high = int(field.min(initial=0)), int(field.max(initial=0))
    bits = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0)
    places = range(bits if low < 0 else bits - 1, -1, -1)
    padded = np.zeros((-(-len(field) // WORD), WORD, LANES), np.int32)
    padded.reshape(-1, LANES)[: len(field)] = field
    ones = (padded[None] >> np.array(places, np.int32)[:, None, None, None] & 1).astype(np.uint8)
    packed = np.packbits(ones, axis=2, bitorder="little")
    words = np.ascontiguousarray(packed.transpose(0, 1, 3, 2)).view("<u4")[..., 0]
    return np.asarray(words, np.uint32), -1 if low < 0 else 0
