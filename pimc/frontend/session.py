"""onnxruntime sessions of the front end: one thread, no log, the options that make 8-bit results exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pimc.frontend.source import Array

__all__ = ["ort_config", "run"]


def ort_config(*, qdq: bool, signed: bool) -> dict[str, str]:
    """Session options under which onnxruntime is the exact reference.

    Without x64quantprecision u8 x s8 products saturate on processors without VNNI. The option has no kernels for s8
    activations in QOperator form; s8 QDQ models need qdqisint8allowed to be fused at all.
    """
    config = {} if signed and not qdq else {"session.x64quantprecision": "1"}
    if signed:
        config["session.qdqisint8allowed"] = "1"
    return config


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
