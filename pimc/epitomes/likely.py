"""A first look at weights: whether it can be worth searching them. All that dense layers cost.

Of n windows, some multiple of sqrt(n) drawn at random hold some that are equal, if windows repeat at all (the birthday
problem): thousands of a layer's millions are enough.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.factors import DROPPED
from pimc.epitomes.windows import BITS, LONGEST, REPEATED, entropy_of

__all__ = ["is_likely"]

Array = npt.NDArray[Any]

DRAWN = 6
"""Windows that are drawn, over the root of their number: with 1.5 weights per cell nine pairs of them are equal."""

MORE = 8
"""Bits of a window beyond those of a search: of its thousands none shall be equal by chance."""

LONG = 8
"""Values of a window, above which blocks may be narrower: then no more bits than needed."""

SMALL = 1 << 13
"""Weights below which a search is as quick."""

LINE = 16
"""Weights of a channel that are compared."""

_ODD = np.random.default_rng(7).integers(0, 2**63, LONGEST, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def is_likely(weights: Array) -> bool:
    """Whether windows or channels of weights [O, I, kh, kw] seem to repeat, be multiples of others, or be 0.

    Seeded; misses few structures that save a sixth, and hardly any that saves half.
    """
    if weights.size < SMALL:
        return True
    rng = np.random.default_rng(weights.shape)
    entropy = entropy_of(weights.reshape(-1)[rng.integers(0, weights.size, 1024)], 0.1, 16)
    length = int(np.clip(np.ceil((BITS + MORE) / entropy), 2, LONGEST))
    if length > LONG:
        length = int(np.clip(np.ceil(BITS / entropy), LONG, LONGEST))
    if any(_lines_repeat(weights, axis, rng) for axis in (0, 1)):
        return True
    axes = [axis for axis in (1, 0) if weights.shape[axis] > length]
    return any(_windows_repeat(_drawn(weights, axis, length + 1, rng), length) for axis in axes)


def _drawn(weights: Array, axis: int, length: int, rng: np.random.Generator) -> Array:
    """Windows [n, length] along an axis, at random places that differ."""
    shape = list(weights.shape)
    shape[axis] -= length - 1
    total = int(np.prod(shape))
    step = total / min(total, int(DRAWN * total**0.5) + 64)
    numbers = ((np.arange(int(total / step)) + rng.random(int(total / step))) * step).astype(np.int64)
    numbers = numbers[np.diff(numbers, prepend=-1) > 0]
    first = np.ravel_multi_index(np.unravel_index(numbers, shape), weights.shape)
    stride = int(np.prod(weights.shape[axis + 1 :]))
    return np.asarray(weights.reshape(-1)[first[:, None] + np.arange(length) * stride])


def _windows_repeat(windows: Array, length: int) -> bool:
    """Whether windows are equal, or many are 0, or (of floats) their ratios are equal."""
    exact = windows[:, :length]
    varied = (exact != exact[:, :1]).any(axis=1)
    if np.count_nonzero(~exact.any(axis=1)) > REPEATED * len(windows) or _repeat(exact[varied]):
        return True
    if windows.dtype.kind != "f":
        return False
    with np.errstate(all="ignore"):
        ratios = (windows[:, 1:] / windows[:, :-1]).astype(np.float32)
    fine = np.isfinite(ratios).all(axis=1) & (ratios != 0).all(axis=1) & varied
    return _repeat((ratios[fine].view(np.uint32) + np.uint32(1 << (DROPPED - 1))) >> np.uint32(DROPPED))


def _lines_repeat(weights: Array, axis: int, rng: np.random.Generator) -> bool:
    """Whether some channels are 0, or equal, in places that are the same for all."""
    lines = np.moveaxis(weights, axis, 0)
    places = [rng.integers(0, n, LINE) for n in lines.shape[1:]]
    some = lines[:, places[0], places[1], places[2]]
    return bool(np.count_nonzero(~some.any(axis=1)) > REPEATED * len(some) or _repeat(some[some.any(axis=1)]))


def _repeat(rows: Array) -> bool:
    """Whether two rows are equal."""
    plain = np.ascontiguousarray(rows)
    if plain.dtype.kind == "f":
        plain = plain.view(f"u{plain.itemsize}")
    keys = np.sort((plain.astype(np.uint64) * _ODD[: plain.shape[1]]).sum(axis=1))
    return bool((keys[1:] == keys[:-1]).any())
