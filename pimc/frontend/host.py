"""The host's parts of a model: heads (from the inputs to a first 8-bit tensor), the tail, and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lowering import Lowering, Ref, image_like, stem_of
from pimc.frontend.session import run
from pimc.frontend.source import Array, Source
from pimc.frontend.subgraph import BATCH, Typed, as_constant, cut, nodes_between
from pimc.frontend.unit import Unit
from pimc.ir.ops import HostCall, TensorType
from pimc_isa.operands import View
from pimc_isa.program import Port

__all__ = ["make_head", "make_table", "make_tail", "ports", "zeros"]

UINT8, INT8 = onnx.TensorProto.UINT8, onnx.TensorProto.INT8


def ports(source: Source) -> tuple[Port, ...]:
    """The model's inputs with their shapes behind the batch."""
    return tuple(_port(v) for v in source.inputs)


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return Port(value.name, dtype.name, tuple(d.dim_value for d in tensor.shape.dim)[1:])


def make_head(lw: Lowering, tensor: str) -> Ref:
    """Make a value of an 8-bit tensor that depends on the model's inputs only."""
    source = lw.source
    nodes, read = nodes_between(source, [tensor], [])
    given = [v for v in source.inputs if v.name in read]
    fixed = [_typed(v, 1) for v in given]
    elem, dims = _inferred(cut(source, nodes, fixed, [Typed(tensor, UINT8, None)], "in"), tensor)
    if elem not in (UINT8, INT8) or dims is None or len(dims) not in (2, 4) or dims[0] != 1 or 0 in dims:
        raise NotOnChipError(f"{tensor} has shape {dims}, not batch x channels x rows x columns or batch x channels")
    offset = 128 if elem == INT8 else 0
    like = image_like((dims[2], dims[3], dims[1]), offset) if len(dims) == 4 else _vector(dims[1], offset)
    model = _batched(source, nodes, given, [Typed(tensor, elem, dims)], "in")
    name = lw.unique(_head_name(source, tensor))
    feeds = tuple((f"{v.name}.in" if v.name == tensor else v.name, f"${v.name}") for v in given)
    lw.graph.add(
        HostCall(
            name=name,
            inputs=(),
            type=TensorType("u8", like.shape),
            node=_last_name(source, tensor),
            views=(View(tensor, like.order, like.dims, offset),),
            model=lw.constant(f"{name}.onnx", as_constant(model)),
            feeds=feeds,
            fetches=((tensor, name),),
            why=_why(source, nodes) or "the model's input",
        )
    )
    return replace(like, value=name)


def _vector(channels: int, offset: int) -> Ref:
    return Ref("", (1, 1, channels), "CHW", (channels,), offset)


def _head_name(source: Source, tensor: str) -> str:
    return tensor.lstrip("/") if source.maker(tensor) else f"{tensor}.stored"


def _last_name(source: Source, tensor: str) -> str:
    node = source.maker(tensor)
    return node.name if node else ""


def _why(source: Source, nodes: Sequence[int]) -> str:
    kinds = dict.fromkeys(source.nodes[n].op_type for n in nodes if source.nodes[n].op_type != "Constant")
    return ", ".join(kinds)


def _typed(value: onnx.ValueInfoProto, batch: int | str) -> Typed:
    tensor = value.type.tensor_type
    return Typed(value.name, tensor.elem_type, (batch, *(d.dim_value for d in tensor.shape.dim[1:])))


def _inferred(model: onnx.ModelProto, tensor: str) -> tuple[int, tuple[int, ...] | None]:
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


def _batched(
    source: Source, nodes: Sequence[int], inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[Typed], copies: str
) -> onnx.ModelProto:
    """Cut a model with a symbolic batch where its operators allow one, else with batch 1."""
    loose = [replace(t, shape=(BATCH, *t.shape[1:]) if t.shape else None) for t in outputs]
    if _keeps_batch(source, cut(source, nodes, [_typed(v, 2) for v in inputs], loose, copies)):
        return cut(source, nodes, [_typed(v, BATCH) for v in inputs], loose, copies)
    return cut(source, nodes, [_typed(v, 1) for v in inputs], outputs, copies)


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


def make_tail(lw: Lowering) -> tuple[Port, ...]:
    """Add the host's call that makes all outputs from values of the chip; returns the outputs' ports."""
    source = lw.source
    nodes, read = nodes_between(source, source.outputs, lw.refs)
    tensors = sorted(read & lw.refs.keys())
    direct = [v for v in source.inputs if v.name in read and v.name not in lw.refs]
    values = [_described(name, lw.refs[name]) for name in tensors] + direct
    declared = {v.name: v.type.tensor_type.elem_type for v in source.model.graph.output}
    fixed = cut(source, nodes, [_typed(v, 1) for v in values], [Typed(n, declared[n], None) for n in source.outputs])
    found = {n: _inferred(fixed, o.name) for n, o in zip(source.outputs, fixed.graph.output, strict=True)}
    outputs = [Typed(n, elem, dims) for n, (elem, dims) in found.items()]
    model = _batched(source, nodes, values, outputs, "out")
    name = lw.unique("tail")
    lw.graph.add(
        HostCall(
            name=name,
            inputs=tuple(dict.fromkeys(lw.refs[t].value for t in tensors)),
            type=None,
            model=lw.constant(f"{name}.onnx", as_constant(model)),
            feeds=(*((t, lw.refs[t].value) for t in tensors), *((v.name, f"${v.name}") for v in direct)),
            fetches=tuple((o.name, f"${n}") for n, o in zip(source.outputs, fixed.graph.output, strict=True)),
            why=_why(source, nodes) or "the model's output",
        )
    )
    return tuple(_output_port(t) for t in outputs)


def _described(name: str, ref: Ref) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, INT8 if ref.offset else UINT8, (1, *ref.dims))


def _output_port(typed: Typed) -> Port:
    dims = tuple(int(d) for d in (typed.shape or ())[1:] if isinstance(d, int))
    return Port(typed.name, onnx.helper.tensor_dtype_to_np_dtype(typed.elem).name, dims)


def make_table(source: Source, config: Mapping[str, str], unit: Unit, x: Ref, offset: int) -> Array:
    """The 256 stored results of a unit with one 8-bit input, computed by onnxruntime on the unit's own nodes."""
    tensor, result = unit.activations[0].tensor, unit.output.tensor
    nodes, _ = nodes_between(source, [result], [tensor])
    rank = len(x.dims)
    shape = (1, 1, 16, 16) if rank == 3 else (1,) * rank + (256,)
    given = Typed(tensor, INT8 if x.offset else UINT8, shape)
    model = cut(source, nodes, [given], [Typed(result, INT8 if offset else UINT8, shape)])
    stored = np.arange(256).reshape(shape)
    values = (stored - x.offset).astype(np.int8 if x.offset else np.uint8)
    answer: Array = run(model.SerializeToString(), {tensor: values}, config)[0]
    assert math.prod(answer.shape) == 256, stem_of(unit)
    entries: Array = (answer.reshape(-1).astype(np.int32) + offset).astype(np.uint8)
    return entries
