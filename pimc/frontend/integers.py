"""Integer tensors that are known at compile time: constants, shapes, and what exporters compute from them.

Exporters write ``x.view(x.size(0), -1)`` as Shape, Gather, Unsqueeze, Concat and Reshape; for one image all of it is
known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pimc.frontend.source import DEQUANTISE, Array, Source, attributes

__all__ = ["known_integers"]

_FOLDED = frozenset(
    {"Gather", "Unsqueeze", "Squeeze", "Concat", "Cast", "Slice", "Add", "Sub", "Mul", "Div", "Reshape"}
)


def known_integers(source: Source, dims: Callable[[str], tuple[int, ...] | None], tensor: str) -> Array | None:
    """The value of ``tensor`` for one image, or None. ``dims`` gives the ONNX shape of tensors without their batch."""
    value = source.constant(tensor)
    if value is not None:
        return value
    node = source.maker(tensor)
    if node is None:
        return None
    if node.op_type == "Shape":
        return _shape(source, dims, node.input[0], attributes(node))
    if node.op_type not in _FOLDED:
        return None
    values = [known_integers(source, dims, name) if name else None for name in node.input]
    if any(name and v is None for name, v in zip(node.input, values, strict=True)):
        return None
    from onnx.reference import ReferenceEvaluator

    feeds = {name: v for name, v in zip(node.input, values, strict=True) if name}
    results: Any = ReferenceEvaluator(node).run(None, feeds)
    return np.asarray(results[0])


def _shape(
    source: Source, dims: Callable[[str], tuple[int, ...] | None], tensor: str, given: dict[str, Any]
) -> Array | None:
    node = source.maker(tensor)
    if node is not None and node.op_type == DEQUANTISE:
        tensor = node.input[0]
    found = dims(tensor)
    if found is None:
        return None
    return np.array((1, *found)[given.get("start", 0) : given.get("end")], np.int64)
