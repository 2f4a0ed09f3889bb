"""onnxruntime sessions of the front end: one thread, no log, the options that make 8-bit results exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pimc.frontend.source import Array

__all__ = ["ort_config", "run"]


def ort_config(*, signed: bool) -> dict[str, str]:
    """Session options under which onnxruntime is the exact reference.

    Without x64quantprecision u8 x s8 products saturate on processors without VNNI. It turns s8 weights into u8 ones,
    for which kernels with s8 activations do not exist: models with s8 activations need qdqisint8allowed instead, so
    that they are fused as they stand (s8 x s8 never saturates).
    """
    return {"session.qdqisint8allowed": "1"} if signed else {"session.x64quantprecision": "1"}


def run(model: bytes, feeds: Mapping[str, Array], config: Mapping[str, str]) -> list[Any]:
    """Run a model on the CPU and return all outputs."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feeds)))
