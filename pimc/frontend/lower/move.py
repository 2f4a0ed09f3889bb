"""Operators that only move elements: slices, gathers, padding, nearest Resize, DepthToSpace, Transpose and their like.

What such an operator moves where is found by running it on the numbers of its input's elements.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pimc.frontend.errors import FrontendError, NotOnChipError
from pimc.frontend.lowering import Lowering
from pimc.frontend.moving import check_movement, is_filled
from pimc.frontend.ref import Ref, Shape, tensor_like
from pimc.frontend.session import run
from pimc.frontend.source import Array
from pimc.frontend.unit import Operand, Unit
from pimc.ir.ops import Concat, Move, Pick
from pimc.ir.ops.reach import reach_of

__all__ = ["laid_out", "movement", "oversize", "rearranged"]

#: Pieces of channels up to which picking them is left to the messages.
PICKED = 8
#: Copies that a tile's program may have.
COPIES = 3_500
LARGEST = 1 << 24
"""Numbers that float32 holds exactly: the type that onnxruntime has kernels of all these operators for."""


def movement(lw: Lowering, node: onnx.NodeProto, refs: Sequence[Ref], *, fill: int = 0, result: str = "") -> Ref:
    """What a moving operator makes of ``refs``, its data inputs; ``fill`` is stored where it pads.

    ``result`` names the 8-bit tensor of the model that the result is, if it is one. Raises NotOnChipError.
    """
    check_movement(node)
    if any(ref.is_padded for ref in refs):
        raise NotOnChipError(f"{node.op_type} of a padded tensor")
    numbers = _numbers(refs)
    index = _run(lw, node, numbers)
    if index.ndim < 1 or index.shape[0] != 1 or not index.size:
        raise NotOnChipError(f"its result has shape {list(index.shape)}, which is not that of one image")
    like = _like(refs[0], index.shape[1:])
    return _emit(lw, node, refs, like, _in_layout(like, index), fill, result)


def laid_out(lw: Lowering, x: Ref, like: Ref, node: onnx.NodeProto) -> Ref:
    """The same tensor held as ``like`` holds it."""
    (numbers,) = _numbers([x])
    made = replace(like, value="", offset=x.offset)
    return _emit(lw, node, [x], made, _in_layout(made, numbers), 0, "")


def rearranged(
    lw: Lowering, x: Ref, like: Ref, node: onnx.NodeProto, order: Callable[[Array], Array], result: str = ""
) -> Ref:
    """The elements of a tensor in an order of one's own; ``order`` is given their numbers in ONNX shape."""
    (numbers,) = _numbers([x])
    return _emit(lw, node, [x], like, _in_layout(like, order(numbers[0])), 0, result)


def _numbers(refs: Sequence[Ref]) -> list[Array]:
    """The elements of each tensor, numbered through all of them as they are held, in ONNX shape with a batch."""
    found, first = [], 0
    for ref in refs:
        h, w, c = ref.shape
        held = np.arange(first, first + h * w * c).reshape(h, w, c)
        first += held.size
        found.append((held.transpose(2, 0, 1) if ref.order == "CHW" else held).reshape(1, *ref.dims))
    if first >= LARGEST:
        raise NotOnChipError(f"it moves {first:,} elements, more than are followed")
    return found


def _like(x: Ref, dims: tuple[int, ...]) -> Ref:
    if x.order == "HWC" and len(dims) == 3:
        return Ref("", (dims[0], dims[1], dims[2]), "HWC", dims, x.offset)
    return tensor_like(dims, x.offset, x.order)


def _in_layout(like: Ref, index: Array) -> Array:
    h, w, c = like.shape
    return index.reshape(c, h, w).transpose(1, 2, 0) if like.order == "CHW" else index.reshape(h, w, c)


def _run(lw: Lowering, node: onnx.NodeProto, numbers: Sequence[Array]) -> Array:
    """The node's result on float numbers, as integers."""
    work = onnx.NodeProto()
    work.CopyFrom(node)
    constants: dict[str, Array] = {}
    feeds: dict[str, Array] = {}
    for n, name in enumerate(node.input):
        if n < len(numbers):
            work.input[n] = f"x{n}"
            feeds[f"x{n}"] = numbers[n].astype(np.float32)
        elif name:
            constants[name] = _parameter(lw, node, n)
    if is_filled(node):
        _fill_with_minus_one(work, constants)
    del work.output[:]
    work.output.append("y")
    graph = helper.make_graph(
        [work],
        "movement",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, x.shape) for name, x in feeds.items()],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=lw.source.model.opset_import, ir_version=lw.source.model.ir_version)
    try:
        (result,) = run(model.SerializeToString(), feeds, {})
    except FrontendError as error:
        raise NotOnChipError(str(error).splitlines()[0]) from None
    return np.asarray(np.rint(result)).astype(np.int64)


def _parameter(lw: Lowering, node: onnx.NodeProto, n: int) -> Array:
    value = lw.source.constant(node.input[n])
    if value is None:
        value = lw.integers(node.input[n])
    if value is None:
        raise NotOnChipError(f"its input {n} ({node.input[n]}) is not constant", node)
    return value


def _fill_with_minus_one(work: onnx.NodeProto, constants: dict[str, Array]) -> None:
    """Let a Pad mark what it adds."""
    if not constants:  # before opset 11 all is in attributes
        kept = [a for a in work.attribute if a.name != "value"]
        del work.attribute[:]
        work.attribute.extend([*kept, helper.make_attribute("value", -1.0)])
        return
    while len(work.input) < 3:
        work.input.append("")
    work.input[2] = "fill"
    constants["fill"] = np.array(-1, np.float32)


def _emit(
    lw: Lowering, node: onnx.NodeProto, refs: Sequence[Ref], like: Ref, index: Array, fill: int, result: str
) -> Ref:
    """No op where nothing moves, picked channels where rows and columns stay, else a movement."""
    if len(refs) == 1 and index.shape == refs[0].shape and (index.reshape(-1) == np.arange(index.size)).all():
        return replace(like, value=refs[0].value)
    unit = Unit("Move", node, (), (), Operand(result or node.output[0]))
    hidden = "" if result else ".moved"
    values, index, fill = _composed(lw, [ref.value for ref in refs], index, fill)
    shapes = [lw.graph[value].shape for value in values]
    inputs = tuple(replace(like, value=value) for value in values)
    ranges = _channel_ranges(shapes, index)
    if ranges is not None and len(ranges) <= PICKED:
        if ranges == ((0, 0, shapes[0][2]),) and len(values) == 1:
            return replace(like, value=values[0])
        return lw.emit(Pick, unit, inputs, like, hidden=hidden, ranges=ranges)
    index = np.ascontiguousarray(index, np.int32)
    made = lw.emit(Move, unit, inputs, like, hidden=hidden, index=index, fill=fill)
    lw.moved[made.value] = node.output[0]
    return made


def _composed(lw: Lowering, values: list[str], index: Array, fill: int) -> tuple[list[str], Array, int]:
    """Movements of what movements made, as one: its inputs, index and fill."""
    for value in values:
        op = lw.graph[value]
        if not isinstance(op, Move | Pick | Concat):
            continue
        if isinstance(op, Move) and op.fill != fill and (index < 0).any() and (lw.graph.constants[op.index] < 0).any():
            continue
        place = values.index(value)
        before = sum(math.prod(lw.graph[v].shape) for v in values[:place])
        inner = _inner_index(lw, op)
        outer_size, inner_size = inner.size, sum(math.prod(lw.graph[v].shape) for v in op.inputs)
        mine = (index >= before) & (index < before + outer_size)
        behind = index >= before + outer_size
        through = inner.reshape(-1)[np.where(mine, index - before, 0)]
        moved = np.where(through >= 0, through + before, -1)
        index = np.where(mine, moved, np.where(behind, index + inner_size - outer_size, index))
        if isinstance(op, Move) and (inner < 0).any():
            fill = op.fill
        values = [*values[:place], *op.inputs, *values[place + 1 :]]
        return _composed(lw, values, index, fill)
    return values, index, fill


def _inner_index(lw: Lowering, op: Move | Pick | Concat) -> Array:
    """Where each element of a movement's result comes from, through all its inputs."""
    if isinstance(op, Move):
        return lw.graph.constants[op.index].astype(np.int64)
    shapes = [lw.graph[v].shape for v in op.inputs]
    starts = np.cumsum([0, *map(math.prod, shapes)])
    held = [np.arange(starts[n], starts[n + 1]).reshape(shape) for n, shape in enumerate(shapes)]
    parts = [held[n][..., first:last] for n, first, last in op.parts([shape[2] for shape in shapes])]
    return np.concatenate(parts, axis=2)


def oversize(lw: Lowering) -> dict[str, str]:
    """Movements with more copies than a tile's program holds: by the ONNX tensor they make, and why."""
    found: dict[str, str] = {}
    for op in lw.graph.of(Move):
        index = lw.graph.constants[op.index]
        copies = reach_of(index, [lw.graph[v].shape for v in op.inputs]).instructions
        if copies > COPIES:
            elements = f"it moves {index.size:,} elements by {copies:,} copies"
            found[lw.moved[op.name]] = f"{elements}, more than a tile's program holds"
    return found


def _channel_ranges(shapes: Sequence[Shape], index: Array) -> tuple[tuple[int, int, int], ...] | None:
    """The runs of channels that an index picks; None if it moves rows or columns as well."""
    if len({shape[:2] for shape in shapes}) > 1 or index.shape[:2] != shapes[0][:2] or (index < 0).any():
        return None
    starts = np.cumsum([0, *map(math.prod, shapes)])
    first = index[0, 0]
    sources = np.searchsorted(starts, first, side="right") - 1
    counts = np.array([shape[2] for shape in shapes])[sources]
    places = np.arange(index.shape[0] * index.shape[1]).reshape(index.shape[:2])
    if (first - starts[sources] >= counts).any() or (index != first + places[..., None] * counts).any():
        return None
    chans = first - starts[sources]
    cuts = [0, *(np.flatnonzero((np.diff(chans) != 1) | (np.diff(sources) != 0)) + 1).tolist(), len(chans)]
    return tuple((int(sources[a]), int(chans[a]), int(chans[b - 1]) + 1) for a, b in itertools.pairwise(cuts))
