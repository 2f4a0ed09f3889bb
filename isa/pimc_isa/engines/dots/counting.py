"""What the data of dot products decide of their actions: set bits of inputs, end codes of guarded conversions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pimc_isa.crossbar.exactness import guarded_flags
from pimc_isa.engines.dots.layer import Layer
from pimc_isa.flow.use import FLAGS, ONES, Tally

__all__ = ["INPUT_BITS", "Observed", "observe"]

Array = np.ndarray
INPUT_BITS = 8


@dataclass(frozen=True)
class Observed:
    """Of some positions: ``ones`` [positions, groups, row blocks, bits]; ``flags`` as `guarded_flags` has them.

    None: not measured.
    """

    positions: int
    ones: Array | None
    flags: Array | None

    def tally(self, positions: Array | slice, groups: slice, blocks: slice, outputs: slice) -> Tally:
        """Of a part of the positions, convolution groups, row blocks and outputs."""
        count = len(np.arange(self.positions)[positions])
        ones: tuple[tuple[int, ...], ...] = ()
        flags: tuple[int, ...] = ()
        if self.ones is not None:
            sums = self.ones[positions][:, groups, blocks].sum(axis=(0, 2), dtype=np.int64)
            ones = tuple(tuple(map(int, group)) for group in sums)
        if self.flags is not None:
            part = self.flags[:, blocks][:, :, positions][:, :, :, groups, outputs]
            flags = tuple(map(int, part.sum(axis=(1, 2, 3, 4), dtype=np.int64)))
        return Tally(count, ones, flags)

    @property
    def whole(self) -> Tally:
        """Of everything."""
        every = slice(None)
        return self.tally(every, every, every, every)


def observe(layer: Layer, vectors: Array, measures: frozenset[str], at: Callable[[], Array]) -> Observed:
    """Look at window vectors u8 [positions, groups, k]; ``at`` gives the positions' numbers, which noise depends on."""
    flags = None
    if FLAGS in measures:
        if layer.analog is not None:
            flags = layer.analog.flags(vectors, at())
        else:
            flags = guarded_flags(vectors, layer.cells, layer.weights, layer.form, layer.scale)
    return Observed(len(vectors), _ones(vectors, layer.weights.block_rows) if ONES in measures else None, flags)


def _ones(vectors: Array, block_rows: int) -> Array:
    """int32 [positions, groups, row blocks, bits]: inputs with each bit set."""
    edges = np.arange(0, vectors.shape[2], block_rows)
    bits = [np.add.reduceat(vectors >> bit & 1, edges, axis=2, dtype=np.int32) for bit in range(INPUT_BITS)]
    return np.stack(bits, axis=3)
