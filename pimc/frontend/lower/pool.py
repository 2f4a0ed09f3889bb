"""Pooling: maxima, averages over windows, averages over the whole map."""

from __future__ import annotations

import numpy as np

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.table import requantised, to_scale_of
from pimc.frontend.lower.window import sliding
from pimc.frontend.lowering import Lowering, demand_no_overflow, output_offset, stored_limits
from pimc.frontend.ref import Ref, image_like
from pimc.frontend.unit import Unit
from pimc.ir.ops import AvgPool, Gap, MaxPool
from pimc_isa.numerics import F32

__all__ = ["average_pool", "global_average", "max_pool", "mean"]


def max_pool(lw: Lowering, unit: Unit) -> Ref:
    """MaxPool on the stored integers: quantisation is monotonic, so maximum and (re)quantisation commute."""
    if len([name for name in unit.node.output if name]) > 1:
        raise NotOnChipError("MaxPool with indices")
    if unit.attributes.get("storage_order", 0):
        raise NotOnChipError("MaxPool in column-major order")
    x = lw.image(unit.operand(0))
    window = sliding(unit.attributes, unit.attributes["kernel_shape"], *x.shape[:2])
    like = image_like((*window.size, x.shape[2]), x.offset)
    same = not requantised(unit, unit.operand(0))
    pooled = lw.emit(MaxPool, unit, (x,), like, hidden="" if same else ".pooled", **window.fields())
    return to_scale_of(lw, unit, pooled, unit.operand(0))


def average_pool(lw: Lowering, unit: Unit) -> Ref:
    """AveragePool; onnxruntime sums in floating point, row by row."""
    x = lw.image(unit.operand(0))
    if unit.attributes.get("ceil_mode", 0) and unit.attributes.get("count_include_pad", 0):
        raise NotOnChipError("AveragePool with ceil_mode that counts its padding")
    window = sliding(unit.attributes, unit.attributes["kernel_shape"], *x.shape[:2])
    if window.dilation != (1, 1):
        raise NotOnChipError("AveragePool with dilation")
    like = image_like((*window.size, x.shape[2]), output_offset(unit, x.offset))
    demand_no_overflow(255 * float(unit.operand(0).one_scale) / float(unit.output.one_scale))
    lo, hi = stored_limits(unit, like.offset)
    if like.offset != x.offset:
        raise NotOnChipError("int8 and uint8 mixed")
    return lw.emit(
        AvgPool,
        unit,
        (x,),
        like,
        **window.fields(),
        count_include_pad=bool(unit.attributes.get("count_include_pad", 0)),
        x_scale=float(unit.operand(0).one_scale),
        x_zero=unit.operand(0).one_zero + x.offset,
        y_scale=float(unit.output.one_scale),
        y_zero=unit.output.one_zero + like.offset,
        lo=lo,
        hi=hi,
        offset=like.offset,
    )


def global_average(lw: Lowering, unit: Unit) -> Ref:
    """GlobalAveragePool: the sum over the map times one factor that holds both scales and the count."""
    if unit.attributes.get("channels_last", 0):
        raise NotOnChipError("channels_last layout")
    x = lw.image(unit.operand(0))
    return _gap(lw, unit, x, keep=True)


def mean(lw: Lowering, unit: Unit) -> Ref:
    """ReduceMean over rows and columns is a global average."""
    x = lw.image(unit.operand(0))
    axes = unit.attributes.get("axes")
    if axes is None and len(unit.node.input) > 1:
        given = lw.source.constant(unit.node.input[1])
        axes = None if given is None else given.tolist()
    if axes is None or sorted(a % 4 for a in axes) != [2, 3]:
        raise NotOnChipError(f"a mean over axes {axes}; only rows and columns (2, 3) together")
    return _gap(lw, unit, x, keep=bool(unit.attributes.get("keepdims", 1)))


def _gap(lw: Lowering, unit: Unit, x: Ref, *, keep: bool) -> Ref:
    rows, columns, channels = x.shape
    source, out = unit.operand(0), unit.output
    offset = output_offset(unit, x.offset)
    zero = source.one_zero + x.offset
    count = F32(rows * columns)
    multiplier = F32(source.one_scale / F32(out.one_scale * count))
    if not 2.0**-32 <= multiplier < 256:
        raise NotOnChipError("its scales are too far apart for onnxruntime's global average")
    dims = (channels, 1, 1) if keep else (channels,)
    lo, hi = stored_limits(unit, offset)
    return lw.emit(
        Gap,
        unit,
        (x,),
        Ref("", (1, 1, channels), "CHW", dims, offset),
        multiplier=np.array([multiplier], F32),
        bias=np.array([-zero * rows * columns], np.int32),
        y_zero=out.one_zero + offset,
        lo=lo,
        hi=hi,
    )
