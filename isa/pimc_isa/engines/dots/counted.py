"""Dot products slice by slice through the kernels that count bits, where they take the form; flags as well."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from pimc_isa.crossbar.cells import Cells
from pimc_isa.crossbar.exactness import guarded_flags
from pimc_isa.engines.kernels.blocks import BlockProduct, block_product
from pimc_isa.engines.kernels.corrected import CorrectedProduct, corrected_product
from pimc_isa.engines.kernels.popcount import BitProduct, GroupedBits, bit_product, grouped_bits, pack, widened
from pimc_isa.flow.forms import NormalForm
from pimc_isa.operands import Weights

__all__ = ["CountedProduct"]

Array = np.ndarray


class CountedProduct:
    """A layer's part. Kernels are made when they are first wanted; without one ``reference`` computes.

    That gives i32 [m, groups * n] of window vectors u8 [m, groups, k].
    """

    def __init__(
        self, cells: Cells, weights: Weights, form: NormalForm, scale: float, reference: Callable[[Array], Array]
    ) -> None:
        self._held = cells, weights, form
        self._scale, self._reference = scale, reference
        self._dense: dict[tuple[int, int], BitProduct | BlockProduct | None] = {}
        self._grouped: dict[int, GroupedBits | None] = {}

    def of_taps(self, taps: int, depth: int) -> BitProduct | BlockProduct | None:
        """The kernel for windows of so many packed vectors of ``depth`` bits, of one convolution group."""
        if (taps, depth) not in self._dense:
            found: BitProduct | BlockProduct | None = bit_product(*self._held, taps, depth)
            if found is None and self._corrected is None:
                found = block_product(*self._held, taps, depth)
            self._dense[taps, depth] = found
        return self._dense[taps, depth]

    @cached_property
    def _corrected(self) -> CorrectedProduct | None:
        return corrected_product(*self._held)

    def of_groups(self, taps: int) -> GroupedBits | None:
        """The kernel for whole windows [m, taps * groups * channels]."""
        if taps not in self._grouped:
            cells, weights, _ = self._held
            groups, k, _ = cells.codes.shape
            tap, channel = np.divmod(np.arange(k), max(1, weights.k // taps))
            whole = k == weights.k
            rows = tap * (groups * (weights.k // taps)) + channel
            self._grouped[taps] = grouped_bits(*self._held, rows, weights.k // taps) if whole else None
        return self._grouped[taps]

    def dense(self, a: Array) -> Array:
        """i32 [m, n] of window vectors u8 [m, k], for one convolution group."""
        wide = widened(a, self._held[1].block_rows)
        kernel = self.of_taps(1, wide.shape[1])
        if kernel is not None:
            return kernel(pack(wide))
        return self._reference(a[:, None]) if self._corrected is None else self._corrected(a)

    def flags(self, a: Array) -> Array:
        """As ``exactness.guarded_flags``, of window vectors u8 [m, groups, k]."""
        if a.shape[1] > 1:
            grouped = grouped_bits(*self._held, np.arange(a.shape[2]), a.shape[2])
            return self._slow_flags(a) if grouped is None else grouped.flags(a.reshape(len(a), -1))
        wide = widened(a[:, 0], self._held[1].block_rows)
        kernel = self.of_taps(1, wide.shape[1])
        return kernel.flags(pack(wide))[:, :, :, None] if isinstance(kernel, BitProduct) else self._slow_flags(a)

    def _slow_flags(self, a: Array) -> Array:
        return guarded_flags(a, *self._held, self._scale)
