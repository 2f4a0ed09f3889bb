"""ONNX operators that only name the same bytes anew: Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Identity."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import onnx

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.ref import Ref
from pimc.frontend.source import Array, attributes, input_at

__all__ = ["RELABELS", "relabelled"]

Integers = Callable[[str], Array | None]
"""The value of an integer tensor that depends on constants and shapes only."""


def relabelled(node: onnx.NodeProto, x: Ref, integers: Integers) -> Ref:
    """The result of a relabelling node on ``x``, held by the same value. Raises NotOnChipError if bytes would move."""
    if x.is_padded:
        raise NotOnChipError(f"{node.op_type} of a padded tensor")
    if node.op_type not in RELABELS:
        raise NotOnChipError(f"{node.op_type} moves data")
    return RELABELS[node.op_type](node, x, integers)


def _identity(node: onnx.NodeProto, x: Ref, integers: Integers) -> Ref:
    return x


def _reshape(node: onnx.NodeProto, x: Ref, integers: Integers) -> Ref:
    """A reshape that keeps the batch."""
    target = integers(node.input[1]) if len(node.input) > 1 else attributes(node).get("shape")
    if target is None:
        raise NotOnChipError("its target shape is not constant")
    old = (1, *x.dims)
    copy = not attributes(node).get("allowzero", 0)
    new = [old[n] if d == 0 and copy else int(d) for n, d in enumerate(target)]
    if new.count(-1) == 1:
        new[new.index(-1)] = math.prod(old) // max(1, -math.prod(new))
    if math.prod(new) != math.prod(old) or new[0] != 1:
        raise NotOnChipError(f"reshape of {list(old)} to {list(target)} does not keep the batch")
    return replace(x, dims=tuple(new[1:]))


def _flatten(node: onnx.NodeProto, x: Ref, integers: Integers) -> Ref:
    axis = int(attributes(node).get("axis", 1))
    if axis not in (1, -len(x.dims)):
        raise NotOnChipError(f"flatten at axis {axis}; only 1 keeps the batch")
    return replace(x, dims=(math.prod(x.dims),))


def _axes(node: onnx.NodeProto, integers: Integers) -> list[int] | None:
    given = attributes(node)
    if "axes" in given:
        return [int(a) for a in given["axes"]]
    if not input_at(node, 1):
        return None
    found = integers(node.input[1])
    if found is None:
        raise NotOnChipError("its axes are not constant")
    return [int(a) for a in found.reshape(-1)]


def _squeeze(node: onnx.NodeProto, x: Ref, integers: Integers) -> Ref:
    rank, axes = len(x.dims) + 1, _axes(node, integers)
    chosen = {a % rank for a in axes} if axes is not None else {n + 1 for n, d in enumerate(x.dims) if d == 1} | {0}
    if 0 in chosen:
        raise NotOnChipError("it takes the batch axis away")
    return replace(x, dims=tuple(d for n, d in enumerate(x.dims, 1) if n not in chosen))


def _unsqueeze(node: onnx.NodeProto, x: Ref, integers: Integers) -> Ref:
    axes = _axes(node, integers) or []
    rank = len(x.dims) + 1 + len(axes)
    chosen = {a % rank for a in axes}
    if 0 in chosen:
        raise NotOnChipError("it puts an axis before the batch")
    old = iter((1, *x.dims))
    return replace(x, dims=tuple(1 if n in chosen else next(old) for n in range(rank))[1:])


def _transpose(node: onnx.NodeProto, x: Ref, integers: Integers) -> Ref:
    """N x C x H x W to N x H x W x C or back, or a transpose that moves only axes of length one."""
    rank = len(x.dims) + 1
    perm = [int(p) for p in attributes(node).get("perm", range(rank - 1, -1, -1))]
    old = (1, *x.dims)
    dims = tuple(old[p] for p in perm)[1:]
    if perm[0] != 0:
        raise NotOnChipError("it moves the batch axis")
    moved = [p for p in perm if old[p] != 1]
    if moved == sorted(moved):
        return replace(x, dims=dims)
    height, width, channels = x.shape
    if x.order == "CHW" and x.dims == (channels, height, width) and perm == [0, 2, 3, 1]:
        return replace(x, order="HWC", dims=dims)
    if x.order == "HWC" and x.dims == (height, width, channels) and perm == [0, 3, 1, 2]:
        return replace(x, order="CHW", dims=dims)
    raise NotOnChipError(f"transpose {perm} of {list(old)} moves data; only channels first to last and back do not")


def _pad(node: onnx.NodeProto, x: Ref, integers: Integers) -> Ref:
    """Zeros around a map, left to the convolution behind it. The value is checked by the caller."""
    given = attributes(node)
    pads = given.get("pads") if "pads" in given else integers(node.input[1])
    mode = given.get("mode", "constant")
    if mode != "constant":
        raise NotOnChipError(f"padding by {mode!r}; convolutions add zeros only")
    if not x.is_image:
        raise NotOnChipError(f"padding of {list(x.dims)}, not a channels x rows x columns map")
    if pads is not None and input_at(node, 3):
        pads = _over_all_axes(pads, integers(node.input[3]))
    if pads is None or len(pads) != 8:
        raise NotOnChipError("its pads are not constant")
    n0, c0, top, left, n1, c1, bottom, right = (int(p) for p in pads)
    if any((n0, c0, n1, c1)) or min(top, left, bottom, right) < 0:
        raise NotOnChipError("only padding of rows and columns, and no cropping")
    return replace(x, pads=(top, left, bottom, right))


def _over_all_axes(pads: Array, axes: Array | None) -> list[int] | None:
    """Pads of a map that are given for some of its axes."""
    if axes is None or len(pads) != 2 * len(axes):
        return None
    every = [0] * 8
    for n, axis in enumerate(axes.reshape(-1).tolist()):
        every[axis % 4], every[axis % 4 + 4] = int(pads[n]), int(pads[n + len(axes)])
    return every


RELABELS: Mapping[str, Callable[[onnx.NodeProto, Ref, Integers], Ref]] = MappingProxyType(
    {
        "Reshape": _reshape,
        "Flatten": _flatten,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        "Transpose": _transpose,
        "Identity": _identity,
        "Dropout": _identity,
        "Pad": _pad,
    }
)
"""By op type."""
