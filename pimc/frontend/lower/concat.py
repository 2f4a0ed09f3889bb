"""Concatenation along channels."""

from __future__ import annotations

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.table import to_scale_of
from pimc.frontend.lowering import Lowering, output_offset
from pimc.frontend.ref import Ref, image_like
from pimc.frontend.unit import Unit
from pimc.ir.ops import Concat

__all__ = ["concat"]


def concat(lw: Lowering, unit: Unit) -> Ref:
    """Concat on the channel axis; inputs of another scale than the result's go through a table first."""
    operands = [unit.operand(n) for n in range(len(unit.inputs))]
    refs = [lw.ref(o) for o in operands]
    axis = int(unit.attributes.get("axis", 1))
    vectors = all(r.is_vector for r in refs)
    if not vectors and not all(r.is_image for r in refs):
        raise NotOnChipError("operands are not channels x rows x columns maps")
    if axis not in (1, 1 - (2 if vectors else 4)):
        raise NotOnChipError(f"concatenation along axis {axis}; only channels (1)")
    if len({r.shape[:2] for r in refs}) > 1:
        raise NotOnChipError("operands differ in rows or columns")
    parts = tuple(
        to_scale_of(lw, unit, r, o, hidden=f".part{n}") for n, (r, o) in enumerate(zip(refs, operands, strict=True))
    )
    shape = (*refs[0].shape[:2], sum(r.shape[2] for r in refs))
    offset = output_offset(unit, refs[0].offset)
    like = Ref("", shape, "CHW", (shape[2],), offset) if vectors else image_like(shape, offset)
    return lw.emit(Concat, unit, parts, like)
