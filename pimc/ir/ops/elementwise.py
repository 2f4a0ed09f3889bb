"""Ops of two tensors, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pimc.ir.ops.base import Array, Constants, Evaluation, Geometry, InferError, Shape, TensorOp
from pimc.ir.ops.specs import limit, scale, zero_point
from pimc_isa import instructions
from pimc_isa.operands import Elementwise

__all__ = ["Add", "Max", "Min", "Mul", "Sub", "Sum", "TwoInputs"]


class TwoInputs(TensorOp):
    """Shared by the two-input ops. ``offset`` is 128 where the tensors are int8, stored as unsigned.

    The second operand may be one row and column: a value per channel, or one alone.
    """

    a_scale: float = scale()
    a_zero: int = zero_point()
    b_scale: float = scale()
    b_zero: int = zero_point()
    y_scale: float = scale()
    y_zero: int = zero_point()
    lo: int = limit(default=0)
    hi: int = limit(default=255, above="lo")
    scalar_b: bool = False
    offset: int = 0

    instruction: ClassVar[type[instructions.PerPair]]

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """That of the first operand."""
        if len(shapes) != 2:
            raise InferError(f"takes two inputs, has {len(shapes)}")
        a, b = shapes
        if b not in (a, (1, 1, a[2]), (1, 1, 1)):
            raise InferError(f"operands {a} and {b} do not match: the second must be equal, or one row and column")
        return a

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """A row of each for a row; a second operand of one row and column is needed whole."""
        return Geometry(whole=() if shapes[0] == shapes[1] else (1,))

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """What the instruction makes of both."""
        return type(self).instruction.compute(x[0], x[1], self.scales(self.name))

    def scales(self, name: str) -> Elementwise:
        """Scales and limits as the instruction has them."""
        a, b, y = (self.a_scale, self.a_zero), (self.b_scale, self.b_zero), (self.y_scale, self.y_zero)
        return Elementwise(name, a, b, y, self.lo, self.hi, self.scalar_b, self.offset)


class Add(TwoInputs, op="q.add"):
    """Quantised addition (QLinearAdd)."""

    instruction = instructions.Add


class Mul(TwoInputs, op="q.mul"):
    """Quantised multiplication (QLinearMul); the second operand may be one row and column (a gate per channel)."""

    instruction = instructions.Mul


class Sub(TwoInputs, op="q.sub"):
    """The difference of two dequantised tensors, quantised (ONNX Sub)."""

    instruction = instructions.Sub


class Max(TwoInputs, op="q.max"):
    """The larger of two dequantised tensors, quantised (ONNX Max)."""

    instruction = instructions.Max


class Min(TwoInputs, op="q.min"):
    """The smaller of two dequantised tensors, quantised (ONNX Min)."""

    instruction = instructions.Min


class Sum(TwoInputs, op="q.sum"):
    """The sum of two dequantised tensors, quantised (ONNX Sum)."""

    instruction = instructions.Sum
