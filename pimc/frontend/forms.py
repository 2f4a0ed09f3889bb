"""Which axis of a model's inputs is the images, and models that have none.

The rest of the compiler wants tensors that begin with a batch of one. A model whose batch is fixed at more is compiled
for one image if its images do not mix, which is tried out. Any other model (scalars, lists, outputs without a batch)
becomes one whose inputs and outputs have an axis of length one in front.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from pimc.frontend.admit.sizes import skeleton
from pimc.frontend.errors import FrontendError
from pimc.frontend.raised import raised
from pimc.frontend.session import run
from pimc.frontend.shapes import forget_shapes, model_inputs
from pimc.frontend.source import Array

__all__ = ["settle_batch"]

LARGEST = 64
"""Images of a fixed batch that are tried out."""
RTOL, ATOL = 1e-3, 1e-5


def settle_batch(model: onnx.ModelProto) -> tuple[bool, bool]:
    """Give every input a batch of one, in place; returns whether anything changed, and whether it had none.

    Raises FrontendError for a model that onnxruntime cannot run to find the shapes of its outputs.
    """
    inputs = model_inputs(model)
    first = [_dims(v)[0] if _dims(v) else 0 for v in inputs]
    ranks = [len(_dims(v)) for v in inputs]
    if not inputs:
        _add_axes(model)
        return True, True
    if min(ranks) >= 2 and all(d <= 1 for d in first):
        if _keeps_batch(model):
            return False, False
    elif min(ranks) >= 2 and _is_of_images(model, first):
        _set_batch(model, 1)
        return True, False
    _add_axes(model)
    return True, True


def _dims(value: onnx.ValueInfoProto) -> list[int]:
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


def _set_batch(model: onnx.ModelProto, size: int) -> None:
    for value in model_inputs(model):
        value.type.tensor_type.shape.dim[0].dim_value = size
    forget_shapes(model)


def _keeps_batch(model: onnx.ModelProto) -> bool:
    """Whether outputs begin with the batch of one, as far as onnx knows their shapes."""
    bare = skeleton(model)
    forget_shapes(bare)
    try:
        outputs = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph.output
    except Exception:  # said better where the model is admitted
        return True
    return all(_begins_with_one(v) for v in outputs)


def _begins_with_one(value: onnx.ValueInfoProto) -> bool:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return True
    dims = tensor.shape.dim
    return bool(dims) and (dims[0].dim_value == 1 or not dims[0].HasField("dim_value"))


def _is_of_images(model: onnx.ModelProto, sizes: Sequence[int]) -> bool:
    """Whether the model does to a batch what it does to its images one by one, on random ones."""
    images = max(sizes)
    if images > LARGEST or any(size not in (0, images) for size in sizes):
        return False
    one = onnx.ModelProto()
    one.CopyFrom(model)
    _set_batch(one, 1)
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    _set_batch(whole, images)
    rng = np.random.default_rng(0)
    feeds = {v.name: _random(v, rng) for v in model_inputs(whole)}
    try:
        together = run(whole.SerializeToString(), feeds, {})
        apart = [run(one.SerializeToString(), {k: a[n : n + 1] for k, a in feeds.items()}, {}) for n in range(images)]
    except FrontendError:
        return False
    for number, result in enumerate(together):
        parts = [each[number] for each in apart]
        if any(np.ndim(p) == 0 or len(p) != 1 for p in parts) or np.shape(result)[:1] != (images,):
            return False
        if not np.allclose(np.concatenate(parts), result, RTOL, ATOL, equal_nan=True):
            return False
    return True


def _random(value: onnx.ValueInfoProto, rng: np.random.Generator) -> Array:
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(_dims(value)).astype(dtype)
    return rng.integers(0, 2 if dtype == np.bool_ else 100, _dims(value)).astype(dtype)


def _add_axes(model: onnx.ModelProto) -> None:
    """Put an axis of length one in front of every input and output, in place."""
    shapes = _output_shapes(model)
    graph, names = model.graph, {v.name for v in model_inputs(model)}
    alone = [v.name for v in graph.output if v.name in names]
    if alone:
        raise FrontendError(f"Output {alone[0]!r} is an input of the model. Leave it out.")
    nodes = raised(model, dict(zip((v.name for v in graph.output), shapes, strict=True)))
    for value in model_inputs(model):
        _describe(value, _dims(value))
    for value, dims in zip(graph.output, shapes, strict=True):
        _describe(value, dims)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)


def _output_shapes(model: onnx.ModelProto) -> list[list[int]]:
    """Shapes of the outputs for one feed; onnx's where it knows them, else those of a run on zeros."""
    bare = skeleton(model)
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    found = []
    try:
        for value in onnx.shape_inference.infer_shapes(bare, data_prop=True).graph.output:
            dims = value.type.tensor_type.shape.dim
            if not value.type.tensor_type.HasField("shape") or not all(d.HasField("dim_value") for d in dims):
                break
            found.append([d.dim_value for d in dims])
    except Exception:  # said better where the model is admitted
        found = []
    if len(found) == len(model.graph.output):
        return found
    trial = onnx.ModelProto()
    trial.CopyFrom(model)
    forget_shapes(trial)
    feeds = {v.name: _zeros(v) for v in model_inputs(trial)}
    return [list(np.shape(value)) for value in run(trial.SerializeToString(), feeds, {})]


def _zeros(value: onnx.ValueInfoProto) -> Array:
    dims = [d or 1 for d in _dims(value)]
    return np.zeros(dims, helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _describe(value: onnx.ValueInfoProto, dims: Sequence[int]) -> None:
    """Shape a value as one with a batch of one in front."""
    elem = value.type.tensor_type.elem_type
    value.CopyFrom(helper.make_tensor_value_info(value.name, elem, [1, *dims]))
