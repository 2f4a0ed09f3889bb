"""onnxruntime sessions of the front end: one thread, no log, the options that make 8-bit results exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pimc.frontend.errors import FrontendError
from pimc.frontend.source import Array

__all__ = ["open_session", "ort_config", "run"]


def ort_config(*, signed: bool) -> dict[str, str]:
    """Session options under which onnxruntime is the exact reference.

    Without x64quantprecision u8 x s8 products saturate on processors without VNNI. It turns s8 weights into u8 ones,
    for which kernels with s8 activations do not exist: models with s8 activations need qdqisint8allowed instead, so
    that they are fused as they stand (s8 x s8 never saturates).
    """
    return {"session.qdqisint8allowed": "1"} if signed else {"session.x64quantprecision": "1"}


def open_session(model: bytes, config: Mapping[str, str], *, optimise: bool = True) -> Any:
    """A session on the CPU. Raises what onnxruntime raises, which has no common class."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model: bytes, feeds: Mapping[str, Array], config: Mapping[str, str]) -> list[Any]:
    """Run a model on the CPU and return all outputs. Raises FrontendError for what onnxruntime cannot run."""
    try:
        session = open_session(model, config)
    except Exception as error:
        raise FrontendError(f"onnxruntime cannot run a part of the model: {_first_line(error)}") from error
    try:
        return list(session.run(None, dict(feeds)))
    except Exception as error:
        raise FrontendError(f"onnxruntime cannot run a part of the model: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
