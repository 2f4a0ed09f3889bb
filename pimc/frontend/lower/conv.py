"""Convolutions and matrix products with constant weights (Conv, Gemm, MatMul and their quantised forms)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pimc.epitomes.epitome import cells_of_weights
from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.move import laid_out, rearranged
from pimc.frontend.lower.spatial import flattened
from pimc.frontend.lower.window import sliding
from pimc.frontend.lowering import Lowering, cuts_range, output_offset, stored_limits
from pimc.frontend.ref import Ref, image_like, tensor_like
from pimc.frontend.source import Array, along
from pimc.frontend.unit import Operand, Unit
from pimc.ir.ops import Conv, Pick
from pimc_isa.numerics import F32

__all__ = ["convolution", "gemm", "matmul"]

SAME_SCALE = 0.01
"""How far, relatively, onnxruntime lets a bias scale be from input scale times weight scale."""


@dataclass(frozen=True)
class Taps:
    """Weights, and the index of their cells in an epitome: always of one shape, turned and cut alike."""

    values: Array
    index: Array | None = None
    stored: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, lw: Lowering, operand: Operand, axis: int) -> Taps:
        """The centred weights of a layer, with what is known of them."""
        values, known = centred(operand, axis), lw.epitomes.get(operand.tensor)
        fits = known is not None and known.index.shape == values.shape and values.dtype == np.int8
        return cls(values, known.index, known.shape) if known is not None and fits else cls(values)

    def turned(self, change: Callable[[Array], Array]) -> Taps:
        """Both, changed in the same way."""
        return Taps(change(self.values), None if self.index is None else change(self.index), self.stored)

    def constants(self) -> dict[str, Array]:
        """Fields of an op: the epitome and its index; nothing where there is none."""
        if self.index is None:
            return {}
        cells = cells_of_weights(self.values, self.index, self.stored)
        return {"epitome": cells, "index": np.ascontiguousarray(self.index, np.int32)}


@dataclass(frozen=True)
class Factors:
    """Of a Gemm's product and of its bias."""

    alpha: float = 1.0
    beta: float = 1.0


def convolution(lw: Lowering, unit: Unit) -> Ref:
    """Conv on N x C x H x W; weights O x I/groups x kh x kw become O x kh x kw x I/groups."""
    taps = Taps.of(lw, unit.operand(1), 0)
    w = taps.values
    if w.ndim != 4:
        return _other_axes(lw, unit, w)
    x = lw.image(unit.operand(0), padded=True)
    groups = int(unit.attributes.get("group", 1))
    if w.shape[1] * groups != x.shape[2] or w.shape[0] % groups:
        raise NotOnChipError(f"weights {list(w.shape)} in {groups} groups on a map of {x.shape[2]} channels")
    window = sliding(unit.attributes, w.shape[2:], *x.shape[:2], x.pads)
    shape = (*window.size, w.shape[0])
    like = image_like(shape, output_offset(unit, 0))
    taps = taps.turned(lambda w: w.transpose(0, 2, 3, 1))
    return _emit(lw, unit, x, like, taps, groups=groups, **window.fields())


def _other_axes(lw: Lowering, unit: Unit, w: Array) -> Ref:
    """Conv on N x C x L or N x C x D x H x W."""
    given = lw.ref(unit.operand(0))
    flat = flattened(unit, given.dims, given.offset, w)
    groups = int(unit.attributes.get("group", 1))
    x, w = laid_out(lw, given, flat.x, unit.node), flat.weights
    if w.shape[1] * groups != x.shape[2] or w.shape[0] % groups:
        raise NotOnChipError(f"weights {list(w.shape)} in {groups} groups on a map of {x.shape[2]} channels")
    window = sliding(dict(flat.attributes), w.shape[2:], *x.shape[:2])
    like = Ref("", (*window.size, w.shape[0]), "CHW", flat.result_dims(*window.size), output_offset(unit, 0))
    return _emit(lw, flat.unit, x, like, Taps(w.transpose(0, 2, 3, 1)), groups=groups, **window.fields())


def gemm(lw: Lowering, unit: Unit) -> Ref:
    """Gemm: alpha * A @ B + beta * C with constant B and C."""
    given = unit.attributes
    if given.get("transA", 0):
        raise NotOnChipError("Gemm with transA")
    taps = Taps.of(lw, unit.operand(1), 0 if given.get("transB", 0) else 1)
    rows = taps if given.get("transB", 0) else taps.turned(np.transpose)
    return _dense(lw, unit, rows, Factors(float(given.get("alpha", 1.0)), float(given.get("beta", 1.0))))


def matmul(lw: Lowering, unit: Unit) -> Ref:
    """MatMul with a constant matrix on the right."""
    operand = unit.operand(1)
    if not operand.is_constant:
        raise NotOnChipError("both factors change from image to image; crossbars hold constant weights")
    value = operand.value
    assert value is not None
    taps = Taps.of(lw, operand, value.ndim - 1)
    w = taps.values
    if w.ndim > 2:
        return _side_by_side(lw, unit, w)
    if w.ndim != 2:
        raise NotOnChipError(f"the constant factor has {w.ndim} axes, not two")
    return _dense(lw, unit, taps.turned(np.transpose), Factors())


def _side_by_side(lw: Lowering, unit: Unit, w: Array) -> Ref:
    """A product for each part of both factors, as convolution groups; the constant's parts are axes before the last."""
    x = lw.ref(unit.operand(0))
    parts, (k, outputs) = tuple(n for n in w.shape[:-2] if n != 1), w.shape[-2:]
    rows, count = (x.dims[-2] if len(x.dims) > 1 else 1), math.prod(parts)
    outer = x.dims[:-2]
    if tuple(n for n in outer if n != 1) != parts or x.dims[-1] != k or w.ndim > len(x.dims) + 1:
        raise NotOnChipError(f"a product of {list(x.dims)} with constants {list(w.shape)}")
    weights = unit.operand(1)
    if weights.scale is None or weights.scale.size != 1:
        raise NotOnChipError("its constants have more than one scale")
    flat = Ref("", (1, rows, count * k), "HWC", (rows, count * k), x.offset)
    x = rearranged(lw, x, flat, unit.node, lambda n: n.reshape(count, rows, k).transpose(1, 0, 2))
    like = Ref("", (1, rows, count * outputs), "HWC", (rows, count * outputs), output_offset(unit, 0))
    taps = w.reshape(count, k, outputs).transpose(0, 2, 1).reshape(count * outputs, 1, 1, k)
    made = _emit(lw, unit, x, like, Taps(taps), kernel=(1, 1), groups=count, hidden=".parts")
    result = tensor_like((*outer, rows, outputs), made.offset, "HWC")
    name = "" if unit.after else unit.output.tensor
    return rearranged(lw, made, result, unit.node, lambda n: n.reshape(rows, count, outputs).transpose(1, 0, 2), name)


def _dense(lw: Lowering, unit: Unit, w: Taps, factors: Factors) -> Ref:
    """A matrix product: a window over the whole map where the map was flattened, else one position at a time."""
    x = lw.ref(unit.operand(0))
    h, wd, c = x.shape
    outputs, k = w.values.shape
    offset = output_offset(unit, 0)
    if x.dims == (h * wd * c,) == (k,):
        first = x.order == "CHW"
        taps = w.turned(lambda a: a.reshape(outputs, c, h, wd) if first else a.reshape(outputs, h, wd, c))
        taps = taps.turned(lambda a: a.transpose(0, 2, 3, 1)) if first else taps
        like = Ref("", (1, 1, outputs), "CHW", (outputs,), offset)
        return _emit(lw, unit, x, like, taps, factors=factors, kernel=(h, wd))
    positions_last = x.order == "HWC" or h * wd == 1
    if positions_last and x.dims[-1] == c == k and math.prod(x.dims[:-1]) == h * wd:
        like = Ref("", (h, wd, outputs), "HWC", (*x.dims[:-1], outputs), offset)
        return _emit(lw, unit, x, like, w.turned(lambda a: a.reshape(outputs, 1, 1, k)), factors=factors, kernel=(1, 1))
    raise NotOnChipError(f"a product of {list(x.dims)} with {k} x {outputs} weights")


def centred(operand: Operand, axis: int) -> Array:
    """Constant weights with their zero points taken off: int8, or int16 where they reach further."""
    value, zero = operand.value, operand.zero
    if value is None:
        raise NotOnChipError("its weights change from image to image; crossbars hold constant weights")
    if zero is None or value.dtype not in (np.int8, np.uint8):
        raise NotOnChipError(f"weights are {value.dtype.name}, not 8-bit integers")
    per_channel = zero.size > 1 or (operand.scale is not None and operand.scale.size > 1)
    if per_channel and operand.axis is not None and operand.axis % value.ndim != axis:
        raise NotOnChipError(f"weight scales run along axis {operand.axis}, not along the output channels")
    if value.dtype == np.int8 and not zero.any():
        return value
    w = value.astype(np.int16) - along(zero.astype(np.int16), value.ndim, axis)
    return w if w.size and (w.min() < -128 or w.max() > 127) else w.astype(np.int8)


def _in_halves(lw: Lowering, unit: Unit, x: Ref, taps: Array, groups: int) -> tuple[Ref, Array]:
    """Weights of 9 bits as two of 8 that are added: every input channel is read twice."""
    low = np.clip(taps, -128, 127)
    rest = taps - low
    if rest.min() < -128 or rest.max() > 127:
        raise NotOnChipError(f"weights minus their zero point reach {taps.min()}..{taps.max()}")
    per_group = x.shape[2] // groups
    ranges = tuple((0, g * per_group, (g + 1) * per_group) for g in range(groups) for _ in range(2))
    shape = (*x.shape[:2], 2 * x.shape[2])
    dims = (2 * x.shape[2], *x.shape[:2])
    twice = lw.emit(Pick, unit, (x,), Ref("", shape, "CHW", dims, x.offset), hidden=".twice", ranges=ranges)
    return replace(twice, pads=x.pads), np.concatenate([low, rest], axis=3).astype(np.int8)


def _emit(
    lw: Lowering,
    unit: Unit,
    x: Ref,
    like: Ref,
    weights_of: Taps,
    *,
    kernel: tuple[int, int],
    factors: Factors | None = None,
    hidden: str = "",
    **window: Any,
) -> Ref:
    source, weights, out = unit.operand(0), unit.operand(1), unit.output
    taps = weights_of.values
    if taps.dtype != np.int8:
        x, taps = _in_halves(lw, unit, x, taps, int(window.get("groups", 1)))
    if weights.scale is None or weights.scale.size not in (1, taps.shape[0]):
        raise NotOnChipError("weight scales do not match the output channels")
    if out.scale is None:
        raise NotOnChipError("its result is not quantised")
    factors = factors or Factors()
    with np.errstate(over="ignore"):
        products = (F32(factors.alpha) * source.one_scale) * weights.scale.astype(F32).reshape(-1)
        multiplier = (products / out.one_scale).astype(F32)
    if not np.isfinite(multiplier).all() or not products.all():
        raise NotOnChipError("its scales are too far apart for 32-bit floating point")
    lo, hi = stored_limits(unit, like.offset)
    mixed = unit.op in ("Conv", "Gemm", "MatMul") and source.offset == 128 and weights.offset == 0
    if mixed:
        lw.inexact[out.tensor] = (
            "onnxruntime has no kernel of int8 activations with uint8 weights, so it computes in floating point"
        )
    bias = _bias(lw, unit, products, taps.shape[0], factors)
    if unit.inexact or unit.output.tensor in lw.inexact or cuts_range(unit, lo, hi):
        bias = _without_wrapping(bias, taps, multiplier)
    made = lw.emit(
        Conv,
        unit,
        (x,),
        like,
        hidden=hidden,
        weights=taps,
        multiplier=multiplier,
        bias=bias,
        kernel=kernel,
        x_zero=source.one_zero + x.offset,
        y_zero=out.one_zero + like.offset,
        lo=lo,
        hi=hi,
        bits=lw.bits.get(weights.tensor),
        **weights_of.constants(),
        **window,
    )
    if weights_of.index is not None:
        lw.recognised[made.value] = lw.epitomes[weights.tensor]
    return made


def _without_wrapping(bias: Array, taps: Array, multiplier: Array) -> Array:
    """The i32 bias for a layer that onnxruntime computes in floating point, which does not wrap around at 2**31.

    A bias with which sums could reach that far is brought nearer to 0, where the result is at its end anyway.
    """
    most = 255 * np.abs(taps.reshape(len(taps), -1).astype(np.int64)).sum(axis=1)
    limit = 2**31 - 1 - most
    wide = bias.astype(np.int64)
    reach = np.minimum(np.abs(wide), limit) + most
    lost = reach * multiplier.astype(np.float64) > 2**20
    if (lost & (np.abs(wide) <= 2 * most)).any():
        raise NotOnChipError("its sums span so many steps of its result that floating point loses single ones")
    if (np.abs(wide) <= limit).all():
        return bias
    if ((limit - most) * multiplier.astype(np.float64) < 512).any():
        raise NotOnChipError("its bias is so near to the end of 32 bits that sums would wrap around")
    return np.clip(wide, -limit, limit).astype(np.int32)


def _bias(lw: Lowering, unit: Unit, scale: Array, outputs: int, factors: Factors) -> Array:
    """The i32 bias at ``scale``, input scale times weight scale times alpha.

    A float bias is quantised so, as onnxruntime does. A Conv's bias with a scale of its own is brought to it:
    onnxruntime then computes in floating point, and so it does for a Gemm with factors (but a Gemm's bias without
    them it takes as it is, whatever its scale says, and a QGemm's is at the scale that alpha is in).
    """
    bias = unit.maybe(2)
    if bias is None:
        return np.zeros(1, np.int32)
    if bias.value is None:
        raise NotOnChipError("its bias changes from image to image")
    if bias.zero is not None and bias.scale is not None and bias.zero.any():
        raise NotOnChipError("its bias has a zero point that is not 0")
    value = bias.value.reshape(-1)
    if value.size not in (1, outputs):
        raise NotOnChipError(f"a bias of {value.size} elements for {outputs} outputs")
    if value.dtype == np.float32:
        with np.errstate(over="ignore"):
            value = np.rint(F32(factors.beta) * value / scale)
        if not np.isfinite(value).all():
            raise NotOnChipError("its bias is not finite at the scale of its products")
    elif bias.scale is not None and (unit.op == "Conv" or (unit.op == "Gemm" and factors != Factors())):
        own = F32(factors.beta) * bias.scale.astype(F32).reshape(-1)
        if np.any(np.abs(own - scale) > SAME_SCALE * np.abs(scale)) or unit.op == "Gemm":
            lw.inexact[unit.output.tensor] = (
                "its bias has a scale or factor of its own, so onnxruntime computes in floating point"
            )
            value = np.rint(value * (own.astype(np.float64) / scale))
            if not ((value >= -(2**31)) & (value < 2**31)).all():
                raise NotOnChipError("its bias does not fit 32 bits at the scale of its products")
    return np.broadcast_to(value.astype(np.int32), (outputs,) if value.size > 1 else (1,))
