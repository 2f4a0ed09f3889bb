"""Which files beside a model hold its weights."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

__all__ = ["external_files"]


def external_files(model: str | Path) -> list[Path]:
    """The files with a model's external weights; none for what is no model, which reading it says better."""
    path = Path(model)
    try:
        graph = onnx.ModelProto.FromString(path.read_bytes()).graph
    except Exception:  # OSError, protobuf's DecodeError
        return []
    return sorted({path.parent / ExternalDataInfo(t).location for t in graph.initializer if uses_external_data(t)})
