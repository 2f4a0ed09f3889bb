"""Ops that compute nothing or look up a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pimc.ir.ops.base import Array, Constants, Evaluation, Geometry, InferError, Shape, TensorOp, single
from pimc.ir.ops.specs import constant
from pimc_isa.element import U8

__all__ = ["Concat", "Lut", "Relay"]


class Lut(TensorOp, op="q.lut"):
    """A 256-entry table."""

    table: str = constant(U8.storage, (U8.entries,))

    is_table: ClassVar[bool] = True

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """That of the input."""
        return single(shapes)

    def geometry(self, shapes: Sequence[Shape]) -> Geometry:
        """A row for a row."""
        return Geometry()

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """The entries."""
        return np.asarray(run.constants[self.table][x[0]])


class Concat(TensorOp, op="q.concat"):
    """Channels one after another; all inputs have the result's scale already."""

    decides: ClassVar[frozenset[str]] = frozenset()
    is_virtual: ClassVar[bool] = True

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """All channels."""
        if not shapes:
            raise InferError("has no inputs")
        if len({s[:2] for s in shapes}) != 1:
            raise InferError(f"inputs differ in rows or columns: {', '.join(map(str, shapes))}")
        return (*shapes[0][:2], sum(s[2] for s in shapes))

    def geometry(self, shapes: Sequence[Shape]) -> Geometry:
        """A row for a row."""
        return Geometry()

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """Side by side."""
        return np.concatenate(x, axis=3)


class Relay(TensorOp, op="q.relay", since="mapped"):
    """A buffer tile: the same rows, later. Made by placement for streams that outgrow a tile's memory."""

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """That of the input."""
        return single(shapes)

    def geometry(self, shapes: Sequence[Shape]) -> Geometry:
        """A row for a row."""
        return Geometry()

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """The same."""
        return x[0]
