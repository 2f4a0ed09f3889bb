"""ONNX tensors and the tile layout: buffers hold [images, rows, columns, channels] as unsigned bytes."""

from __future__ import annotations

from math import prod

import numpy as np

from pimc_isa.element import element
from pimc_isa.errors import RunError
from pimc_isa.operands import Buffer, View

__all__ = ["Partial", "from_onnx", "to_onnx", "view_for"]

Array = np.ndarray


def view_for(buffer: Buffer, tensor: str) -> View | None:
    """The view of a buffer for an ONNX tensor name: the one with that name, else the first."""
    return next((v for v in buffer.views if v.tensor == tensor), buffer.views[0] if buffer.views else None)


def to_onnx(values: Array, view: View | None) -> Array:
    """A whole tensor in ONNX layout and type; without a view it becomes [images, channels, rows, columns]."""
    if view is None:
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    if view.offset:
        values = (values.astype(np.int16) - view.offset).astype(np.int8)
    if view.order == "CHW":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values).reshape(values.shape[0], *view.shape)


def from_onnx(values: Array, buffer: Buffer, view: View | None) -> Array:
    """The rows of a buffer that holds a whole ONNX tensor (batch first)."""
    images = values.shape[0]
    rows, width, channels = buffer.rows, buffer.width, buffer.channels
    if values.size != images * rows * width * channels:
        shape = f"{rows}x{width}x{channels}"
        raise RunError(f"buffer {buffer.name} holds {shape} but is given a tensor of {values.shape[1:]}")
    if view is not None and view.offset:
        values = (values.astype(np.int16) + view.offset).astype(np.uint8)
    if view is None or view.order == "CHW":
        result = values.reshape(images, channels, rows, width).transpose(0, 2, 3, 1)
    else:
        result = values.reshape(images, rows, width, channels)
    kind = buffer.element.storage
    part = result[:, :, buffer.cols[0] : buffer.cols[1], buffer.chans[0] : buffer.chans[1]]
    return np.ascontiguousarray(part, dtype=kind)


class Partial:
    """An ONNX tensor put together from the parts that buffers hold."""

    def __init__(self, view: View, images: int, dtype: str) -> None:
        self.view = view
        self._values = np.zeros((images, prod(view.shape)), element(dtype).storage)
        self._held = np.zeros((1, prod(view.shape)), bool)  # elements of an image that some part has

    def add(self, images: slice, part: Array, box: tuple[Array, slice, slice], width: int, channels: int) -> None:
        """Paste ``part`` [images, rows, columns, channels] at ``box`` of a tensor ``width`` columns x ``channels``."""
        self._grid(self._values[images], width, channels)[:, *box] = part
        self._grid(self._held, width, channels)[:, *box] = True

    def _grid(self, values: Array, width: int, channels: int) -> Array:
        if self.view.order == "CHW":
            return values.reshape(len(values), channels, -1, width).transpose(0, 2, 3, 1)
        return values.reshape(len(values), -1, width, channels)

    @property
    def is_whole(self) -> bool:
        """Whether parts have been pasted everywhere."""
        return bool(self._held.all())

    def channels(self, rows: int, width: int) -> int:
        """Channels of the ONNX tensor seen as rows x width x channels."""
        return int(self._values.shape[1]) // (rows * width)

    def finished(self) -> Array:
        """The tensor in ONNX shape and type."""
        values = self._values.reshape(-1, *self.view.shape)
        if self.view.offset:
            return (values.astype(np.int16) - self.view.offset).astype(np.int8)
        return values
