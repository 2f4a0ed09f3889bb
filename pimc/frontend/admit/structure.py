"""Names, counts and stored tensors of a model that was parsed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import onnx

from pimc.frontend.admit.graphs import all_graphs, all_nodes, label
from pimc.frontend.admit.limits import MAX_LINKS, MAX_NAME, MAX_NODES, MAX_RANK
from pimc.frontend.errors import FrontendError

__all__ = ["admit_structure"]

_STORED: dict[int, str] = {
    onnx.TensorProto.DOUBLE: "double_data",
    onnx.TensorProto.FLOAT: "float_data",
    onnx.TensorProto.INT64: "int64_data",
    onnx.TensorProto.UINT32: "uint64_data",
    onnx.TensorProto.UINT64: "uint64_data",
    onnx.TensorProto.INT32: "int32_data",
    onnx.TensorProto.INT16: "int32_data",
    onnx.TensorProto.INT8: "int32_data",
    onnx.TensorProto.UINT16: "int32_data",
    onnx.TensorProto.UINT8: "int32_data",
    onnx.TensorProto.BOOL: "int32_data",
    onnx.TensorProto.FLOAT16: "int32_data",
    onnx.TensorProto.BFLOAT16: "int32_data",
}
"""Where a tensor's elements are if not in raw_data, one each."""


def admit_structure(model: onnx.ModelProto, where: str) -> None:
    """Raise FrontendError for names that cannot be shown, too many nodes, or tensors not as declared."""
    try:
        nodes = _expanded(model, where)
        if nodes > MAX_NODES:
            raise FrontendError(f"{where}: {nodes:,} nodes; pimc takes up to {MAX_NODES:,}.")
        for name in _names(model):
            _admit_name(name, where)
    except (UnicodeDecodeError, AttributeError):  # protobuf gives such names as bytes, or raises
        raise FrontendError(f"{where}: a name is not UTF-8 text. Export the model with other names.") from None
    domains = [o.domain for o in model.opset_import]
    if len(set(domains)) < len(domains):
        raise FrontendError(f"{where}: it names two versions of one operator set.")
    if not model.graph.output:
        raise FrontendError(f"{where}: the model has no outputs.")
    for node in all_nodes(model):
        _admit_node(node, where)
    for graph in all_graphs(model.graph):
        if graph.sparse_initializer:
            raise FrontendError(f"{where}: sparse weights. Store them as ordinary tensors.")
        for value in (*graph.input, *graph.output, *graph.value_info):
            rank = len(value.type.tensor_type.shape.dim)
            if rank > MAX_RANK:
                raise FrontendError(f"{where}: tensor {value.name!r} has {rank:,} axes; up to {MAX_RANK} are allowed.")
        for tensor in graph.initializer:
            _admit_tensor(tensor, where)


def _expanded(model: onnx.ModelProto, where: str) -> int:
    """Nodes when every function is written out where it is called; stops counting beyond the limit."""
    bodies = {(f.domain, f.name): f for f in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def count(nodes: Iterable[onnx.NodeProto], calls: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            total += 1
            if key not in bodies or total > MAX_NODES:
                continue
            if key in calls or len(calls) > 50:
                raise FrontendError(f"{where}: the function {node.op_type!r} calls itself, or calls are too deep.")
            if key not in counts:
                counts[key] = count(bodies[key].node, (*calls, key))
            total += counts[key]
        return total

    return sum(count(graph.node, ()) for graph in all_graphs(model.graph))


def _names(model: onnx.ModelProto) -> Iterator[str]:
    yield from (o.domain for o in model.opset_import)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
    for graph in all_graphs(model.graph):
        yield graph.name
        yield from (t.name for t in graph.initializer)
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.name
            yield from (d.dim_param for d in value.type.tensor_type.shape.dim)
    for node in all_nodes(model):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name


def _admit_name(name: str, where: str) -> None:
    if len(name) > MAX_NAME:
        raise FrontendError(
            f"{where}: the name {name[:40]!r}... has {len(name):,} characters; up to {MAX_NAME:,} are allowed."
        )
    if not name.isprintable():
        shown = ascii(name[:60])
        raise FrontendError(f"{where}: the name {shown} has characters that cannot be printed. Rename it.")


def _admit_node(node: onnx.NodeProto, where: str) -> None:
    if len(node.input) > MAX_LINKS or len(node.output) > MAX_LINKS:
        links = f"{len(node.input):,} inputs and {len(node.output):,} outputs"
        raise FrontendError(f"{where}: {label(node)} has {links}; up to {MAX_LINKS} are allowed.")
    for attribute in node.attribute:
        if attribute.HasField("t"):
            _admit_tensor(attribute.t, f"{where}: {label(node)}")
        if attribute.sparse_tensor.dims or attribute.tensors:
            raise FrontendError(
                f"{where}: {label(node)}: attribute {attribute.name!r} holds tensors that pimc cannot read."
            )


def _admit_tensor(tensor: onnx.TensorProto, where: str) -> None:
    name = f"{where}: tensor {tensor.name!r}"
    if tensor.data_type not in (*_STORED, onnx.TensorProto.STRING):
        kinds = {number: kind for kind, number in onnx.TensorProto.DataType.items()}
        kind = kinds.get(tensor.data_type, tensor.data_type)
        raise FrontendError(f"{name} has element type {kind}, which pimc does not read.")
    if len(tensor.dims) > MAX_RANK or any(d < 0 for d in tensor.dims):
        raise FrontendError(f"{name} has shape {list(tensor.dims[:MAX_RANK])}, which no tensor can have.")
    if tensor.HasField("segment"):
        raise FrontendError(f"{name} is a part of a tensor. Store it whole.")
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.data_type == onnx.TensorProto.STRING:
        return
    elements, stored = math.prod(tensor.dims), _elements(tensor)
    if stored != elements:
        raise FrontendError(f"{name} of shape {list(tensor.dims)} holds {stored:,} elements instead of {elements:,}.")


def _elements(tensor: onnx.TensorProto) -> float:
    """Elements that are stored; a fraction where bytes do not make whole elements."""
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data) / int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    return len(getattr(tensor, _STORED[tensor.data_type]))
