"""Operators that only name the same bytes anew: Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Identity."""

from __future__ import annotations

import math
from dataclasses import replace

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.table import to_scale_of
from pimc.frontend.lowering import Lowering, Ref
from pimc.frontend.unit import Unit

__all__ = ["flatten", "identity", "reshape", "squeeze", "transpose", "unsqueeze"]


def identity(lw: Lowering, unit: Unit) -> Ref:
    """Identity, Dropout at inference."""
    x = lw.ref(unit.operand(0))
    return _relabel(lw, unit, x, x)


def reshape(lw: Lowering, unit: Unit) -> Ref:
    """Reshape with a constant shape that keeps the batch."""
    x = lw.ref(unit.operand(0))
    target = lw.source.constant(unit.node.input[1]) if len(unit.node.input) > 1 else unit.attributes.get("shape")
    if target is None:
        raise NotOnChipError("its target shape is not constant")
    old = (1, *x.dims)
    copy = not unit.attributes.get("allowzero", 0)
    new = [old[n] if d == 0 and copy else int(d) for n, d in enumerate(target)]
    if new.count(-1) == 1:
        new[new.index(-1)] = math.prod(old) // max(1, -math.prod(new))
    if math.prod(new) != math.prod(old) or new[0] != 1:
        raise NotOnChipError(f"reshape of {list(old)} to {list(target)} does not keep the batch")
    return _relabel(lw, unit, x, replace(x, dims=tuple(new[1:])))


def flatten(lw: Lowering, unit: Unit) -> Ref:
    """Flatten behind the batch axis."""
    x = lw.ref(unit.operand(0))
    axis = int(unit.attributes.get("axis", 1))
    if axis not in (1, -len(x.dims)):
        raise NotOnChipError(f"flatten at axis {axis}; only 1 keeps the batch")
    return _relabel(lw, unit, x, replace(x, dims=(math.prod(x.dims),)))


def _axes(lw: Lowering, unit: Unit) -> list[int] | None:
    if "axes" in unit.attributes:
        return [int(a) for a in unit.attributes["axes"]]
    if len(unit.node.input) < 2:
        return None
    given = lw.source.constant(unit.node.input[1])
    if given is None:
        raise NotOnChipError("its axes are not constant")
    return [int(a) for a in given.reshape(-1)]


def squeeze(lw: Lowering, unit: Unit) -> Ref:
    """Squeeze of axes behind the batch."""
    x = lw.ref(unit.operand(0))
    rank = len(x.dims) + 1
    axes = _axes(lw, unit)
    chosen = {a % rank for a in axes} if axes is not None else {n + 1 for n, d in enumerate(x.dims) if d == 1} | {0}
    if 0 in chosen:
        raise NotOnChipError("it takes the batch axis away")
    return _relabel(lw, unit, x, replace(x, dims=tuple(d for n, d in enumerate(x.dims, 1) if n not in chosen)))


def unsqueeze(lw: Lowering, unit: Unit) -> Ref:
    """Unsqueeze of axes behind the batch."""
    x = lw.ref(unit.operand(0))
    axes = _axes(lw, unit) or []
    rank = len(x.dims) + 1 + len(axes)
    chosen = {a % rank for a in axes}
    if 0 in chosen:
        raise NotOnChipError("it puts an axis before the batch")
    old = iter((1, *x.dims))
    return _relabel(lw, unit, x, replace(x, dims=tuple(1 if n in chosen else next(old) for n in range(rank))[1:]))


def transpose(lw: Lowering, unit: Unit) -> Ref:
    """Transpose between N x C x H x W and N x H x W x C, or one that moves only axes of length one."""
    x = lw.ref(unit.operand(0))
    rank = len(x.dims) + 1
    perm = [int(p) for p in unit.attributes.get("perm", range(rank - 1, -1, -1))]
    old = (1, *x.dims)
    dims = tuple(old[p] for p in perm)[1:]
    if perm[0] != 0:
        raise NotOnChipError("it moves the batch axis")
    if [p for p in perm if old[p] != 1] == sorted(p for p in perm if old[p] != 1):
        return _relabel(lw, unit, x, replace(x, dims=dims))
    height, width, channels = x.shape
    if x.order == "CHW" and x.dims == (channels, height, width) and perm == [0, 2, 3, 1]:
        return _relabel(lw, unit, x, replace(x, order="HWC", dims=dims))
    if x.order == "HWC" and x.dims == (height, width, channels) and perm == [0, 3, 1, 2]:
        return _relabel(lw, unit, x, replace(x, order="CHW", dims=dims))
    raise NotOnChipError(f"transpose {perm} of {list(old)} moves data; only channels first to last and back do not")


def _relabel(lw: Lowering, unit: Unit, x: Ref, new: Ref) -> Ref:
    moved = to_scale_of(lw, unit, x, unit.operand(0), hidden=".scaled")
    return replace(new, value=moved.value, offset=moved.offset)
