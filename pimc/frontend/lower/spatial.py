"""Convolutions over one or three axes as ones over two: the form that the chip's windows have.

A third axis goes into the channels: every depth of the input and of the result is a channel, and the weights are a
band: a kernel's slices stand where a result's depth meets an input's. Sums are the same, number for number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pimc.frontend.errors import NotOnChipError
from pimc.frontend.lower.window import sliding
from pimc.frontend.ref import Ref
from pimc.frontend.source import Array
from pimc.frontend.unit import Operand, Unit

__all__ = ["Flat", "flattened"]


@dataclass(frozen=True)
class Flat:
    """A convolution over two axes: how its input is held, its weights O x I/groups x kh x kw, attributes, and the unit.

    ``depths`` of the result are that many channels of each output.
    """

    x: Ref
    weights: Array
    attributes: Mapping[str, Any]
    unit: Unit
    depths: int = 1

    def result_dims(self, rows: int, columns: int) -> tuple[int, ...]:
        """ONNX shape of the result, without the batch."""
        outputs = self.weights.shape[0] // self.depths
        if len(self.x.dims) == 2:
            return outputs, columns
        return outputs, self.depths, rows, columns


def flattened(unit: Unit, dims: tuple[int, ...], offset: int, w: Array) -> Flat:
    """The two-axis form of a convolution on a tensor of ``dims`` (batch left out). Raises NotOnChipError."""
    if len(dims) != w.ndim - 1 or w.ndim not in (3, 5):
        raise NotOnChipError(f"a convolution over {w.ndim - 2} axes on {list(dims)}")
    if w.ndim == 3:
        x = Ref("", (1, dims[1], dims[0]), "CHW", dims, offset)
        return Flat(x, w[:, :, None], _chosen(unit.attributes, 1, (None, 0)), unit)
    return _banded(unit, dims, offset, w)


#: What an axis that is not there has.
_NEUTRAL = {"kernel_shape": 1, "strides": 1, "dilations": 1, "pads": 0}


def _chosen(given: Mapping[str, Any], rank: int, axes: tuple[int | None, int | None]) -> dict[str, Any]:
    """Attributes of two axes of ``rank``; None is one of length one."""
    made = {key: value for key, value in given.items() if key not in _NEUTRAL}
    for key, neutral in _NEUTRAL.items():
        if key not in given:
            continue
        values = [int(v) for v in given[key]]
        if len(values) != (2 * rank if key == "pads" else rank):
            raise NotOnChipError(f"{key} {values} of a convolution over {rank} axes")
        halves = [values[:rank], values[rank:]] if key == "pads" else [values]
        made[key] = [neutral if a is None else half[a] for half in halves for a in axes]
    return made


def _banded(unit: Unit, dims: tuple[int, ...], offset: int, w: Array) -> Flat:
    channels, depth, rows, columns = dims
    along = _chosen(unit.attributes, 3, (0, None))
    window = sliding(along, (w.shape[2], 1), depth, 1)
    depths = window.size[0]
    outputs, inputs = w.shape[:2]
    band = np.zeros((outputs, depths, inputs, depth, *w.shape[3:]), w.dtype)
    for d in range(depths):
        for tap in range(w.shape[2]):
            place = d * window.stride[0] - window.pads[0] + tap * window.dilation[0]
            if 0 <= place < depth:
                band[:, d, :, place] = w[:, :, tap]
    x = Ref("", (rows, columns, channels * depth), "CHW", dims, offset)
    weights = band.reshape(outputs * depths, inputs * depth, *w.shape[3:])
    return Flat(x, weights, _chosen(unit.attributes, 3, (1, 2)), _repeated(unit, depths), depths)


def _repeated(unit: Unit, times: int) -> Unit:
    """The unit with the parameters of each output ``times`` over."""
    weights, bias = unit.operand(1), unit.maybe(2)
    inputs = [unit.operand(0), replace(weights, scale=_each(weights.scale, times))]
    if bias is not None:
        inputs.append(_bias(bias, times))
    return replace(unit, inputs=tuple(inputs))


def _each(values: Array | None, times: int) -> Array | None:
    return values if values is None or values.size == 1 else np.repeat(values.reshape(-1), times)


def _bias(bias: Operand, times: int) -> Operand:
    return replace(bias, value=_each(bias.value, times), scale=_each(bias.scale, times))
