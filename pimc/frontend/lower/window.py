"""Sliding windows: kernel, stride, pads and dilation from ONNX attributes, and the size of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pimc.frontend.errors import NotOnChipError

__all__ = ["Sliding", "sliding"]

Pair = tuple[int, int]


@dataclass(frozen=True)
class Sliding:
    """A resolved window: pads are top, left, bottom, right; ``size`` the rows and columns of the result."""

    kernel: Pair
    stride: Pair
    pads: tuple[int, int, int, int]
    dilation: Pair
    size: Pair

    def fields(self) -> dict[str, Any]:
        """As fields of an op."""
        return {"kernel": self.kernel, "stride": self.stride, "pads": self.pads, "dilation": self.dilation}


def _pair(values: Any, what: str) -> Pair:
    if len(values) != 2:
        raise NotOnChipError(f"{what} has {len(values)} axes; the chip's windows have two")
    return int(values[0]), int(values[1])


def sliding(
    attributes: dict[str, Any],
    kernel: tuple[int, ...],
    rows: int,
    columns: int,
    outer: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Sliding:
    """Resolve auto_pad and ceil_mode (ONNX Conv and Pool) for a map of ``rows`` x ``columns``.

    ``outer`` (top, left, bottom, right) are zeros around the map that the operator sees as part of it.
    """
    k = _pair(kernel, "kernel")
    stride = _pair(attributes.get("strides", (1, 1)), "strides")
    dilation = _pair(attributes.get("dilations", (1, 1)), "dilations")
    lengths = rows + outer[0] + outer[2], columns + outer[1] + outer[3]
    before, after = _pads(attributes, k, stride, dilation, lengths)
    size = []
    for axis, length in enumerate(lengths):
        reach = (k[axis] - 1) * dilation[axis] + 1
        span = length + before[axis] + after[axis] - reach
        if span < 0:
            raise NotOnChipError(f"window {k} does not fit a {rows}x{columns} map")
        steps = span // stride[axis]
        if (
            attributes.get("ceil_mode", 0)
            and span % stride[axis]
            and _starts_inside(steps + 1, stride[axis], length + before[axis])
        ):
            steps += 1
            after[axis] += stride[axis] - span % stride[axis]
        size.append(steps + 1)
    top, left, bottom, right = (inner + more for inner, more in zip((*before, *after), outer, strict=True))
    return Sliding(k, stride, (top, left, bottom, right), dilation, (size[0], size[1]))


def _starts_inside(step: int, stride: int, end: int) -> bool:
    """With ceil_mode a last window counts only if it starts in the map or in its leading pad."""
    return step * stride < end


def _pads(
    attributes: dict[str, Any], kernel: Pair, stride: Pair, dilation: Pair, lengths: Pair
) -> tuple[list[int], list[int]]:
    mode = attributes.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = [int(p) for p in attributes.get("pads", (0, 0, 0, 0))]
        if len(pads) != 4 or min(pads) < 0:
            raise NotOnChipError(f"pads {pads}: the chip needs four, none negative")
        return pads[:2], pads[2:]
    if mode == "VALID":
        return [0, 0], [0, 0]
    totals = [
        max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        for n, k, s, d in zip(lengths, kernel, stride, dilation, strict=True)
    ]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (small, large) if mode == "SAME_UPPER" else (large, small)
