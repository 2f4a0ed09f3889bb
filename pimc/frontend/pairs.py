"""Two pairs of QuantizeLinear and DequantizeLinear in a row: one, as every onnxruntime session has it.

From the first level of optimisation on, onnxruntime leaves the inner two nodes out where nobody else reads between them
(its DoubleQDQPairsRemover), and gives the outer two the range that both pairs share. A session without optimisation
rounds twice. The one that users run is meant here.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.source import DEQUANTISE, QUANTISE, Array, Source
from pimc_isa.numerics import F32

__all__ = ["join_pairs", "joined_range"]

Parameters = tuple[Array, Array]


def join_pairs(model: onnx.ModelProto) -> bool:
    """Join pairs in place, as often as there are any; returns whether anything changed."""
    changed = False
    while _join_one(model, Source(model)):
        changed = True
    return changed


def _join_one(model: onnx.ModelProto, source: Source) -> bool:
    for node in source.nodes:
        if node.op_type == DEQUANTISE and _stands_between(source, node):
            _join(model, source, node)
            return True
    return False


def _stands_between(source: Source, node: onnx.NodeProto) -> bool:
    """Whether a DequantizeLinear stands alone between two QuantizeLinear of one type, nobody looking."""
    before = source.maker(node.input[0])
    if before is None or before.op_type != QUANTISE or source.constant(node.input[0]) is not None:
        return False
    if not source.private(node.input[0]) or not source.private(node.output[0]):
        return False
    (after,) = source.readers(node.output[0])
    if after.op_type != QUANTISE or after.output[0] in source.outputs or after.input[0] != node.output[0]:
        return False
    readers = source.readers(after.output[0])
    if not readers or any(r.op_type != DEQUANTISE for r in readers):
        return False
    nodes = (before, node, after, *readers)
    types = {None if p is None else p[1].dtype for p in (_parameters(source, n) for n in nodes)}
    return None not in types and len(types) == 1 and all(len(n.input) == 3 for n in nodes)


def _parameters(source: Source, node: onnx.NodeProto) -> Parameters | None:
    """Scale and zero point of a whole tensor."""
    try:
        scale, zero = source.parameters(node)
    except NotOnChipError:
        return None
    if scale is None or zero is None or scale.size != 1 or zero.size != 1 or zero.dtype not in (np.uint8, np.int8):
        return None
    return scale.reshape(()), zero.reshape(())


def joined_range(first: Parameters, second: Parameters) -> Parameters:
    """Scale and zero point of the range that two share, in 32-bit floating point as onnxruntime computes them."""
    dtype = first[1].dtype
    limits = np.iinfo(dtype)
    low = max(F32(limits.min - int(zero)) * F32(scale) for scale, zero in (first, second))
    high = min(F32(limits.max - int(zero)) * F32(scale) for scale, zero in (first, second))
    scale = F32((high - low) / F32(limits.max - limits.min))
    zero = np.floor(F32(limits.min) - low / scale + F32(0.5))
    return np.asarray(scale, np.float32), np.asarray(zero).astype(dtype)


def _join(model: onnx.ModelProto, source: Source, inner: onnx.NodeProto) -> None:
    before = source.maker(inner.input[0])
    (after,) = source.readers(inner.output[0])
    readers = source.readers(after.output[0])
    first, second = _parameters(source, inner), _parameters(source, after)
    assert before is not None
    assert first is not None
    assert second is not None
    names = list(before.input[1:])
    if first[0] != second[0] or first[1] != second[1]:
        names = [f"{before.output[0]}.joined_{part}" for part in ("scale", "zero_point")]
        made = joined_range(first, second)
        model.graph.initializer.extend(numpy_helper.from_array(v, n) for v, n in zip(made, names, strict=True))
    for node in (before, *readers):
        node.input[1:] = names
    for node in readers:
        node.input[0] = before.output[0]
    for node in (inner, after):
        model.graph.node.remove(node)
