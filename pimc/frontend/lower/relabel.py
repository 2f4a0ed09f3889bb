"""Operators that only name the same bytes anew (see `pimc.frontend.relabels`), and padding for a convolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.table import to_scale_of
from pimc.frontend.lowering import Lowering
from pimc.frontend.ref import Ref
from pimc.frontend.relabels import relabelled
from pimc.frontend.source import input_at
from pimc.frontend.unit import Unit

__all__ = ["pad", "relabel"]


def relabel(lw: Lowering, unit: Unit) -> Ref:
    """Name a value anew; a table first where the result has another scale."""
    x = lw.ref(unit.operand(0))
    new = relabelled(unit.node, x, lw.integers)
    moved = to_scale_of(lw, unit, x, unit.operand(0), hidden=".scaled")
    return replace(new, value=moved.value, offset=moved.offset)


def pad(lw: Lowering, unit: Unit) -> Ref:
    """Pad with zeros in front of convolutions: they add them themselves."""
    new = relabel(lw, unit)
    readers = [r for name in (unit.output.tensor, *_floats(lw, unit)) for r in lw.source.readers(name)]
    if any(r.op_type not in ("Conv", "QLinearConv", "DequantizeLinear") for r in readers):
        raise NotOnChipError("padding that others than convolutions read")
    fill = lw.source.constant(input_at(unit.node, 2)) if input_at(unit.node, 2) else np.zeros(1)
    zero = unit.operand(0).zero
    in_float = zero is not None
    if fill is None or (in_float and float(fill.reshape(-1)[0]) != 0.0):
        raise NotOnChipError("padding with another value than zero")
    if not in_float and any(_zero_of(lw, r.input[2]) != int(fill.reshape(-1)[0]) for r in readers):
        raise NotOnChipError("padding with another value than the zero point")
    return new


def _floats(lw: Lowering, unit: Unit) -> list[str]:
    """What DequantizeLinear nodes make of the result."""
    readers = lw.source.readers(unit.output.tensor)
    return [r.output[0] for r in readers if r.op_type == "DequantizeLinear"]


def _zero_of(lw: Lowering, name: str) -> int | None:
    value = lw.source.constant(name)
    return None if value is None or value.size != 1 else int(value.reshape(())[()])
