"""Centres of weights: what is taken off all weights of one output in one row block, and added again in digital.

RAELLA (Andrulis et al., ISCA 2023), equation 2: with ``D_s(v)`` the field of slice s of ``|v|``, with the sign of v,
the centre of a column of weights is the integer c from -127 to 127 that makes

    cost(c) = sum over slices s of  2**l_s * (sum over the column's weights w of D_s(w - c)) ** 4

least. (In the paper's unsigned weights it runs from 1 to 255.) Of equal costs the c nearest to the mean of the weights
is taken, of two as near the lower; the paper gives no rule.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pimc_isa.crossbar.cells import row_blocks, slice_shifts

__all__ = ["LARGEST", "best_centres"]

Array = np.ndarray
#: The largest centre, and the largest weight.
LARGEST = 127
_EXACT = 1 << 62
_SOME = 1 << 10  # columns that are looked at together


def best_centres(weights: Array, slices: tuple[int, ...], block_rows: int) -> Array:
    """Centres i32 [groups, blocks, n] of s8 weights [groups, k, n] stored in slices (low first); see above."""
    groups, k, n = weights.shape
    made = np.empty((groups, -(-k // block_rows), n), np.int32)
    for block, rows in row_blocks(k, block_rows):
        columns = weights[:, rows].transpose(0, 2, 1).reshape(groups * n, -1)
        parts = [_centres(columns[at : at + _SOME], slices) for at in range(0, len(columns), _SOME)]
        made[:, block] = np.concatenate(parts).reshape(groups, n)
    return made


def _centres(columns: Array, slices: tuple[int, ...]) -> Array:
    """Of columns s8 [m, rows]."""
    counts = np.zeros((len(columns), 256))
    np.add.at(counts, (np.arange(len(columns))[:, None], columns.astype(np.int64) + 128), 1)
    exact = columns.shape[1] ** 4 * sum(1 << shift + 4 * width for shift, width in _placed(slices)) < _EXACT
    cost = np.zeros((len(columns), 2 * LARGEST + 1), np.int64 if exact else np.float64)
    for (shift, _), table in zip(_placed(slices), _fields(slices), strict=True):
        sums = np.rint(counts @ table).astype(cost.dtype)  # at most rows x 2**width: exact in float64
        cost += sums**4 << shift if exact else sums**4 * 2.0**shift
    return _nearest(cost, columns.mean(axis=1))


def _placed(slices: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(slice_shifts(slices), slices, strict=True))


@lru_cache(maxsize=128)
def _fields(slices: tuple[int, ...]) -> tuple[Array, ...]:
    """For each slice [256, centres]: the signed field of weight - centre."""
    offset = np.arange(-128, 128)[:, None] - np.arange(-LARGEST, LARGEST + 1)[None]
    size, sign = np.abs(offset), np.sign(offset)
    return tuple(((size >> shift & (1 << width) - 1) * sign).astype(np.float64) for shift, width in _placed(slices))


def _nearest(cost: Array, means: Array) -> Array:
    """The centre of least cost that is nearest to the mean."""
    distance = np.abs(np.arange(-LARGEST, LARGEST + 1)[None] - means[:, None])
    distance[cost > cost.min(axis=1, keepdims=True)] = np.inf
    return np.asarray(distance.argmin(axis=1) - LARGEST, np.int32)
