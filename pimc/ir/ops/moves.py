"""Ops that look up a table, or compute nothing: they move data, or only say which of it is meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from pimc.ir.ops.base import Array, Constants, Evaluation, Geometry, InferError, Shape, TensorOp, single
from pimc.ir.ops.reach import reach_of
from pimc.ir.ops.specs import ANY, constant, zero_point
from pimc_isa.element import U8

__all__ = ["Concat", "Lut", "Move", "Pick", "Relay"]


class Lut(TensorOp, op="q.lut"):
    """A 256-entry table, or one for each channel."""

    table: str = constant(U8.storage, (U8.entries,), (ANY, U8.entries))

    is_table: ClassVar[bool] = True

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """That of the input."""
        shape, table = single(shapes), constants[self.table]
        if table.ndim == 2 and len(table) != shape[2]:
            raise InferError(f"has tables of {len(table)} channels for {shape[2]}")
        return shape

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """A row for a row."""
        return Geometry()

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """The entries."""
        table = run.constants[self.table]
        return np.asarray(table[x[0]] if table.ndim == 1 else table[np.arange(len(table)), x[0]])


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

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """A row for a row."""
        return Geometry()

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """Side by side."""
        return np.concatenate(x, axis=3)

    def parts(self, channels: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
        """Each input whole."""
        return tuple((n, 0, count) for n, count in enumerate(channels))


class Pick(TensorOp, op="q.pick"):
    """Channels of the inputs, ranges of them one after another: slices, splits, shuffles. A matter of what is sent.

    ``ranges`` are (input, first channel, one behind the last).
    """

    ranges: tuple[tuple[int, int, int], ...]

    decides: ClassVar[frozenset[str]] = frozenset()
    is_virtual: ClassVar[bool] = True

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """All ranges."""
        if not shapes or len({s[:2] for s in shapes}) != 1:
            raise InferError(f"inputs differ in rows or columns: {', '.join(map(str, shapes))}")
        for source, first, last in self.ranges:
            if not 0 <= source < len(shapes) or not 0 <= first < last <= shapes[source][2]:
                raise InferError(f"there are no channels {first}:{last} of input {source}")
        return (*shapes[0][:2], sum(last - first for _, first, last in self.ranges))

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """A row for a row."""
        return Geometry()

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """Side by side."""
        return np.concatenate([x[n][..., first:last] for n, first, last in self.ranges], axis=3)

    def parts(self, channels: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
        """The ranges."""
        return self.ranges


class Move(TensorOp, op="q.move"):
    """Any movement of data: ``index`` [rows, columns, channels] numbers the elements of all inputs one after another.

    -1 stands for ``fill``. Slices, padding, nearest Resize, DepthToSpace, Transpose, Tile, Concat along rows.
    """

    index: str = constant(np.int32)
    fill: int = zero_point(default=0)

    takes_tables: ClassVar[bool] = False

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """That of the index."""
        index = constants[self.index]
        elements = sum(h * w * c for h, w, c in shapes)
        if index.ndim != 3 or not index.size or index.min() < -1 or index.max() >= elements:
            raise InferError(f"index {index.shape} does not fit inputs of {elements} elements")
        h, w, c = index.shape
        return h, w, c

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """What the index says."""
        return Geometry(reach=reach_of(constants[self.index], shapes))

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """Gather."""
        index = run.constants[self.index]
        flat = np.concatenate([part.reshape(len(part), -1) for part in x], axis=1)
        flat = np.concatenate([flat, np.full((len(flat), 1), self.fill, flat.dtype)], axis=1)
        return np.asarray(flat[:, index.reshape(-1)].reshape(len(flat), *index.shape))


class Relay(TensorOp, op="q.relay", since="mapped"):
    """A buffer tile: the same rows, later. Made by placement for streams that outgrow a tile's memory."""

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """That of the input."""
        return single(shapes)

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """A row for a row."""
        return Geometry()

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """The same."""
        return x[0]
