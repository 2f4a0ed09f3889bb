"""The shape of every tensor for one image, judged before a library makes one of them.

Shapes come from onnx's inference on a skeleton: the model without its larger constants. Sizes that inference does not
see (of a Resize whose factors are computed from shapes) are computed from small constants and filled in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from pimc.frontend.admit.graphs import all_graphs, label
from pimc.frontend.admit.limits import MAX_ELEMENTS, MAX_FOLDED, MAX_INPUT_ELEMENTS, MAX_LISTED
from pimc.frontend.admit.quantised import with_known_shapes
from pimc.frontend.admit.small import small_values
from pimc.frontend.errors import FrontendError

__all__ = ["admit_sizes", "skeleton"]

SMALL = 4096
"""Elements of constants that stay in a skeleton."""
ROUNDS = 4
_EXPANDING = frozenset({"ConstantOfShape", "Expand", "Tile", "Resize", "Upsample", "Pad", "Range", "OneHot"})

Shapes = dict[str, list[int]]


def skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for one image; larger constants are inputs of their type and shape."""
    bare = onnx.ModelProto(ir_version=max(model.ir_version, 4), opset_import=model.opset_import)
    bare.functions.extend(model.functions)
    graph = bare.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    constants = {t.name for t in model.graph.initializer}
    for value in model.graph.input:
        if value.name in constants:
            continue
        given = graph.input.add()
        given.CopyFrom(value)
        dims = given.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_value = 1
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return bare


def admit_sizes(bare: onnx.ModelProto, inputs: list[str], where: str) -> Shapes:
    """Return the known shapes of a skeleton's tensors. Raises FrontendError for too large or unknown ones."""
    shapes: Shapes = {v.name: _dims(v) or [] for v in bare.graph.input}
    for name in inputs:
        if math.prod(shapes[name]) > MAX_INPUT_ELEMENTS:
            raise FrontendError(
                f"{where}: input {name!r} has shape {shapes[name]}; up to {MAX_INPUT_ELEMENTS:,} elements work."
            )
    _admit_lists(bare, _shapes(bare, where, values=False)[0], where)
    shapes, unknown = _shapes(bare, where)
    filled = bare
    for _ in range(ROUNDS):
        if not unknown:
            break
        filled = _filled(filled, small_values(filled, shapes))
        before, (shapes, unknown) = len(shapes), _shapes(filled, where)
        if len(shapes) == before:
            break
    if unknown:
        raise FrontendError(f"{where}: {label(unknown)}: the size of its result cannot be told before it runs.")
    for name, dims in shapes.items():
        if any(d < 0 for d in dims) or math.prod(dims) > MAX_ELEMENTS:
            raise FrontendError(
                f"{where}: tensor {name!r} would have shape {dims}; up to {MAX_ELEMENTS:,} elements work."
            )
    _admit_folded(bare, inputs, shapes, where)
    return shapes


def _admit_lists(bare: onnx.ModelProto, shapes: Shapes, where: str) -> None:
    """Onnx's inference joins lists of sizes itself, element by element."""
    elements = 0
    for node in bare.graph.node:
        dims = shapes.get(node.output[0], []) if node.op_type == "Concat" else []
        elements += dims[0] if len(dims) == 1 else 0
        if elements > MAX_LISTED:
            raise FrontendError(f"{where}: {label(node)}: lists are joined to more than {MAX_LISTED:,} elements.")


def _shapes(model: onnx.ModelProto, where: str, *, values: bool = True) -> tuple[Shapes, onnx.NodeProto | None]:
    """Shapes that inference finds, and a node that may make much and whose result it does not know."""
    try:
        inferred = onnx.shape_inference.infer_shapes(with_known_shapes(model), data_prop=values)
    except Exception as error:  # onnx raises classes of its own, and ValueError
        raise FrontendError(f"{where}: shapes contradict each other: {_first_line(error)}") from None
    found: Shapes = {}
    unknown = None
    for graph in all_graphs(inferred.graph):
        for value in (*graph.input, *graph.value_info, *graph.output):
            dims = _dims(value)
            if dims is not None:
                found.setdefault(value.name, dims)
        found |= {t.name: list(t.dims) for t in graph.initializer}
        for node in graph.node:
            if node.op_type in _EXPANDING and node.output[0] not in found:
                unknown = unknown or node
    return found, unknown


def _dims(value: onnx.ValueInfoProto) -> list[int] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in tensor.shape.dim):
        return None
    return [d.dim_value for d in tensor.shape.dim]


def _filled(model: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The model with small values as constants in place of the nodes that make them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {t.name for t in copy.graph.initializer}
    nodes = [n for n in copy.graph.node if not (len(n.output) == 1 and n.output[0] in values)]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    fresh = [numpy_helper.from_array(v, name) for name, v in values.items() if name not in known]
    copy.graph.initializer.extend(fresh)
    return copy


def _admit_folded(bare: onnx.ModelProto, inputs: list[str], shapes: Shapes, where: str) -> None:
    """Constants that nodes make from constants are made at once, all of them."""
    moving, folded = set(inputs), 0
    for node in bare.graph.node:
        if any(name in moving for name in node.input) or any(a.HasField("g") for a in node.attribute):
            moving.update(node.output)
            continue
        folded += sum(math.prod(shapes.get(name, ())) for name in node.output)
        if folded > MAX_FOLDED and node.op_type != "Constant":
            raise FrontendError(
                f"{where}: {label(node)}: constants computed from constants have more than {MAX_FOLDED:,} elements."
            )


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
