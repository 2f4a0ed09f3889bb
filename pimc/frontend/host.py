"""What the host makes: heads (from the inputs to a first 8-bit tensor), constant operands, and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx

from pimc.frontend.batch import batched, demand_runs, fixed_batch, inferred, typed
from pimc.frontend.by_row import row_model
from pimc.frontend.errors import FrontendError, NotOnChipError
from pimc.frontend.lowering import Lowering
from pimc.frontend.ref import Ref, image_like, tensor_like, vector_like
from pimc.frontend.session import run
from pimc.frontend.source import Array, Source
from pimc.frontend.subgraph import BATCH, Typed, as_constant, cut, nodes_between
from pimc.frontend.unit import Operand, Unit
from pimc.ir.ops import HostCall, TensorType
from pimc_isa.element import U8
from pimc_isa.operands import View
from pimc_isa.program import Port

__all__ = ["HostBuilder", "described", "ports", "why"]

UINT8, INT8 = onnx.TensorProto.UINT8, onnx.TensorProto.INT8


class HostBuilder:
    """What the host does for the chip (see `pimc.frontend.lowering.Host`); ``config`` are onnxruntime's options."""

    def __init__(self, source: Source, config: Mapping[str, str]) -> None:
        self._source = source
        self._config = config

    def head(self, lw: Lowering, tensor: str, order: str) -> Ref:
        """Make a value of a tensor that depends on the model's inputs only."""
        return _call(lw, tensor, order)

    def island(self, lw: Lowering, tensor: str, order: str) -> Ref:
        """Make a value of a tensor that depends on values of the chip."""
        return _call(lw, tensor, order)

    def fixed(self, lw: Lowering, operand: Operand) -> Ref:
        """Make a value of a constant 8-bit tensor."""
        return _fixed(lw, operand)

    def table(self, unit: Unit, x: Ref, offset: int) -> Array:
        """Compute the 256 entries of a unit with one 8-bit input."""
        return _table(self._source, self._config, unit, x, offset)


def ports(source: Source) -> tuple[Port, ...]:
    """The model's inputs with their shapes behind the batch."""
    return tuple(_port(v) for v in source.inputs)


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return Port(value.name, dtype.name, tuple(d.dim_value for d in tensor.shape.dim)[1:])


def _call(lw: Lowering, tensor: str, order: str) -> Ref:
    """Make a value of an 8-bit tensor by a call, from values of the chip so far and the model's inputs.

    ``order`` says which axis of a tensor with other than two or four axes is the channels.
    """
    source = lw.source
    nodes, read = nodes_between(source, [tensor], lw.refs)
    held = sorted(read & lw.refs.keys())
    given = [
        *(described(name, lw.refs[name]) for name in held),
        *(v for v in source.inputs if v.name in read - lw.refs.keys()),
    ]
    if not given:
        raise NotOnChipError(f"{tensor} depends on no input")
    fixed = [typed(v, 1) for v in given]
    elem, dims = inferred(cut(source, nodes, fixed, [Typed(tensor, UINT8, None)], "in"), tensor)
    if elem not in (UINT8, INT8):
        kind = onnx.helper.tensor_dtype_to_np_dtype(elem).name
        raise NotOnChipError(f"{tensor} is {kind}; the chip's activations have 8 bits")
    if not dims or dims[0] != 1 or 0 in dims:
        raise NotOnChipError(f"{tensor} has shape {dims}, which does not begin with the batch")
    like = tensor_like(dims[1:], 128 if elem == INT8 else 0, order)
    model = batched(source, nodes, given, [Typed(tensor, elem, dims)], "in")
    demand_runs(model, tensor)
    name = lw.unique(_head_name(source, tensor))
    feeds = tuple((f"{v.name}.in" if v.name == tensor else v.name, _place(lw, v.name)) for v in given)
    call = HostCall(
        name=name,
        inputs=tuple(dict.fromkeys(lw.refs[t].value for t in held)),
        type=TensorType(U8.name, like.shape),
        node=_last_name(source, tensor),
        views=(View(tensor, like.order, like.dims, like.offset),),
        model="",
        feeds=feeds,
        fetches=((tensor, name),),
        why=why(source, nodes) or "the model's input",
    )
    if held:
        lw.inexact[tensor] = "the host computes it, apart from the rest"
    row = _by_row(lw, call, model) if held else None
    data = as_constant(model) if row is None else np.frombuffer(row, np.uint8)
    lw.graph.add(replace(call, model=lw.constant(f"{name}.onnx", data), by_row=row is not None))
    return replace(like, value=name)


def _place(lw: Lowering, tensor: str) -> str:
    return lw.refs[tensor].value if tensor in lw.refs else f"${tensor}"


def _by_row(lw: Lowering, call: HostCall, model: onnx.ModelProto) -> bytes | None:
    """The subgraph for one row, where all values are maps of equal height whose rows it keeps apart."""
    views = {view.tensor: (view, call.shape) for view in call.views}
    for tensor, place in call.feeds:
        if place.startswith("$"):
            return None
        op = lw.graph[place]
        views |= {v.tensor: (v, op.shape) for v in op.views if v.tensor == tensor}
    axes: dict[str, int] = {}
    for tensor, (view, (h, w, c)) in views.items():
        if view.shape not in ((c, h, w), (h, w, c)) or view.channel or h != call.shape[0]:
            return None
        axes[tensor] = 2 if view.order == "CHW" else 1
    (result,) = [tensor for tensor, _ in call.fetches]
    axis = axes.pop(result)
    return row_model(fixed_batch(model), call.shape[0], axes, result, axis)


def described(name: str, ref: Ref) -> onnx.ValueInfoProto:
    """An 8-bit tensor of the chip as ONNX describes it, for one image."""
    return onnx.helper.make_tensor_value_info(name, INT8 if ref.offset else UINT8, (1, *ref.dims))


def _fixed(lw: Lowering, operand: Operand) -> Ref:
    """A constant operand: the host sends it with every image, once for each of the batch."""
    value, given = operand.value, lw.source.inputs[0]
    if value is None or value.dtype not in (np.uint8, np.int8):
        raise NotOnChipError(f"{operand.tensor} is a constant in floating point")
    dims = value.shape[1:] if value.ndim in (2, 4) and value.shape[0] == 1 else value.shape
    if len(dims) not in (1, 3):
        raise NotOnChipError(f"{operand.tensor} is a constant of shape {list(value.shape)}")
    offset = 128 if value.dtype == np.int8 else 0
    like = image_like((dims[1], dims[2], dims[0]), offset) if len(dims) == 3 else vector_like(dims[0], offset)
    name = lw.unique(operand.tensor.lstrip("/"))
    lw.graph.add(
        HostCall(
            name=name,
            inputs=(),
            type=TensorType(U8.name, like.shape),
            views=(View(operand.tensor, like.order, like.dims, offset),),
            model=lw.constant(f"{name}.onnx", as_constant(_repeated(given, operand.tensor, value.reshape(1, *dims)))),
            feeds=((given.name, f"${given.name}"),),
            fetches=((operand.tensor, name),),
            why="a constant operand",
        )
    )
    return replace(like, value=name)


def _repeated(given: onnx.ValueInfoProto, name: str, value: Array) -> onnx.ModelProto:
    """A model that repeats a constant along the batch of its input."""
    node = onnx.helper.make_node
    nodes = [
        node("Shape", [given.name], ["size"], start=0, end=1),
        node("Concat", ["size", "rest"], ["target"], axis=0),
        node("Expand", ["value", "target"], [name]),
    ]
    constants = {"rest": np.array(value.shape[1:], np.int64), "value": value}
    elem = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    graph = onnx.helper.make_graph(
        nodes,
        "constant",
        [typed(given, BATCH).proto()],
        [Typed(name, elem, (BATCH, *value.shape[1:])).proto()],
        [onnx.numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 15)], ir_version=8)


def _head_name(source: Source, tensor: str) -> str:
    return tensor.lstrip("/") if source.maker(tensor) else f"{tensor}.stored"


def _last_name(source: Source, tensor: str) -> str:
    node = source.maker(tensor)
    return node.name if node else ""


def why(source: Source, nodes: Sequence[int]) -> str:
    """Say what a subgraph is: its operators, each once."""
    kinds = dict.fromkeys(source.nodes[n].op_type for n in nodes if source.nodes[n].op_type != "Constant")
    return ", ".join(kinds)


def _leave_out(model: onnx.ModelProto, moves: Sequence[onnx.NodeProto]) -> None:
    """Take nodes that only move elements out of a model, in place: the chip moves them itself."""
    instead = {node.output[0]: node.input[0] for node in moves}
    kept = [node for node in model.graph.node if node.output[0] not in instead]
    for node in kept:
        for n, name in enumerate(node.input):
            while name in instead:
                name = instead[name]
            node.input[n] = name
    read = {name for node in kept for name in node.input}
    constants = [t for t in model.graph.initializer if t.name in read]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(constants)


def _table(source: Source, config: Mapping[str, str], unit: Unit, x: Ref, offset: int) -> Array:
    """The stored results of a unit with one 8-bit input, computed by onnxruntime on the unit's own nodes.

    Shape 256, or channels x 256 where constants differ by channel. Raises NotOnChipError where they differ by place.
    """
    tensor, result = unit.activations[0].tensor, unit.output.tensor
    nodes, _ = nodes_between(source, [result], [tensor])
    codes = np.arange(256)
    shape, stored = _of_all_channels(x, codes) if x.shape[2] > 1 else (_of_one(x), codes)
    given = Typed(tensor, INT8 if x.offset else UINT8, (BATCH, *shape[1:]))
    model = cut(source, nodes, [given], [Typed(result, INT8 if offset else UINT8, (BATCH, *shape[1:]))])
    _leave_out(model, [*unit.activations[0].through, *unit.after])
    if not any(math.prod(t.dims) > 1 for t in model.graph.initializer):
        shape, stored = _of_one(x), codes
        for value in (*model.graph.input, *model.graph.output):
            value.CopyFrom(Typed(value.name, value.type.tensor_type.elem_type, shape).proto())
    values = (stored.reshape(shape) - x.offset).astype(np.int8 if x.offset else np.uint8)
    try:
        answer: Array = run(model.SerializeToString(), {tensor: values}, config)[0]
    except FrontendError as error:
        raise NotOnChipError(str(error).splitlines()[0]) from None
    if answer.shape != values.shape:
        raise NotOnChipError("an operand is a constant tensor; only scalars and one value of each channel make tables")
    entries: Array = (answer.reshape(answer.shape[0], -1).astype(np.int32) + offset).astype(np.uint8)
    if entries.size == len(codes):
        return entries.reshape(-1)
    table = np.ascontiguousarray(entries.T)
    return table[0] if (table == table[0]).all() else table


def _of_one(x: Ref) -> tuple[int, ...]:
    """A shape of the rank of ``x`` that holds 256 values."""
    return (1, 1, 16, 16) if len(x.dims) == 3 else (1,) * len(x.dims) + (256,)


def _of_all_channels(x: Ref, codes: Array) -> tuple[tuple[int, ...], Array]:
    """A shape of 256 images of one place and all channels of ``x``, and what is in it."""
    last = x.order == "HWC"
    places = tuple(1 for _ in x.dims[1:])
    dims = (*places, x.shape[2]) if last else (x.shape[2], *places)
    if math.prod(dims) != x.shape[2] or x.dims[-1 if last else 0] != x.shape[2]:
        return _of_one(x), codes
    return (len(codes), *dims), np.repeat(codes, x.shape[2])
