"""Numbers the cells of an epitome: rectangles of word lines x columns, put into one matrix of little waste."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.numbers import parted, ranks

__all__ = ["matrix_of"]

Array = npt.NDArray[Any]

_WIDTHS = 48
"""Widths of the matrix that are tried."""


def matrix_of(part: Array, row: Array, column: Array) -> tuple[tuple[int, int], Array]:
    """Shape (p, q) and the cell of every weight, from the ``part`` it is in (-1: none) and its row and column there.

    Rows and columns of a part that no weight is in are left out. Cells are row * q + column, i32, -1 for none.
    """
    held = list(parted(part))
    places = [(ranks(row.reshape(-1)[at]), ranks(column.reshape(-1)[at])) for at in held]
    sizes = [(int(r.max()) + 1, int(c.max()) + 1) for r, c in places]
    shape, corners = _packed(sizes)
    cells = np.full(part.size, -1, np.int32)
    for at, (r, c), (top, left) in zip(held, places, corners, strict=True):
        cells[at] = (top + r) * shape[1] + left + c
    return shape, cells.reshape(part.shape)


def _packed(sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Shape of a matrix that holds rectangles (rows, columns), and their corners; the smallest of some widths."""
    if not sizes:
        return (0, 0), []
    widest = max(columns for _, columns in sizes)
    sums = np.cumsum([columns for _, columns in sorted(sizes, reverse=True)])
    near = round(sum(r * c for r, c in sizes) ** 0.5)
    wide = [int(w) for w in sums[:_WIDTHS] if w > widest]
    tried = [_shelves(sizes, width) for width in sorted({widest, max(widest, near), *wide})]
    return min(tried, key=lambda found: (found[0][0] * found[0][1], found[0]))


def _shelves(sizes: Sequence[tuple[int, int]], width: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Rectangles side by side, the tallest first, and a new row of them where the width is full."""
    order = sorted(range(len(sizes)), key=lambda n: (-sizes[n][0], -sizes[n][1], n))
    corners = [(0, 0)] * len(sizes)
    top = left = height = used = 0
    for n in order:
        rows, columns = sizes[n]
        if left and left + columns > width:
            top, left, height = top + height, 0, 0
        corners[n] = (top, left)
        left, height = left + columns, max(height, rows)
        used = max(used, left)
    return (top + height, used), corners
