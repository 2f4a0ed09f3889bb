"""Which ONNX operators only move elements of their first input."""

from __future__ import annotations

import onnx

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.source import Source, attributes, input_at

__all__ = ["MOVING", "check_movement", "fill_of", "is_filled", "is_movement"]

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


def is_filled(node: onnx.NodeProto) -> bool:
    """Whether a node is a Pad with a value of its own, not with elements of its input."""
    return node.op_type == "Pad" and attributes(node).get("mode", "constant") == "constant"


def fill_of(source: Source, node: onnx.NodeProto) -> float | None:
    """The value that such a Pad adds; None if it is computed."""
    if not input_at(node, 2):
        return float(attributes(node).get("value", 0.0))
    value = source.constant(input_at(node, 2))
    return None if value is None else float(value.reshape(-1)[0])
