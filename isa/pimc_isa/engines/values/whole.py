"""The vocabulary of instruction meanings for all rows of one step at once: how instructions without a kernel run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pimc_isa.crossbar.footprint import group_measures
from pimc_isa.engines.dots.counting import observe
from pimc_isa.engines.dots.layer import Layer, LayerPart
from pimc_isa.engines.kernels.windows import WindowGeometry, taps
from pimc_isa.engines.noise import position_numbers
from pimc_isa.engines.values.operations import Region
from pimc_isa.engines.values.plan import WindowSource, geometry
from pimc_isa.flow.use import Tally
from pimc_isa.operands import Range, RowExpr, Slab
from pimc_isa.program import Program, Tile

__all__ = ["WholeRows"]

Array = np.ndarray


class WholeRows:
    """Implements ``define.Meaning`` for one step whose operands are given as whole arrays."""

    def __init__(
        self,
        program: Program,
        tile: Tile,
        region: Region,
        reads: Mapping[Slab, Array],
        sources: Mapping[str, tuple[Array, WindowSource]],
        layer: Callable[[LayerPart], Layer],
        first: int = 0,
        counts: bool = False,
    ) -> None:
        self.tile, self._first, self._counts = tile, first, counts
        self.tallies: list[Tally] = []
        self._program, self._region, self._reads, self._sources, self._layer = program, region, reads, sources, layer
        self._result: Array | None = None

    def result(self) -> Array:
        """What the instruction wrote."""
        assert self._result is not None
        return self._result

    def read(self, operand: Slab) -> Array:
        """All rows of an operand."""
        return self._reads[operand]

    def write(self, operand: Slab, values: Array) -> None:
        """The result."""
        self._result = values

    def patches(self, dst: Slab, src: str, window: str) -> Array:
        """[images, rows, columns, taps, channels]."""
        array, at = self._sources[src]
        return taps(array, self._geometry(at, window, self.tile.chans(dst)))

    def _geometry(self, at: WindowSource, window: str, chans: Range) -> WindowGeometry:
        return geometry(at, self.tile.window[window], self._region, chans)

    def patches_count(self, dst: Slab, src: str, window: str) -> Array:
        """Taps inside the tensor."""
        held, w = self.tile.buffer[src], self.tile.window[window]
        rows = (self._region.first, self._region.step, self._region.count)
        g = WindowGeometry.of(w, rows, self._region.cols, (0, 0), (0, 1))
        unpadded = WindowGeometry(g.out, g.origin, g.kernel, g.step, g.dilation, g.chans, 0)
        inside = np.ones((1, held.rows, held.width, 1), np.uint8)
        return np.asarray(taps(inside, unpadded).sum(axis=3, dtype=np.float32))

    def dot(self, dst: Slab, src: str, window: str, group: str) -> Array:
        """i32 sums."""
        g, held = self.tile.group[group], self.tile.buffer[src]
        layer = self._layer(LayerPart.of(g))
        array, at = self._sources[src]
        chans = held.chans
        if layer.weights.groups > 1:
            size = self.tile.window[window].kernel
            per_group = layer.channels_per_group(size[0] * size[1])
            chans = (g.groups[0] * per_group, g.groups[1] * per_group)
        where = self._geometry(at, window, chans)
        rows = array.shape[0] * where.out[0]
        scratch = np.empty(rows * where.out[1] * where.depth, np.uint8)
        images, r = np.arange(self._first, self._first + array.shape[0]), self._region
        numbers = position_numbers(images[:, None, None], r.rows[:, None], np.arange(*r.cols)).ravel()
        measures = group_measures(self._program, g) if self._counts else frozenset()
        if measures:
            vectors = layer.vectors(array, where, 0, rows, scratch.copy())
            split = vectors.reshape(len(vectors), layer.groups, -1)
            self.tallies.append(observe(layer, split, measures, lambda: numbers).whole(self._program, g))
        return layer.sums(array, where, 0, rows, scratch, at=numbers).reshape(array.shape[0], *where.out, -1)

    def tensor(self, name: str) -> Array:
        """A tensor of the program."""
        return np.asarray(self._program.tensors[name])

    def chans(self, operand: Slab) -> Range:
        """Absolute channels of a slab."""
        return self.tile.chans(operand)

    def receive(self, channel: str, dst: Slab, until: RowExpr) -> None:
        """Moves are resolved before anything runs."""
        raise NotImplementedError

    def send(self, channel: str, src: Slab) -> None:
        """Moves are resolved before anything runs."""
        raise NotImplementedError

    def call(self, name: str, row: RowExpr | None = None) -> None:
        """Host calls have an operation of their own."""
        raise NotImplementedError
