"""Operators that only name the same bytes anew (see `pimc.frontend.relabels`), and padding for a convolution."""

from __future__ import annotations

import numpy as np
import onnx

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.move import movement
from pimc.frontend.lower.table import to_scale_of
from pimc.frontend.lowering import Lowering
from pimc.frontend.moving import fill_of, is_filled
from pimc.frontend.ref import Ref
from pimc.frontend.source import quantise_linear
from pimc.frontend.unit import Unit
from pimc_isa.numerics import F32

__all__ = ["pad", "padded", "relabel"]


def relabel(lw: Lowering, unit: Unit) -> Ref:
    """Name a value anew, or move its elements; a table first where the result has another scale."""
    x = lw.ref(unit.operand(0))
    scaled = to_scale_of(lw, unit, x, unit.operand(0), hidden=".scaled")
    return lw.renamed(unit.node, scaled, result="" if unit.after else unit.output.tensor)


def pad(lw: Lowering, unit: Unit) -> Ref:
    """Pad with zeros in front of convolutions: they add them themselves. Other padding is a movement."""
    x = lw.ref(unit.operand(0))
    scaled = to_scale_of(lw, unit, x, unit.operand(0), hidden=".scaled")
    return padded(lw, unit, unit.node, scaled, last=not unit.after)


def padded(lw: Lowering, unit: Unit, node: onnx.NodeProto, x: Ref, *, last: bool) -> Ref:
    """What a Pad makes of ``x``, which has the unit's scale already; ``last``: its result is the unit's."""
    if last and _is_for_convolutions(lw, unit, node):
        return lw.renamed(node, x, result=unit.output.tensor)
    return movement(lw, node, [x], fill=_stored_fill(lw, unit, node, x), result=unit.output.tensor if last else "")


def _is_for_convolutions(lw: Lowering, unit: Unit, node: onnx.NodeProto) -> bool:
    """Whether only convolutions read the result, for which the padding is zero."""
    if not is_filled(node):
        return False
    readers = [r for name in (unit.output.tensor, *_floats(lw, unit)) for r in lw.source.readers(name)]
    if any(r.op_type not in ("Conv", "QLinearConv", "DequantizeLinear") for r in readers):
        return False
    fill = _fill(lw, node)
    if unit.operand(0).zero is not None:
        return fill == 0.0
    return all(_zero_of(lw, r.input[2]) == int(fill) for r in readers)


def _fill(lw: Lowering, node: onnx.NodeProto) -> float:
    """The value that the padding has."""
    value = fill_of(lw.source, node)
    if value is None:
        raise NotOnChipError("padding with a value that is computed", node)
    return value


def _stored_fill(lw: Lowering, unit: Unit, node: onnx.NodeProto, x: Ref) -> int:
    """The padding's value as it is stored at the result's scale."""
    out = unit.output if unit.output.scale is not None else unit.operand(0)
    value = np.array(_fill(lw, node), F32)
    if out.scale is None or out.zero is None:
        return int(value) + x.offset
    return int(quantise_linear(value, out.scale, out.zero)) + x.offset


def _floats(lw: Lowering, unit: Unit) -> list[str]:
    """What DequantizeLinear nodes make of the result."""
    readers = lw.source.readers(unit.output.tensor)
    return [r.output[0] for r in readers if r.op_type == "DequantizeLinear"]


def _zero_of(lw: Lowering, name: str) -> int | None:
    value = lw.source.constant(name)
    return None if value is None or value.size != 1 else int(value.reshape(())[()])
