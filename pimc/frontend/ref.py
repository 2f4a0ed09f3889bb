"""Where an ONNX tensor is on the chip."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Ref", "Shape", "image_like", "tensor_like", "vector_like"]

Shape = tuple[int, int, int]
NO_PADS = (0, 0, 0, 0)


@dataclass(frozen=True)
class Ref:
    """An ONNX tensor held by a value of the graph.

    ``shape`` is the value's (rows, columns, channels); ``dims`` the ONNX shape without batch, which is those three in
    the order ``order`` (CHW or HWC), reshaped; ``offset`` is 128 for int8 tensors. ``pads`` (top, left, bottom, right)
    are zeros around the map that only a convolution behind it can add; ``dims`` does not count them.
    """

    value: str
    shape: Shape
    order: str
    dims: tuple[int, ...]
    offset: int
    pads: tuple[int, int, int, int] = NO_PADS

    @property
    def chw(self) -> Shape:
        """The value's sizes in ONNX order."""
        return self.shape[2], self.shape[0], self.shape[1]

    @property
    def is_padded(self) -> bool:
        """Whether zeros still have to be added."""
        return self.pads != NO_PADS

    @property
    def is_image(self) -> bool:
        """Whether the ONNX tensor is N x C x H x W as it stands."""
        return self.dims == self.chw and (self.order == "CHW" or 1 in (self.shape[2], self.shape[0] * self.shape[1]))

    @property
    def is_vector(self) -> bool:
        """Whether the ONNX tensor is N x C, one position."""
        return self.shape[:2] == (1, 1) and self.dims == (self.shape[2],)


def image_like(shape: Shape, offset: int) -> Ref:
    """The result of an operator on maps; its value is still to be made."""
    return Ref("", shape, "CHW", (shape[2], shape[0], shape[1]), offset)


def tensor_like(dims: tuple[int, ...], offset: int, order: str) -> Ref:
    """A tensor of any number of axes, batch left out; ``order`` says where the channels are, first or last.

    The two axes that are left are rows and columns: the last two, or all but the last, seen as one.
    """
    if len(dims) < 2:
        return Ref("", (1, 1, math.prod(dims)), "CHW", dims, offset)
    if order == "HWC":
        return Ref("", (math.prod(dims[:-2]), dims[-2], dims[-1]), "HWC", dims, offset)
    if len(dims) == 2:
        return Ref("", (1, dims[1], dims[0]), "CHW", dims, offset)
    return Ref("", (dims[-2], dims[-1], math.prod(dims[:-2])), "CHW", dims, offset)


def vector_like(channels: int, offset: int) -> Ref:
    """The result of an operator on N x C; its value is still to be made."""
    return Ref("", (1, 1, channels), "CHW", (channels,), offset)
