"""The batch of the host's subgraphs: open where their operators allow it, so that many images run at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from pimc.frontend.errors import FrontendError
from pimc.frontend.session import run
from pimc.frontend.source import Array, Source
from pimc.frontend.subgraph import BATCH, Typed, cut

__all__ = ["batched", "demand_runs", "fixed_batch", "inferred", "typed", "zeros"]


def typed(value: onnx.ValueInfoProto, batch: int | str) -> Typed:
    """A tensor with its sizes behind the batch kept and the batch replaced."""
    tensor = value.type.tensor_type
    return Typed(value.name, tensor.elem_type, (batch, *(d.dim_value for d in tensor.shape.dim[1:])))


def inferred(model: onnx.ModelProto, tensor: str) -> tuple[int, tuple[int, ...] | None]:
    """Element type and shape of a model's output; operators onnx does not know are run once instead."""
    found = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
    for value in found:
        shape = value.type.tensor_type.shape
        if value.name == tensor and value.type.tensor_type.HasField("shape") and all(d.dim_value for d in shape.dim):
            return value.type.tensor_type.elem_type, tuple(d.dim_value for d in shape.dim)
    values = run(_untyped(model).SerializeToString(), zeros(model), {})
    result = values[[v.name for v in model.graph.output].index(tensor)]
    return onnx.helper.np_dtype_to_tensor_dtype(result.dtype), result.shape


def _untyped(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without claims about its outputs' types, which may be guesses."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.output:
        value.ClearField("type")
    return copy


def zeros(model: onnx.ModelProto) -> dict[str, Array]:
    """An all-zero feed of one image (or of the model's fixed batch)."""
    return {
        v.name: np.zeros(
            [d.dim_value or 1 for d in v.type.tensor_type.shape.dim],
            onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type),
        )
        for v in model.graph.input
    }


def demand_runs(model: onnx.ModelProto, what: str) -> None:
    """Run a host model once, on zeros or, where those do not work, on ones.

    Raises FrontendError if it cannot run or a result has no batch axis.
    """
    try:
        results = run(model.SerializeToString(), zeros(model), {})
    except FrontendError:
        ones = {name: np.ones_like(array) for name, array in zeros(model).items()}
        results = run(model.SerializeToString(), ones, {})
    for value, result in zip(model.graph.output, results, strict=True):
        if np.ndim(result) == 0:
            raise FrontendError(f"{what}: {value.name!r} is a single number without a batch axis. Keep the first axis.")


def batched(
    source: Source, nodes: Sequence[int], inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[Typed], copies: str
) -> onnx.ModelProto:
    """Cut a model with a symbolic batch where its operators allow one, else with batch 1."""
    loose = [replace(t, shape=(BATCH, *t.shape[1:]) if t.shape else None) for t in outputs]
    if _keeps_batch(source, cut(source, nodes, [typed(v, 2) for v in inputs], loose, copies)):
        return cut(source, nodes, [typed(v, BATCH) for v in inputs], loose, copies)
    return cut(source, nodes, [typed(v, 1) for v in inputs], outputs, copies)


def fixed_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model for one image, with the shapes of its outputs."""
    one = onnx.ModelProto()
    one.CopyFrom(model)
    for value in one.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in one.graph.output:
        value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(one, data_prop=True)


def _keeps_batch(source: Source, model: onnx.ModelProto) -> bool:
    """Whether a model with inputs of batch 2 has outputs of batch 2."""
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception:
        return False
    if all(_batch_of(v) for v in inferred.graph.output):
        return all(_batch_of(v) == 2 for v in inferred.graph.output)
    try:
        values = run(_untyped(model).SerializeToString(), zeros(model), {})
    except Exception:
        return False
    return all(v.ndim > 0 and v.shape[0] == 2 for v in values)


def _batch_of(value: onnx.ValueInfoProto) -> int:
    dims = value.type.tensor_type.shape.dim
    return dims[0].dim_value if dims else 0
