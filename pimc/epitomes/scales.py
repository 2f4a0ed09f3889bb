"""8-bit epitomes: stored cells are quantised, so that the weights they stand for stay equal where they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.found import Found

__all__ = ["Quantised", "quantised_cells", "signal_to_noise"]

Array = npt.NDArray[Any]

LARGEST = 127


@dataclass(frozen=True, eq=False)
class Quantised:
    """``weights`` s8, in the order of the found index, are equal where they are one cell; real: times ``scale`` [O].

    ``snr_db``: signal to noise of the real weights, and ``per_channel_db`` of the same quantised channel by channel.
    """

    weights: Array
    scale: Array
    snr_db: float
    per_channel_db: float


def quantised_cells(found: Found, weights: Array) -> Quantised:
    """Quantise the cells of float weights [O, ...], symmetrically, factors of output channels (> 0) in their scales.

    Cells have one scale each, so channels that share a cell share a scale; others have their own.
    """
    cells = found.stored(weights.astype(np.float64))
    together = _together(found.index)
    largest = np.zeros(len(weights))
    held = found.index >= 0
    reach = np.where(held, np.abs(cells.reshape(-1)[np.maximum(found.index, 0)]), 0)
    np.maximum.at(largest, together, reach.reshape(len(weights), -1).max(axis=1))
    scale = (np.where(largest > 0, largest, 1.0) / LARGEST)[together]
    along = [-1, *[1] * (weights.ndim - 1)]
    whole = np.where(held, cells.reshape(-1)[np.maximum(found.index, 0)], 0) / scale.reshape(along)
    made = np.clip(np.rint(whole), -LARGEST, LARGEST).astype(np.int8)
    real = (scale * found.factor).astype(np.float32)
    own = np.abs(weights).reshape(len(weights), -1).max(axis=1) / LARGEST
    own = np.where(own > 0, own, 1.0).reshape(along)
    return Quantised(
        made,
        real,
        signal_to_noise(weights, made * real.reshape(along)),
        signal_to_noise(weights, np.rint(weights / own) * own),
    )


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
