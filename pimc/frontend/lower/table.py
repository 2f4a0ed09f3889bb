"""Unary operators on 8 bits: 256-entry tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pimc.frontend.lowering import Lowering, output_offset, stored_limits
from pimc.frontend.ref import Ref
from pimc.frontend.source import Array, quantise_linear
from pimc.frontend.unit import Operand, Unit
from pimc.ir.ops import Lut
from pimc_isa.numerics import F32

__all__ = ["requantise", "requantised", "table", "to_scale_of"]


def table(lw: Lowering, unit: Unit) -> Ref:
    """Any chain of element-wise operators with one 8-bit input: onnxruntime computes its 256 values."""
    x = lw.ref(unit.activations[0])
    offset = output_offset(unit, x.offset)
    entries = lw.host.table(unit, x, offset)
    return _emit(lw, unit, x, offset, entries)


def requantise(lw: Lowering, unit: Unit) -> Ref:
    """DequantizeLinear and QuantizeLinear with nothing between: a table, or the same value where scales agree."""
    x = lw.ref(unit.operand(0))
    return to_scale_of(lw, unit, x, unit.operand(0))


def requantised(unit: Unit, operand: Operand) -> bool:
    """Whether operand and result differ in scale, zero point or type, or a Relu or Clip in between cuts into it."""
    out = unit.output
    if out.scale is None or operand.scale is None:
        return False
    same = operand.one_scale == out.one_scale and operand.one_zero == out.one_zero
    return not (same and operand.offset == out.offset) or stored_limits(unit, out.offset or 0) != (0, 255)


def to_scale_of(lw: Lowering, unit: Unit, x: Ref, operand: Operand, *, hidden: str = "") -> Ref:
    """Bring ``x``, quantised as ``operand`` says, to the scale of the unit's result, and within its limits."""
    if not requantised(unit, operand):
        return x
    offset = output_offset(unit, x.offset)
    entries = np.clip(conversion(operand, unit.output), *stored_limits(unit, offset)).astype(np.uint8)
    return _emit(lw, unit, x, offset, entries, hidden=hidden)


def conversion(x: Operand, y: Operand) -> Array:
    """Table of QuantizeLinear(DequantizeLinear(x)) on stored values, in float32 as onnxruntime computes it."""
    assert y.scale is not None
    assert y.zero is not None
    stored = np.arange(256, dtype=np.int32)
    real = (stored - (x.one_zero + (x.offset or 0))).astype(F32) * x.one_scale
    return (quantise_linear(real, y.scale, y.zero).astype(np.int32) + (y.offset or 0)).astype(np.uint8)


def _emit(lw: Lowering, unit: Unit, x: Ref, offset: int, entries: Array, *, hidden: str = "") -> Ref:
    like = Ref("", x.shape, x.order, x.dims, offset)
    constant = lw.table_constant(unit, entries)
    if hidden and (x.value, constant) in lw.converted:
        return replace(like, value=lw.converted[x.value, constant])
    made = lw.emit(Lut, unit, (x,), like, hidden=hidden, table=constant)
    if hidden:
        lw.converted[x.value, constant] = made.value
    return made
