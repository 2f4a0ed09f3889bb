"""Blocks of weights put where overlaps say that they lie in an epitome; every cell is compared when it is placed.

Blocks are joined like the trees of a minimal spanning forest: the surest overlap first, so that no order in which
blocks are met decides (EPIM notes, 8.3: components grown in one pass stay apart where the linking block comes late).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.epitomes.overlap import Overlap

__all__ = ["placed"]

Array = npt.NDArray[Any]
Link = tuple[float, int, int, tuple[int, int, int, int]]
Place = tuple[int, int, int, int]

SPARSE = 4
"""A component may span so many times the cells it has."""


def placed(
    values: Array, tolerance: float, overlaps: Sequence[Overlap], cuts: tuple[Array, Array], least_bits: float
) -> tuple[Array, Array]:
    """The component of every weight and its place there: [O, I, kh, kw] and [O, I, kh, kw, 4].

    Weights of one place are equal (within ``tolerance``); component -1 are blocks of zeros.
    """
    blocks = _Blocks(values.shape[:2], cuts)
    forest = _Forest(blocks.count)
    links = [link for overlap in overlaps for link in blocks.links(overlap, least_bits)]
    for _, a, b, by in sorted(links, key=lambda link: (-link[0], link[1:])):
        forest.join(a, b, by)
    return _Canvases(values, tolerance, blocks).fill(forest)


class _Blocks:
    """The grid that cuts along outputs and inputs make, numbered row by row."""

    def __init__(self, shape: Sequence[int], cuts: tuple[Array, Array]) -> None:
        self.cuts = cuts
        self.across = len(cuts[1]) - 1
        self.count = (len(cuts[0]) - 1) * self.across
        self.shape = tuple(shape)

    def box(self, n: int) -> tuple[slice, slice]:
        """Outputs and inputs of a block."""
        o, i = divmod(n, self.across)
        return slice(*self.cuts[0][o : o + 2].tolist()), slice(*self.cuts[1][i : i + 2].tolist())

    def links(self, overlap: Overlap, least_bits: float) -> Iterator[Link]:
        """Pairs of blocks that an overlap maps into each other wherever it can, with the bits that say so."""
        axes = [self._pieces(overlap, axis) for axis in (0, 1)]
        if any(len(starts) < 2 for starts, _, _ in axes):
            return
        sums = np.zeros(tuple(n + 1 for n in overlap.equal.shape), np.int64)
        sums[1:, 1:] = overlap.equal.cumsum(axis=0).cumsum(axis=1)
        (o, a_o, b_o), (i, a_i, b_i) = axes
        corners = sums[np.ix_(o, i)]
        held = corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]
        area = np.diff(o)[:, None] * np.diff(i)
        for m, n in zip(*np.nonzero((held == area) & (area * overlap.bits >= least_bits)), strict=True):
            a, b = int(a_o[m] * self.across + a_i[n]), int(b_o[m] * self.across + b_i[n])
            if a != b:
                yield float(area[m, n] * overlap.bits), a, b, overlap.by

    def _pieces(self, overlap: Overlap, axis: int) -> tuple[Array, Array, Array]:
        """Limits, within the overlap, of pieces that are in one block and whose images are; the numbers of both."""
        cuts, by, first = self.cuts[axis], overlap.by[axis], overlap.corner[axis]
        last = first + overlap.equal.shape[axis]
        limits = np.unique(np.concatenate([cuts, cuts - by, [first, last]]))
        limits = limits[(limits >= first) & (limits <= last)]
        numbers = (np.searchsorted(cuts, at, side="right") - 1 for at in (limits[:-1], limits[:-1] + by))
        here, there = numbers
        return limits - first, here, there


class _Forest:
    """Blocks with the shift of each against the first one of its tree."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))
        self.shift: list[Place] = [(0, 0, 0, 0)] * count

    def root(self, n: int) -> tuple[int, Place]:
        """The first block of a tree, and the shift against it."""
        total = (0, 0, 0, 0)
        path = []
        while self.parent[n] != n:
            path.append(n)
            n = self.parent[n]
        for step in reversed(path):
            total = _plus(self.shift[step], total)
            self.parent[step], self.shift[step] = n, total
        return n, total

    def join(self, a: int, b: int, by: Place) -> None:
        """Note that block b, moved back by ``by``, lies on block a; what contradicts surer overlaps is left out."""
        (first, of_a), (second, of_b) = self.root(a), self.root(b)
        if first != second:  # shift(b) = shift(a) - by
            self.parent[second] = first
            self.shift[second] = _plus(of_a, tuple(-n - m for n, m in zip(by, of_b, strict=True)))


def _plus(a: Sequence[int], b: Sequence[int]) -> Place:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


class _Canvases:
    """Components with the values that were placed, to which later blocks are compared."""

    def __init__(self, values: Array, tolerance: float, blocks: _Blocks) -> None:
        self.values, self.tolerance, self.blocks = values, tolerance, blocks
        self.part = np.full(values.shape, -1, np.int32)
        self.place = np.zeros((*values.shape, 4), np.int32)
        self.own = np.moveaxis(np.indices(values.shape, np.int32), 0, -1)
        self.count = 0

    def fill(self, forest: _Forest) -> tuple[Array, Array]:
        """Place every block that is not of zeros, component by component."""
        trees: dict[int, list[tuple[int, Place]]] = {}
        for n in range(self.blocks.count):
            root, shift = forest.root(n)
            if self.values[self.blocks.box(n)].any():
                trees.setdefault(root, []).append((n, shift))
        for members in trees.values():
            self._component(members)
        return self.part, self.place

    def _component(self, members: list[tuple[int, Place]]) -> None:
        """One tree on one canvas; blocks that do not fit what is there are components of their own."""
        boxes = {n: self._box(n, shift) for n, shift in members}
        low = [min(box[axis].start for box in boxes.values()) for axis in range(4)]
        high = [max(box[axis].stop for box in boxes.values()) for axis in range(4)]
        shape = [b - a for a, b in zip(low, high, strict=True)]
        cells = sum(self.values[self.blocks.box(n)].size for n in boxes)
        if len(members) > 1 and np.prod(shape, dtype=np.float64) > SPARSE * cells:
            for n, _ in members:
                self._component([(n, (0, 0, 0, 0))])
            return
        number = self.count
        self.count += 1
        canvas, filled = np.zeros(shape, self.values.dtype), np.zeros(shape, bool)
        for n, shift in members:
            at = tuple(slice(s.start - a, s.stop - a) for s, a in zip(boxes[n], low, strict=True))
            block, there, known = self.values[self.blocks.box(n)], canvas[at], filled[at]
            if not self._agree(there, block, known):
                self._component([(n, (0, 0, 0, 0))])
                continue
            canvas[at], filled[at] = np.where(known, there, block), True
            self._settle(n, shift, number)

    def _box(self, n: int, shift: Place) -> tuple[slice, ...]:
        o, i = self.blocks.box(n)
        whole = (o, i, *(slice(0, k) for k in self.values.shape[2:]))
        return tuple(slice(s.start + d, s.stop + d) for s, d in zip(whole, shift, strict=True))

    def _agree(self, there: Array, block: Array, known: Array) -> bool:
        differs = there != block if not self.tolerance else np.abs(there - block) > self.tolerance * np.abs(block)
        return not (differs & known).any()

    def _settle(self, n: int, shift: Place, number: int) -> None:
        box = self.blocks.box(n)
        self.part[box] = number
        self.place[box] = self.own[box] + np.array(shift, np.int32)
