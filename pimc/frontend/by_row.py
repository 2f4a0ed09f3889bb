"""Which host calls can run row by row: the subgraph for one row, where every operator in it keeps to its row.

The axis of the rows is followed through the subgraph. An operator is let through if it is known here to make a row of
its result from the same row of its inputs; any other makes the call one of whole tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from pimc.frontend.source import attributes

__all__ = ["row_model"]

Axes = dict[str, int | None]
"""Axis of the rows by tensor; None for a constant."""

UNARY = frozenset(
    [
        "Abs",
        "Cast",
        "Ceil",
        "Clip",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Not",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Swish",
        "Tanh",
        "ThresholdedRelu",
        "Dropout",
    ]
)
BROADCAST = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Max",
        "Min",
        "Sum",
        "Mean",
        "PRelu",
        "Where",
        "Greater",
        "Less",
        "Equal",
        "And",
        "Or",
        "Mod",
    ]
)
ALONG = frozenset(["Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "ArgMax", "CumSum"])
"""Work along one axis, the last if none is named."""
REDUCTIONS = frozenset(
    f"Reduce{kind}" for kind in ["Mean", "Sum", "Max", "Min", "L1", "L2", "Prod", "LogSum", "LogSumExp", "SumSquare"]
)


class _WholeError(Exception):
    """An operator that needs more than its row."""


def row_model(model: onnx.ModelProto, rows: int, axes: Mapping[str, int], result: str, axis: int) -> bytes | None:
    """Return the model for one row; None where it needs whole tensors.

    ``rows``: how many there are; ``axes``: the axis of the rows of each input; ``axis``: that of ``result``.
    """
    if any(len(node.output) != 1 for node in model.graph.node) or rows < 2:
        return None
    found: Axes = dict(axes)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found |= dict.fromkeys(constants)
    try:
        shapes = _shapes(model)
        for node in model.graph.node:
            found[node.output[0]] = _follow(node, found, constants, shapes)
    except (_WholeError, KeyError, IndexError):
        return None
    return _cut(model, axes) if found.get(result) == axis else None


def _shapes(model: onnx.ModelProto) -> Mapping[str, Sequence[int]]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = [*graph.input, *graph.value_info, *graph.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in typed}
    return shapes | {t.name: list(t.dims) for t in graph.initializer}


def _cut(model: onnx.ModelProto, axes: Mapping[str, int]) -> bytes | None:
    """The model with one row in every input; None where that leads to nothing."""
    one = onnx.ModelProto()
    one.CopyFrom(model)
    del one.graph.value_info[:]
    for value in one.graph.input:
        value.type.tensor_type.shape.dim[axes[value.name]].dim_value = 1
    for value in one.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(one, strict_mode=True)
    except Exception:  # onnx raises classes of its own: a shape is fixed inside
        return None
    return bytes(inferred.SerializeToString(deterministic=True))


def _follow(
    node: onnx.NodeProto, axes: Axes, constants: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[int]]
) -> int | None:
    read = [name for name in node.input if name]
    moving = [name for name in read if axes[name] is not None]
    if node.domain not in ("", "ai.onnx") or not moving:
        raise _WholeError
    kind = node.op_type
    if kind in UNARY or kind in BROADCAST:
        return _broadcast(read, axes, shapes)
    if moving != read[:1]:
        raise _WholeError
    rank, axis = len(shapes[read[0]]), axes[read[0]]
    assert axis is not None
    for known, rule in _RULES.items():
        if kind in known:
            return rule(node, axis, rank, [constants[name] for name in read[1:]])
    raise _WholeError


def _broadcast(read: Sequence[str], axes: Axes, shapes: Mapping[str, Sequence[int]]) -> int:
    """Element by element: the rows of all lie on one axis, counted from the last; constants have one for all."""
    ranks = {name: len(shapes[name]) for name in read}
    behind = {ranks[name] - axis for name in read if (axis := axes[name]) is not None}
    if len(behind) != 1:
        raise _WholeError
    (from_last,) = behind
    for name in read:
        if axes[name] is None and ranks[name] >= from_last and shapes[name][-from_last] != 1:
            raise _WholeError
    return max(ranks.values()) - from_last


Constants = Sequence[np.ndarray]


def _along(node: onnx.NodeProto, axis: int, rank: int, constants: Constants) -> int:
    named = int(attributes(node).get("axis", -1)) if not constants else int(constants[0].reshape(-1)[0])
    keeps = bool(attributes(node).get("keepdims", 1))
    if named % rank == axis or not keeps:
        raise _WholeError
    return axis


def _normalised(node: onnx.NodeProto, axis: int, rank: int, constants: Constants) -> int:
    if int(attributes(node).get("axis", -1)) % rank <= axis:
        raise _WholeError
    return axis


def _reduced(node: onnx.NodeProto, axis: int, rank: int, constants: Constants) -> int:
    given = attributes(node).get("axes") if not constants else constants[0].reshape(-1).tolist()
    if not given or axis in [a % rank for a in given]:
        raise _WholeError
    gone = sum(a % rank < axis for a in given)
    return axis if attributes(node).get("keepdims", 1) else axis - gone


def _scaled(node: onnx.NodeProto, axis: int, rank: int, constants: Constants) -> int:
    """DequantizeLinear and QuantizeLinear; scales by channel do not lie on the rows."""
    if constants[0].size > 1 and int(attributes(node).get("axis", 1)) % rank == axis:
        raise _WholeError
    return axis


def _transposed(node: onnx.NodeProto, axis: int, rank: int, constants: Constants) -> int:
    perm = list(attributes(node).get("perm", range(rank)[::-1]))
    return perm.index(axis)


def _product(node: onnx.NodeProto, axis: int, rank: int, constants: Constants) -> int:
    if constants[0].ndim != 2 or axis == rank - 1:
        raise _WholeError
    return axis


def _local(node: onnx.NodeProto, axis: int, rank: int, constants: Constants) -> int:
    """LRN works along channels."""
    if axis == 1:
        raise _WholeError
    return axis


_RULES: Mapping[frozenset[str], Callable[[onnx.NodeProto, int, int, Constants], int]] = {
    ALONG: _along,
    REDUCTIONS: _reduced,
    frozenset(["LayerNormalization"]): _normalised,
    frozenset(["DequantizeLinear", "QuantizeLinear"]): _scaled,
    frozenset(["Transpose"]): _transposed,
    frozenset(["MatMul"]): _product,
    frozenset(["LRN"]): _local,
}
