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


MAX_ELEMENTS, MAX_DEPTH = 4096, 100
"""Larger tensors, and those further behind constants and shapes, are no sizes."""

Dims = Callable[[str], tuple[int, ...] | None]


def known_integers(source: Source, dims: Dims, tensor: str) -> Array | None:
    """The value of ``tensor`` for one image, or None. ``dims`` gives the ONNX shape of tensors without their batch."""
    return _known(source, dims, tensor, {}, 0)


def _known(source: Source, dims: Dims, tensor: str, found: dict[str, Array | None], depth: int) -> Array | None:
    """As `known_integers`; every tensor is computed once."""
    if tensor not in found:
        value = _computed(source, dims, tensor, found, depth) if depth < MAX_DEPTH else None
        found[tensor] = None if value is not None and value.size > MAX_ELEMENTS else value
    return found[tensor]


def _computed(source: Source, dims: Dims, tensor: str, found: dict[str, Array | None], depth: int) -> Array | None:
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
    values = [_known(source, dims, name, found, depth + 1) if name else None for name in node.input]
    if any(name and v is None for name, v in zip(node.input, values, strict=True)):
        return None
    from onnx.reference import ReferenceEvaluator

    feeds = {name: v for name, v in zip(node.input, values, strict=True) if name}
    try:
        results: Any = ReferenceEvaluator(node).run(None, feeds)
    except Exception:  # it raises what numpy raises; the tensor is then no known size
        return None
    return np.asarray(results[0])


def _shape(source: Source, dims: Dims, tensor: str, given: dict[str, Any]) -> Array | None:
    node = source.maker(tensor)
    if node is not None and node.op_type == DEQUANTISE:
        tensor = node.input[0]
    found = dims(tensor)
    if found is None:
        return None
    return np.array((1, *found)[given.get("start", 0) : given.get("end")], np.int64)
