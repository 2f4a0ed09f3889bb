"""Result types of ops, computed from their inputs and constants only: the verifier's independent opinion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pimc.ir.ops import InferError, Op, TensorType

__all__ = ["InferError", "infer_type"]


def infer_type(op: Op, inputs: Sequence[TensorType], constants: Mapping[str, np.ndarray]) -> TensorType:
    """Return the type of ``op``'s result. Raises InferError."""
    for t in inputs:
        if t.dtype not in op.reads:
            raise InferError(f"reads {t.dtype}, {op.kind} reads {' or '.join(op.reads)}")
    return TensorType(op.makes, op.infer([t.shape for t in inputs], constants))
