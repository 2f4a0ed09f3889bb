"""Pools: over windows, and over everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pimc.ir.ops.base import Constants, Evaluation, Geometry, Shape, TensorOp, single
from pimc.ir.ops.specs import constant, limit, scale, zero_point
from pimc.ir.ops.windows import patches, positions
from pimc_isa import numerics
from pimc_isa.define import Meaning
from pimc_isa.operands import Elementwise, RowExpr, Slab, Window

__all__ = ["AvgPool", "Gap", "MaxPool"]

Array = npt.NDArray[Any]


class MaxPool(TensorOp, op="q.maxpool"):
    """Maximum over windows."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def window(self) -> Window:
        """Padding holds the smallest stored value, which never wins."""
        return Window("w", self.kernel, self.stride, self.pads, self.dilation, 0)

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """One row and column for each window."""
        rows, columns, channels = single(shapes)
        return (*positions(self.window, (rows, columns)), channels)

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """Windows, each tap of which costs."""
        return Geometry(self.window, self.kernel[0] * self.kernel[1])

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """Largest of each window."""
        return np.asarray(patches(x[0], self.window, self.shape).max(axis=3))


class AvgPool(TensorOp, op="q.avgpool"):
    """Average over windows (QLinearAveragePool). ``offset`` is 128 where the tensors are int8, stored as unsigned."""

    kernel: tuple[int, int]
    x_scale: float = scale()
    x_zero: int = zero_point()
    y_scale: float = scale()
    y_zero: int = zero_point()
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    count_include_pad: bool = False
    lo: int = limit(default=0)
    hi: int = limit(default=255, above="lo")
    offset: int = 0

    @property
    def window(self) -> Window:
        """Padding dequantises to zero."""
        return Window("w", self.kernel, self.stride, self.pads, self.dilation, self.x_zero)

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """One row and column for each window."""
        rows, columns, channels = single(shapes)
        return (*positions(self.window, (rows, columns)), channels)

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """Windows, each tap of which costs."""
        return Geometry(self.window, self.kernel[0] * self.kernel[1])

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """Mean of each window, of its taps inside the tensor unless the padding counts."""
        rule = (1.0, int(self.count_include_pad))
        x_scale, y_scale = (self.x_scale, self.x_zero), (self.y_scale, self.y_zero)
        scales = Elementwise(self.name, x_scale, rule, y_scale, self.lo, self.hi, offset=self.offset)
        pooled = cast(Meaning, _Pooled(self, x[0]))
        return numerics.average(pooled, Slab("", RowExpr()), "", "", scales)


class _Pooled:
    """The part of an interpreter that an averaging pool asks for."""

    def __init__(self, op: AvgPool, x: Array) -> None:
        self._op, self._x = op, x

    def patches(self, *_: object) -> Array:
        """Window contents."""
        return patches(self._x, self._op.window, self._op.shape)

    def patches_count(self, *_: object) -> Array:
        """Taps of each window inside the tensor."""
        window = self._op.window
        ones = np.ones((1, *self._x.shape[1:3], 1), np.float32)
        counting = Window("count", window.kernel, window.stride, window.pads, window.dilation)
        return np.asarray(patches(ones, counting, self._op.shape).sum(axis=3))


class Gap(TensorOp, op="q.gap"):
    """Global average (QLinearGlobalAveragePool): the sum of all positions, requantised."""

    multiplier: str = constant(np.float32, per_channel=True)
    bias: str = constant(np.int32, per_channel=True)
    y_zero: int = zero_point()
    lo: int = limit(default=0)
    hi: int = limit(default=255, above="lo")

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """One position."""
        return (1, 1, single(shapes)[2])

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """One window over everything."""
        rows, columns, _ = shapes[0]
        return Geometry(Window("w", (rows, columns)), rows * columns, sums=True)

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """Sums, requantised."""
        sums = x[0].sum(axis=(1, 2), keepdims=True, dtype=np.int32)
        multiplier, bias = run.constants[self.multiplier], run.constants[self.bias]
        return numerics.requantise(sums, multiplier, bias, self.y_zero, self.lo, self.hi)
