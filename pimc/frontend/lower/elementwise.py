"""Two-input element-wise operators."""

from __future__ import annotations

from typing import Any

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.table import table
from pimc.frontend.lowering import Lowering, demand_no_overflow, output_offset, stored_limits
from pimc.frontend.ref import Ref
from pimc.frontend.unit import Unit
from pimc.ir.ops import Add, Max, Min, Mul, Sub, Sum, TwoInputs

__all__ = ["add", "larger", "mul", "smaller", "sub", "summed"]

SPREAD = 1e18
"""Products and quotients of scales within it are normal numbers."""


def add(lw: Lowering, unit: Unit) -> Ref:
    """QLinearAdd of two activations; adding a constant scalar is a table."""
    return _scalar(lw, unit) or _pair(lw, unit, Add)


def mul(lw: Lowering, unit: Unit) -> Ref:
    """QLinearMul of two activations; multiplying a constant scalar is a table."""
    return _scalar(lw, unit) or _pair(lw, unit, Mul)


def sub(lw: Lowering, unit: Unit) -> Ref:
    """Sub of two activations as real numbers."""
    return _scalar(lw, unit) or _pair(lw, unit, Sub)


def larger(lw: Lowering, unit: Unit) -> Ref:
    """Max of two activations as real numbers."""
    return _variadic(lw, unit, Max)


def smaller(lw: Lowering, unit: Unit) -> Ref:
    """Min of two activations as real numbers."""
    return _variadic(lw, unit, Min)


def summed(lw: Lowering, unit: Unit) -> Ref:
    """Sum of two activations as real numbers."""
    return _variadic(lw, unit, Sum)


def _variadic(lw: Lowering, unit: Unit, kind: type[TwoInputs]) -> Ref:
    if len(unit.inputs) == 1:
        return table(lw, unit)
    if len(unit.inputs) != 2:
        raise NotOnChipError(f"{unit.op} of {len(unit.inputs)} operands; the unit takes two")
    return _scalar(lw, unit) or _pair(lw, unit, kind)


def _scalar(lw: Lowering, unit: Unit) -> Ref | None:
    """A table where one operand is a constant: a scalar, or one value of each channel."""
    return table(lw, unit) if len(unit.activations) == 1 else None


def _pair(lw: Lowering, unit: Unit, kind: type[TwoInputs]) -> Ref:
    first, second = unit.operand(0), unit.operand(1)
    a, b = lw.ref(first), lw.ref(second)
    if _elements(a) < _elements(b):
        if kind is Sub:
            raise NotOnChipError("the first of its operands is broadcast")
        first, second, a, b = second, first, b, a
    if a.shape != b.shape or a.order != b.order:
        a, b = (lw.as_image(r, o.tensor) if len(r.dims) == 3 else r for r, o in ((a, first), (b, second)))
    broadcast = _broadcast(a, b)
    offset = output_offset(unit, 0)
    if {a.offset, b.offset} != {offset}:
        raise NotOnChipError("int8 and uint8 operands mixed")
    scales = [float(o.one_scale) for o in (first, second, unit.output)]
    if max(scales) / min(scales) > SPREAD or max(scales) > SPREAD or min(scales) < 1 / SPREAD:
        raise NotOnChipError("its scales are too far apart for 32-bit floating point")
    reach = scales[0] * scales[1] * 255 if kind is Mul else scales[0] + scales[1]
    demand_no_overflow(255 * reach / scales[2])
    lo, hi = stored_limits(unit, offset)
    fields: dict[str, Any] = {
        "a_scale": float(first.one_scale),
        "a_zero": first.one_zero + a.offset,
        "b_scale": float(second.one_scale),
        "b_zero": second.one_zero + b.offset,
        "y_scale": float(unit.output.one_scale),
        "y_zero": unit.output.one_zero + offset,
        "scalar_b": broadcast,
        "lo": lo,
        "hi": hi,
        "offset": offset,
    }
    return lw.emit(kind, unit, (a, b), Ref("", a.shape, a.order, a.dims, offset), **fields)


def _elements(ref: Ref) -> int:
    return ref.shape[0] * ref.shape[1] * ref.shape[2]


def _broadcast(a: Ref, b: Ref) -> bool:
    """Whether b is broadcast over a; an error unless it is equal in shape or one position."""
    if a.dims == b.dims and a.shape == b.shape and (a.order == b.order or (a.is_image and b.is_image)):
        return False
    if a.is_image and b.is_image and b.shape == (1, 1, a.shape[2]):
        return True
    if a.order == "HWC" and b.shape == (1, 1, a.shape[2]) and b.dims[-1] == a.shape[2] == a.dims[-1]:
        return True
    raise NotOnChipError(f"operands {list(a.dims)} and {list(b.dims)}: only one value per channel can be broadcast")
