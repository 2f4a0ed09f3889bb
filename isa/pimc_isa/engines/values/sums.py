"""Dot products block by block of output rows, so that window vectors and sums stay in a cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pimc_isa.engines.dots.layer import Layer
from pimc_isa.engines.kernels.windows import WindowGeometry, is_plain
from pimc_isa.engines.noise import position_numbers
from pimc_isa.engines.values.operations import DotOp, Region
from pimc_isa.engines.values.plan import Frame, ValuePlanner, WindowSource, geometry
from pimc_isa.errors import ProgramError

__all__ = ["BLOCK_BYTES", "Sums", "numbers_of", "summer"]

Array = np.ndarray
BLOCK_BYTES = 1 << 20  # window vectors and sums of one block of rows: about a second-level cache


class Sums:
    """Iterates over blocks of output rows: (first position, last position, i32 sums [positions, channels])."""

    def __init__(self, p: ValuePlanner, layer: Layer, source: WindowSource, g: WindowGeometry, region: Region) -> None:
        self._layer, self._value, self._g, self._scratch, self._region = layer, source.value, g, p.scratch, region
        rows, cols = g.out
        self._depthwise = layer.is_depthwise(g.kernel[0] * g.kernel[1])
        each = cols * (g.depth + layer.position_bytes())
        self._block = max(1, BLOCK_BYTES // each)
        self._positions = (rows, cols)
        p.scratch.take(min(self._block, 4 * rows) * cols * g.depth)

    def __call__(self, frame: Frame) -> Iterator[tuple[int, int, Array]]:
        """All blocks of a run."""
        raw, layer = frame.get(self._value), self._layer
        rows, cols = self._positions
        if self._depthwise:
            for image in range(frame.images):
                sums = layer.depthwise_sums(raw[image : image + 1], self._g)
                yield image * rows * cols, (image + 1) * rows * cols, sums.reshape(rows * cols, -1)
            return
        x, g = layer.prepared(raw, self._g)
        total = frame.images * rows
        block = min(self._block, total)
        scratch = x if is_plain(g, x.shape) else self._scratch.take(block * cols * g.depth)
        for first in range(0, total, block):
            count = min(block, total - first)
            at = None if layer.analog is None else self._numbers(frame, first, count)
            yield first * cols, (first + count) * cols, layer.sums(x, g, first, count, scratch, x is not raw, at)

    def _numbers(self, frame: Frame, first: int, count: int) -> Array:
        """The numbers of the positions of some output rows."""
        return numbers_of(frame, self._region, first, count)


def numbers_of(frame: Frame, region: Region, first: int, count: int) -> Array:
    """The numbers of the positions of some output rows of a region, of all images in turn."""
    image, row = np.divmod(np.arange(first, first + count), region.count)
    rows, cols = region.first + region.step * row, np.arange(*region.cols)
    return position_numbers((frame.first + image)[:, None], rows[:, None], cols[None]).ravel()


def summer(p: ValuePlanner, op: DotOp, region: Region) -> Sums:
    """The sums of an operation over a region. Raises ProgramError for windows that do not fit the weights."""
    source = p.window_source(op.x, op.size, op.chans)
    layer = p.layer(op.part)
    g = geometry(source, op.window, region, op.chans)
    _check_depth(layer, g)
    return Sums(p, layer, source, g, region)


def _check_depth(layer: Layer, g: WindowGeometry) -> None:
    if g.depth != layer.inputs:
        inputs = g.depth // layer.groups
        rows = layer.inputs // layer.groups
        raise ProgramError(f"weights {layer.weights.name} have {rows} rows for windows of {inputs} inputs")
