"""Reads an ONNX model from a path, bytes or a ModelProto, and says clearly what is wrong with one that is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from pimc.frontend.errors import FrontendError

__all__ = ["read_model"]


def read_model(
    source: str | Path | bytes | onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]] | None
) -> tuple[onnx.ModelProto, bytes]:
    """The model and its bytes."""
    if isinstance(source, onnx.ModelProto):
        return source, source.SerializeToString()
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    model = onnx.ModelProto.FromString(data)
    return model, data
