"""Quantised epitomes: stored cells are quantised, so that the weights they stand for stay equal where they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.codes import MOST
from pimc.epitomes.found import Found
from pimc.epitomes.shifts import Blocks, places_of, shifted
from pimc.epitomes.steps import LARGEST, Cells, codes_of, steps_of

__all__ = ["Precision", "Quantised", "quantised_cells", "quantised_weights", "signal_to_noise"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Precision:
    """How weights become codes of ``bits`` bits: ``fit`` as for `pimc.epitomes.steps`, a scale for each channel or one.

    Channels that share cells share a scale all the same. ``blocks``: of cells whose scales may differ by powers of two.
    """

    bits: int = MOST
    fit: str = LARGEST
    per_channel: bool = True
    blocks: Blocks | None = None


@dataclass(frozen=True, eq=False)
class Quantised:
    """``weights`` s8, in the order of the found index, are equal where they are one cell; real: times ``scale`` [O].

    ``snr_db``: signal to noise of the real weights, and ``per_channel_db`` of the same quantised channel by channel.
    """

    weights: Array
    scale: Array
    snr_db: float
    per_channel_db: float


def quantised_cells(found: Found, weights: Array, how: Precision | None = None) -> Quantised:
    """Quantise the cells of float weights [O, ...], symmetrically, factors of output channels (> 0) in their scales.

    Cells have one scale each, so channels that share a cell share a scale; others have their own.
    """
    how = how or Precision()
    stored = found.stored(weights.astype(np.float64)).reshape(-1)
    together = _together(found.index) if how.per_channel else np.zeros(len(weights), np.int64)
    used, cells = _cells(found, stored, together)
    codes = np.zeros(stored.size, np.int8)
    codes[used], steps = _quantised(cells, np.divmod(used, max(1, found.shape[1])), how)
    made = np.where(found.index >= 0, codes[np.maximum(found.index, 0)], np.int8(0))
    real = (steps[together] * found.factor).astype(np.float32)
    alone = quantised_weights(weights, how) if len(np.unique(together)) < len(together) else None
    snr = signal_to_noise(weights, made * real.reshape(-1, *[1] * (weights.ndim - 1)))
    return Quantised(made, real, snr, snr if alone is None else alone.snr_db)


def quantised_weights(weights: Array, how: Precision) -> Quantised:
    """Quantise weights [O, I, ...] that are all cells of their own."""
    values = weights.astype(np.float64).reshape(-1)
    places = (np.zeros(0, np.int64),) * 2 if how.blocks is None else places_of(weights.shape)
    channels = np.arange(len(weights)) if how.per_channel else np.zeros(len(weights), np.int64)
    set_of = np.repeat(channels, values.size // max(1, len(weights)))
    cells = Cells(values, np.ones(values.size), set_of, len(weights) if how.per_channel else 1)
    codes, steps = _quantised(cells, places, how)
    made, scale = codes.reshape(weights.shape), np.broadcast_to(steps, len(weights)).astype(np.float32)
    snr = signal_to_noise(weights, made * scale.reshape(-1, *[1] * (weights.ndim - 1)))
    return Quantised(made, scale, snr, snr)


def _quantised(cells: Cells, places: tuple[Array, Array], how: Precision) -> tuple[Array, Array]:
    """Codes s8 [n] of cells at these rows and columns, and steps [sets]."""
    if how.blocks is not None:
        codes, steps = shifted(cells, how.blocks.of(*places), how.bits, how.fit)
    else:
        steps = steps_of(cells, how.bits, how.fit)
        codes = codes_of(cells.values, steps[cells.set_of], how.bits)
    return codes.astype(np.int8), steps


def _cells(found: Found, stored: Array, together: Array) -> tuple[Array, Cells]:
    """The numbers of the used cells, and these: they stand for weights by the squares of their channels' factors."""
    rows = found.index.reshape(len(found.index), -1)
    set_of = np.zeros(stored.size + 1, np.int64)  # the last one: not stored
    for cells, group in zip(rows, together, strict=True):
        set_of[cells] = group
    squares = None if (found.factor == 1).all() else np.repeat(np.square(found.factor), rows.shape[1])
    counts = np.bincount(rows.ravel() + 1, squares)[1:].astype(np.float64)
    used = np.flatnonzero(counts)
    return used, Cells(stored[used], counts[used], set_of[used], len(together))


def _together(index: Array) -> Array:
    """For each output channel the first of those that it shares cells with, directly or through others."""
    flat = index.reshape(len(index), -1)
    first = list(range(len(flat)))
    last = np.full(int(index.max(initial=-1)) + 2, -1)  # channel that each cell was met in; the last one: not stored
    for channel, cells in enumerate(flat):
        met = np.flatnonzero(np.bincount(last[cells] + 1, minlength=2)[1:])
        for root in {_root(first, int(other)) for other in met}:
            low, high = sorted((root, _root(first, channel)))
            first[high] = low
        last[cells] = channel
        last[-1] = -1
    return np.array([_root(first, channel) for channel in range(len(flat))])


def _root(first: list[int], channel: int) -> int:
    """The first of the channels that one is known to go together with."""
    while first[channel] != channel:
        first[channel] = first[first[channel]]
        channel = first[channel]
    return channel


def signal_to_noise(weights: Array, made: Array) -> float:
    """Power of weights over that of their error, in dB; infinite where there is none."""
    wide = weights.astype(np.float64)
    error = float(np.square(made - wide).sum())
    power = float(np.square(wide).sum())
    return float(10 * np.log10(power / error)) if error and power else float("inf")
