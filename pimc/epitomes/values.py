"""Epitomes recognised by the values of weights alone, where an exporter has folded the chain that made them.

Exact: what is found stands for the weights bit for bit (or, where batch normalisation was folded into them, up to a
factor for each output channel and the rounding of 32-bit floats). Source: EPIM notes 8.3 (measured there: blocks, votes
and a full comparison; here blocks follow from where equal runs end instead of a scan of sizes).

1. Output and input channels that are all 0 are left out, and those that are equal are looked at once.
2. Windows of several values that repeat vote for displacements (`windows`). None do among a few thousand of a dense
   layer, which are looked at before anything else (`likely`).
3. Where equal runs end, blocks begin (`overlap`); overlaps join blocks to components (`place`), which are packed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.factors import Scaled, scaled
from pimc.epitomes.found import LEAST, Found
from pimc.epitomes.likely import is_likely
from pimc.epitomes.numbers import distinct
from pimc.epitomes.overlap import Overlap, blocks_of_zeros, closed, cuts_of, overlap_of
from pimc.epitomes.pack import matrix_of
from pimc.epitomes.place import placed
from pimc.epitomes.windows import BITS, REPEATED, Repeats

__all__ = ["recognise"]

Array = npt.NDArray[Any]

COMPARED = 1 << 28
"""Values that may be compared for all displacements together."""
MOST, FEWEST = 4096, 48
"""Displacements that are looked at."""
FINER = 1.05
"""How many times fewer cells there must be for blocks to be cut at every end: finer blocks need more rounds."""
PLENTY = 2
"""Weights per cell from which on no other view is tried."""
PLACES = 32
"""Weights of a channel that tell most from all others."""
MOST_BLOCKS = 10_000
"""Blocks of a layer, above which it is none in blocks."""


def recognise(weights: Array) -> Found | None:
    """Find an epitome in weights [O, I/groups] or [O, I/groups, kh, kw], float or integer; None: there is none.

    Float weights may be those of an epitome times a factor for each output channel. Deterministic; a layer in which
    nothing repeats takes some milliseconds.
    """
    kernel = weights.reshape(*weights.shape, *[1] * (4 - weights.ndim))
    if kernel.size < 2 or not is_likely(kernel) or not np.isfinite(kernel).all() or not kernel.any():
        return None
    found = _exact(kernel)
    other = _up_to_factors(kernel) if kernel.dtype.kind == "f" and not _is_plain(found, kernel) else None
    if other is not None and (found is None or other.size * LEAST <= found.size):
        found = other
    if found is None or found.ratio < LEAST:
        return None
    return Found(found.shape, found.index.reshape(weights.shape), found.factor)


def _exact(weights: Array) -> Found | None:
    """An epitome whose cells are the weights, bit for bit."""
    lines = _Lines(weights)
    shape, index = _searched(lines.left, _codes(lines.left), 0.0)
    found = Found(shape, lines.spread(index), np.ones(len(weights)))
    if not found.size or found.ratio < LEAST:
        return None
    return found if np.array_equal(found.rebuilt(found.stored(weights)), weights) else None


def _is_plain(found: Found | None, weights: Array) -> bool:
    """Whether no stored cells seem to be multiples of others."""
    return found is not None and not is_likely(found.stored(weights).T[:, :, None, None])


def _up_to_factors(weights: Array) -> Found | None:
    """An epitome of the weights with a factor for each output channel."""
    likely: Scaled | None = scaled(weights)
    if likely is None:
        return None
    shape, index = _searched(likely.weights, likely.codes, likely.tolerance)
    found = Found(shape, index, likely.factor)
    cells = found.stored(weights.astype(np.float64))
    close = np.abs(found.rebuilt(cells) - weights) <= 2 * likely.tolerance * np.abs(weights)
    return found if found.size and close.all() else None


def _codes(weights: Array) -> Array:
    """Unsigned numbers that are equal where weights are, 0 where they are 0."""
    if weights.dtype.kind == "f":
        plain = np.ascontiguousarray(weights + weights.dtype.type(0))  # one zero
        return plain.view(f"u{plain.itemsize}")
    return np.ascontiguousarray(weights).view(f"u{weights.dtype.itemsize}")


class _Lines:
    """Weights without channels of zeros and without those that another one equals; ``left`` are the others."""

    def __init__(self, weights: Array) -> None:
        self.maps = []
        self.left = weights
        for axis in (0, 1):
            kept, number = _distinct(self.left, axis)
            self.maps.append(number)
            if len(kept) < self.left.shape[axis]:
                self.left = np.take(self.left, kept, axis=axis)

    def spread(self, index: Array) -> Array:
        """The index of all weights from that of those left."""
        for axis in (1, 0):
            number = self.maps[axis]
            if not np.array_equal(number, np.arange(index.shape[axis])):
                index = np.take(index, np.maximum(number, 0), axis=axis)
                np.moveaxis(index, axis, 0)[number < 0] = -1
        return index


def _distinct(weights: Array, axis: int) -> tuple[Array, Array]:
    """Which channels are kept, and for each channel its number among them, -1 for zeros.

    Channels are merged only where chance does not make them equal.
    """
    lines = np.moveaxis(weights, axis, 0)
    apart = _unlike_all(lines)
    if apart.all():
        return np.arange(len(lines)), np.arange(len(lines))
    others = np.flatnonzero(~apart)
    flat = lines[others].reshape(len(others), -1) + weights.dtype.type(0)  # one zero
    sure = flat.shape[1] * Repeats(_codes(flat).reshape(*flat.shape, 1, 1)).entropy >= BITS
    first: dict[bytes, int] = {}
    same = np.arange(len(lines))
    for n, line in zip(others[flat.any(axis=1)].tolist(), flat[flat.any(axis=1)], strict=True):
        same[n] = first.setdefault(line.tobytes(), n) if sure else n
    same[others[~flat.any(axis=1)]] = -1
    kept = np.flatnonzero(same == np.arange(len(lines)))
    number = np.full(len(lines) + 1, -1)
    number[kept] = np.arange(len(kept))
    return kept, number[same]


def _unlike_all(lines: Array) -> Array:
    """Channels that differ from 0 and from all others in a few places that are the same for all; others may too."""
    rest = lines[0].size
    if not rest:
        return np.zeros(len(lines), bool)
    at = np.unravel_index(np.linspace(0, rest - 1, PLACES).astype(np.int64), lines.shape[1:])
    some = np.ascontiguousarray(lines[:, at[0], at[1], at[2]]) + lines.dtype.type(0)
    keys = [row.tobytes() for row in some]
    count = Counter(keys)
    return np.asarray(some.any(axis=1) & np.array([count[key] == 1 for key in keys]))


def _searched(weights: Array, codes: Array, tolerance: float) -> tuple[tuple[int, int], Array]:
    """Shape of the stored matrix and the index of weights, from the best of the views in which blocks may lie."""
    best = _as_it_is(weights)
    for view, back in _views(weights.shape):
        repeats = Repeats(np.ascontiguousarray(view(codes)))
        values = view(weights if tolerance else codes)
        zeros = blocks_of_zeros(values)
        if not codes.size or not (repeats.any or zeros.mean() > REPEATED):
            break
        shape, index = _blocks(values, tolerance, repeats, zeros)
        if prod(shape) * FINER <= prod(best[0]):
            best = shape, back(index)
        if prod(best[0]) * PLENTY <= weights.size:
            break
    return best


def _as_it_is(weights: Array) -> tuple[tuple[int, int], Array]:
    """Every weight its own cell: word lines in the order of inputs, kernel rows, kernel columns."""
    q, p = weights.shape[0], int(np.prod(weights.shape[1:]))
    index = (np.arange(p) * q)[None] + np.arange(q)[:, None]
    return (p, q), index.reshape(weights.shape).astype(np.int32)


def _views(shape: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
    """Weights as they are, and as the matrix of the graph's order (kernel rows, columns, inputs), with the way back."""
    yield (lambda w: w), (lambda w: w)
    if shape[2] * shape[3] > 1:
        o, i, h, w = shape
        yield (
            lambda x: x.transpose(0, 2, 3, 1).reshape(o, -1, 1, 1),
            lambda x: x.reshape(o, h, w, i).transpose(0, 3, 1, 2),
        )


def _blocks(values: Array, tolerance: float, repeats: Repeats, zeros: Array) -> tuple[tuple[int, int], Array]:
    """Votes, cuts, components, and their cells in one matrix; ``zeros`` as of `blocks_of_zeros`."""
    votes = repeats.votes(int(np.clip(COMPARED // values.size, FEWEST, MOST)))
    overlaps = [overlap_of(values, tolerance, repeats.entropy, vote) for vote in votes]
    overlaps = [o for o in overlaps if o.equal.any()]
    best, least = _as_it_is(values), values.size * FINER
    for cuts in _cuts(overlaps, zeros):
        if (len(cuts[0]) - 1) * (len(cuts[1]) - 1) > MOST_BLOCKS:
            break
        made = _matrix(*placed(values, tolerance, overlaps, cuts, BITS))
        if _cells(made) * FINER <= least:
            best, least = made, _cells(made)
    return best


def _cuts(overlaps: Sequence[Overlap], zeros: Array) -> Iterator[tuple[Array, Array]]:
    """Few cuts along outputs and inputs, then more: at every end, and wherever the few are moved to."""
    outputs, inputs = (cuts_of(overlaps, zeros, axis, BITS, few=True) for axis in (0, 1))
    yield outputs, inputs
    all_outputs, all_inputs = (cuts_of(overlaps, zeros, axis, BITS, few=False) for axis in (0, 1))
    yield all_outputs, all_inputs
    moved = closed(outputs, overlaps, 0), closed(inputs, overlaps, 1)
    if len(moved[0]) > len(outputs) or len(moved[1]) > len(inputs):
        yield moved


def _cells(made: tuple[tuple[int, int], Array]) -> int:
    """Cells that some weight is."""
    return distinct(made[1])


def _matrix(part: Array, place: Array) -> tuple[tuple[int, int], Array]:
    """Outputs are columns, word lines go by inputs, kernel rows and kernel columns."""
    low = place.reshape(-1, 4).min(axis=0)
    spans = place.reshape(-1, 4).max(axis=0) - low + 1
    out, *down = np.moveaxis(place - low, -1, 0)
    row = (down[0].astype(np.int64) * spans[2] + down[1]) * spans[3] + down[2]
    return matrix_of(part, row, out)
