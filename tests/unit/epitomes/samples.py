"""Weights of epitomes for tests: their elements numbered by plain loops, nothing of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Sample:
    """``numbers`` [O, I, kh, kw] of the elements of an ``epitome`` (outputs, inputs, rows, columns)."""

    numbers: Array
    epitome: Shape

    @property
    def used(self) -> int:
        """Elements that some weight is."""
        return len(np.unique(self.numbers))

    @property
    def matrix(self) -> int:
        """Rows times columns of the epitome that some weight is in."""
        o, *rest = np.unravel_index(np.unique(self.numbers), self.epitome)
        return len(np.unique(o)) * len(np.unique(np.ravel_multi_index(rest, self.epitome[1:])))

    def weights(self, kind: str, seed: int) -> Array:
        """Weights: f32, 8-bit, 3-bit, or f32 with a factor for each output channel."""
        rng = np.random.default_rng(seed)
        values = rng.standard_normal(int(np.prod(self.epitome)))
        if kind in ("s8", "s3"):
            step, largest = (30, 127) if kind == "s8" else (1.3, 3)
            return np.clip(np.rint(values * step), -largest, largest).astype(np.int8)[self.numbers]
        made = values.astype(np.float32)[self.numbers]
        factors = rng.uniform(0.2, 3, (len(made), 1, 1, 1)).astype(np.float32)
        return made * factors if kind == "scaled" else made


def sampled(weights: Shape, epitome: Shape, block: tuple[int, int], offset: Callable[[int, int], Shape]) -> Sample:
    """Blocks of a layer's weights that are windows of an epitome; ``offset`` gives where block m, n begins."""
    cells = np.arange(np.prod(epitome)).reshape(epitome)
    numbers = np.empty(weights, np.int64)
    for m, first in enumerate(range(0, weights[0], block[0])):
        for n, start in enumerate(range(0, weights[1], block[1])):
            o, i, y, x = offset(m, n)
            part = numbers[first : first + block[0], start : start + block[1]]
            part[:] = cells[o : o + part.shape[0], i : i + part.shape[1], y : y + weights[2], x : x + weights[3]]
    return Sample(numbers, epitome)


def evenly(weights: Shape, epitome: Shape, block: tuple[int, int]) -> Sample:
    """Offsets in even steps: outputs by m, all else by n."""
    blocks = -(-weights[0] // block[0]), -(-weights[1] // block[1])
    room = [e - b for e, b in zip(epitome, (*block, *weights[2:]), strict=True)]

    def offset(m: int, n: int) -> Shape:
        y, x, i = (n * room[axis] // max(1, blocks[1] - 1) for axis in (2, 3, 1))
        return m * room[0] // max(1, blocks[0] - 1), i, y, x

    return sampled(weights, epitome, block, offset)


def tiled(weights: Shape, stored: tuple[int, int], tile: int) -> Sample:
    """Square tiles of the matrix of kernel rows, columns and inputs x outputs, on those of an epitome in turn."""
    outputs, inputs, *kernel = weights
    rows = inputs * kernel[0] * kernel[1]
    places = [(down, across) for across in range(0, stored[1], tile) for down in range(0, stored[0], tile)]
    numbers = np.empty((outputs, rows), np.int64)
    count = 0
    for n in range(0, outputs, tile):
        for k in range(0, rows, tile):
            down, across = places[count % len(places)]
            count += 1
            part = numbers[n : n + tile, k : k + tile]
            row, column = np.arange(part.shape[1]), np.arange(part.shape[0])[:, None]
            part[:] = (across + column) * stored[0] + down + row
    grid = numbers.reshape(outputs, *kernel, inputs).transpose(0, 3, 1, 2)
    return Sample(np.ascontiguousarray(grid), (stored[1], stored[0], 1, 1))


def at_random(seed: int) -> Sample:
    """A layer of a few thousand weights with blocks anywhere in an epitome, the last ones short."""
    rng = np.random.default_rng(seed)
    kernel = int(rng.choice([1, 1, 3]))
    low, high = (8, 33) if kernel == 1 else (6, 20)
    bo, bi = (int(n) for n in rng.integers(low, high, 2))
    count = max(3, int(rng.integers(1, 6))), int(rng.integers(1, 6))
    weights = (
        count[0] * bo - int(rng.integers(0, bo // 2)),
        count[1] * bi - int(rng.integers(0, bi // 2)),
        kernel,
        kernel,
    )
    planes = [kernel + (int(rng.integers(0, 2)) if kernel > 1 else 0) for _ in range(2)]
    epitome = (bo + int(rng.integers(0, bo)), bi + int(rng.integers(0, bi)), planes[0], planes[1])
    room = [e - b + 1 for e, b in zip(epitome, (bo, bi, kernel, kernel), strict=True)]

    def offset(m: int, n: int) -> Shape:
        o, i, y, x = (int(rng.integers(0, r)) for r in room)
        return o, i, y, x

    return sampled(weights, epitome, (bo, bi), offset)
