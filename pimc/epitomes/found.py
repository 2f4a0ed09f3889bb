"""What recognition says of a layer: the matrix that is stored, and which of its cells every weight is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.epitome import cells_of_weights, reconstruct
from pimc.epitomes.numbers import distinct
from pimc.epitomes.pack import matrix_of

__all__ = ["LEAST", "Found"]

Array = npt.NDArray[Any]

LEAST = 1.2
"""Weights per stored cell from which on a structure is worth being told (EPIM notes, 8.3: chance makes 1.03)."""


@dataclass(frozen=True, eq=False)
class Found:
    """Weights are ``factor`` x cells: ``index`` i32 [O, I/groups, kh, kw] (ONNX's order) has row * q + column or -1.

    ``shape``: p word lines, q columns. ``factor`` f64 [O] is that of each output channel; all ones where weights are
    equal bit for bit.
    """

    shape: tuple[int, int]
    index: Array
    factor: Array

    @property
    def size(self) -> int:
        """Cells of the stored matrix, used or not."""
        return self.shape[0] * self.shape[1]

    @property
    def ratio(self) -> float:
        """Weights of the layer over cells of the stored matrix."""
        return self.index.size / max(1, self.size)

    @property
    def cells(self) -> int:
        """Cells that some weight is."""
        return distinct(self.index)

    def multiplied(self, factor: Array) -> Found:
        """The same cells for weights whose output channels are multiplied with factors [O] besides.

        Cells of a channel whose factor is negative are stored once more, negated, in columns of their own: scales are
        positive. A channel with the factor 0 has no cells.
        """
        whole = self.factor * factor
        if (whole > 0).all():
            return Found(self.shape, self.index, whole)
        along = [-1, *[1] * (self.index.ndim - 1)]
        part = np.where((self.index < 0) | (whole == 0).reshape(along), -1, 0)
        row, column = np.divmod(self.index, self.shape[1])
        shape, index = matrix_of(part, row, column + self.shape[1] * (whole < 0).reshape(along))
        return Found(shape, index, np.where(whole == 0, 1.0, np.abs(whole)))

    def stored(self, weights: Array) -> Array:
        """The stored matrix [p, q] of ``weights`` (ONNX's order), in their type; cells that nothing uses are 0."""
        if not (self.factor == 1).all():
            weights = (weights / self._along(weights)).astype(weights.dtype)
        return cells_of_weights(weights, self.index, self.shape)

    def rebuilt(self, cells: Array) -> Array:
        """The weights that a stored matrix stands for: the inverse of `stored`."""
        values = reconstruct(cells, self.index)
        if (self.factor == 1).all():
            return values
        return (values * self._along(values)).astype(cells.dtype)

    def _along(self, weights: Array) -> Array:
        return self.factor.reshape(-1, *[1] * (weights.ndim - 1))
