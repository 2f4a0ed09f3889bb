"""Which ONNX operators only move elements of their first input."""

from __future__ import annotations

import onnx

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.source import attributes

__all__ = ["MOVING", "check_movement", "is_movement"]

MOVING = frozenset(
    [
        *("Slice", "Gather", "DepthToSpace", "SpaceToDepth", "Resize", "Upsample", "Expand", "Tile", "Pad"),
        *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat"),
    ]
)


def check_movement(node: onnx.NodeProto) -> None:
    """Raise NotOnChipError for an operator that computes."""
    given = attributes(node)
    if node.op_type in ("Resize", "Upsample") and given.get("mode", "nearest") != "nearest":
        raise NotOnChipError(f"{node.op_type} by interpolation ({given['mode']})", node)
    if given.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise NotOnChipError("Resize of a region", node)
    if node.op_type not in MOVING:
        raise NotOnChipError(f"no unit for {node.op_type}", node)


def is_movement(node: onnx.NodeProto) -> bool:
    """Whether an operator only moves elements."""
    try:
        check_movement(node)
    except NotOnChipError:
        return False
    return True
