"""Concatenation."""

from __future__ import annotations

import onnx

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.move import movement
from pimc.frontend.lower.table import to_scale_of
from pimc.frontend.lowering import Lowering, output_offset
from pimc.frontend.ref import Ref, image_like
from pimc.frontend.unit import Unit
from pimc.ir.ops import Concat

__all__ = ["concat"]


def concat(lw: Lowering, unit: Unit) -> Ref:
    """Concat; inputs of another scale than the result's go through a table first. Along channels nothing moves."""
    operands = [unit.operand(n) for n in range(len(unit.inputs))]
    refs = [lw.ref(o) for o in operands]
    axis = int(unit.attributes.get("axis", 1))
    parts = tuple(
        to_scale_of(lw, unit, r, o, hidden=f".part{n}") for n, (r, o) in enumerate(zip(refs, operands, strict=True))
    )
    vectors = all(r.is_vector for r in refs)
    images = vectors or all(r.is_image for r in refs)
    if not images or axis not in (1, 1 - (2 if vectors else 4)) or len({r.shape[:2] for r in refs}) > 1:
        return _moved(lw, unit, parts, axis)
    shape = (*refs[0].shape[:2], sum(r.shape[2] for r in refs))
    offset = output_offset(unit, refs[0].offset)
    like = Ref("", shape, "CHW", (shape[2],), offset) if vectors else image_like(shape, offset)
    return lw.emit(Concat, unit, parts, like)


def _moved(lw: Lowering, unit: Unit, parts: tuple[Ref, ...], axis: int) -> Ref:
    """Along any other axis."""
    if len({part.offset for part in parts}) > 1:
        raise NotOnChipError("int8 and uint8 operands mixed")
    names = [f"x{n}" for n in range(len(parts))]
    node = onnx.helper.make_node("Concat", names, [unit.output.tensor], unit.node.name, axis=axis)
    return movement(lw, node, parts, result="" if unit.after else unit.output.tensor)
