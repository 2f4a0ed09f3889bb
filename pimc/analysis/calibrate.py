"""What calibration images make of every convolution: all its windows for the largest sums, a sample of them for errors.

The images run through the graph exactly. So every layer sees the inputs of an ideal chip, not those that earlier
layers' rounding would give it; the error of a layer is its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.analysis.folded import FoldedLayer
from pimc.analysis.ranges import Observed, block_sums
from pimc.ir.evaluate import evaluate
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.progress import tell

__all__ = ["Coded", "Watch", "gemm_matrix", "observe", "uncentre", "watched", "windows"]

Array = npt.NDArray[Any]

#: Multiply-accumulates that calibration may cost: a large network sees fewer images.
MACS = 3e10
#: Partial sums of a layer that are looked at to measure errors: of all outputs, so of few windows where those are many.
SAMPLE = 1 << 18
#: Windows of a layer among them, at most and at least.
WINDOWS, LEAST_WINDOWS = 4096, 24
#: Outputs whose bit lines are looked at.
LINE_OUTPUTS = 128
#: Elements of window vectors held at once.
CHUNK = 1 << 21


def gemm_matrix(weights: Array, groups: int) -> Array:
    """Weights s8 [O, kh, kw, I/groups] as [groups, k, n]: rows in the order kernel-y, kernel-x, channel."""
    return np.ascontiguousarray(weights.reshape(groups, weights.shape[0] // groups, -1).transpose(0, 2, 1))


def windows(op: Conv, x: Array) -> Iterator[tuple[slice, Array]]:
    """Window vectors u8 [m, groups, k] of a convolution's input [images, rows, columns, channels], some at a time.

    Each comes with the range of positions (images, rows, columns in turn) that it covers.
    """
    window, (rows, columns, _), channels = op.window, op.shape, x.shape[3]
    top, left, bottom, right = op.pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=op.x_zero)
    taps = [(ky * op.dilation[0], kx * op.dilation[1]) for ky in range(op.kernel[0]) for kx in range(op.kernel[1])]
    at_once = max(1, CHUNK // (columns * len(taps) * channels))
    (down, across), depth = window.stride, channels // op.groups
    for image in range(len(x)):
        for first in range(0, rows, at_once):
            count = min(at_once, rows - first)
            parts = [
                padded[image, first * down + ky :: down, kx::across][:count, :columns].reshape(-1, op.groups, 1, depth)
                for ky, kx in taps
            ]
            start = (image * rows + first) * columns
            vectors = np.concatenate(parts, axis=2)
            yield slice(start, start + count * columns), vectors.reshape(count * columns, op.groups, -1)


@dataclass
class _Layer:
    """What was seen of one convolution so far."""

    largest: int = 0
    kept: list[Array] = field(default_factory=list)


@dataclass(frozen=True)
class Coded:
    """A convolution's weights as its cells hold them.

    ``weights`` [groups, k, n] in units of the dot product, less ``centre`` [groups, blocks, n] float32 (None: 0).
    """

    weights: Array
    centre: Array | None

    @classmethod
    def of(cls, graph: Graph, op: Conv) -> Coded:
        """From the constants of a sliced op, else the plain weights."""
        matrix = gemm_matrix(graph.constants[op.weights], op.groups)
        if op.cells is None or not op.cells.bipolar:
            return cls(matrix, None)
        centre = graph.constants[op.cells.centre]
        return cls(matrix, centre.astype(np.float32) if centre.any() else None)

    def field(self, block_rows: int) -> Array:
        """What the cells hold: weights less their centre."""
        if self.centre is None:
            return self.weights
        k = self.weights.shape[1]
        every = np.repeat(self.centre.astype(np.int16), block_rows, axis=1)[:, :k]
        return np.asarray(self.weights.astype(np.int16) - every)


@dataclass
class Watch:
    """Computes convolutions exactly, one row block at a time, and keeps what ranges are chosen from.

    ``block_rows``: rows of one conversion. ``images`` in all. ``coded`` by op name: weights whose row blocks' sums the
    converters see; other ops' weights are taken as they are. ``folded`` by op name: those that work in rounds.
    """

    block_rows: int
    images: int
    layers: dict[str, _Layer] = field(default_factory=dict)
    coded: Mapping[str, Coded] = field(default_factory=dict)
    folded: Mapping[str, FoldedLayer] = field(default_factory=dict)

    def __call__(self, op: Conv, x: Array, w: Array) -> Array:
        """i32 sums of (x - zero point) * w, as `pimc.ir.evaluate` wants them."""
        seen = self.layers.setdefault(op.name, _Layer())
        matrix = gemm_matrix(w, op.groups)
        coded = self.coded.get(op.name)
        centre = None if coded is None else coded.centre
        folded = self.folded.get(op.name)
        positions = len(x) * op.shape[0] * op.shape[1]
        every = _every(op, matrix, positions * math.ceil(self.images / len(x)), self.block_rows)
        total = np.empty((positions, op.shape[2]), np.int32)
        for where, vectors in windows(op, x):
            sums = block_sums(vectors, matrix, self.block_rows)
            total[where] = sums[:, 0] if sums.shape[1] == 1 else sums.sum(axis=1, dtype=np.float64)
            if folded is not None:
                sums = folded.sums(vectors)
            elif centre is not None:
                uncentre(sums, vectors, centre, self.block_rows)
            seen.largest = max(seen.largest, int(max(sums.max(), -sums.min())))
            seen.kept.append(vectors[-where.start % every :: every].copy())
        zero = op.x_zero * matrix.sum(axis=1, dtype=np.int32).reshape(-1)
        return np.asarray((total - zero).reshape(len(x), *op.shape))


def uncentre(sums: Array, vectors: Array, centre: Array, block_rows: int) -> None:
    """Take the centre times the sum of the inputs off the sums of row blocks, in place.

    ``sums`` [windows, blocks, groups * n]; ``vectors`` u8 [windows, groups, k]; ``centre`` [groups, blocks, n].
    """
    groups, blocks, n = centre.shape
    for block in range(blocks):
        inputs = vectors[:, :, block * block_rows : (block + 1) * block_rows].sum(axis=2, dtype=np.float32)
        split = sums[:, block].reshape(len(sums), groups, n)
        split -= inputs[:, :, None] * centre[None, :, block]


def _every(op: Conv, matrix: Array, positions: int, block_rows: int) -> int:
    """Every how many windows one is kept; odd, so that it does not fall into step with rows of even width."""
    blocks = -(-matrix.shape[1] // block_rows)
    wanted: int = max(LEAST_WINDOWS, min(WINDOWS, SAMPLE // (blocks * op.shape[2])))
    return max(1, positions // wanted) | 1


def observe(
    graph: Graph,
    inputs: Mapping[str, Array],
    block_rows: int,
    input_slices: tuple[tuple[int, int], ...],
    slices: tuple[int, ...],
) -> dict[str, Observed]:
    """Run calibration inputs (batch first, by port) and return what was seen of every convolution, by op name.

    ``input_slices`` are bit ranges [lo, hi) driven at once, ``slices`` the bits of one weight in each column pair.
    """
    given = len(next(iter(inputs.values()))) if inputs else 1
    images = max(1, min(given, int(MACS / max(1, _macs(graph)))))
    coded = {op.name: Coded.of(graph, op) for op in graph.of(Conv) if op.rounds is None}
    folded = {op.name: FoldedLayer.of(graph, op, block_rows) for op in graph.of(Conv) if op.rounds is not None}
    watch = Watch(block_rows, images, coded=coded, folded=folded)
    batch = max(1, int(4e7 / max(1, _elements(graph))))
    for first in range(0, images, batch):
        last = min(first + batch, images)
        tell(f"calibration image {last} of {images}")
        evaluate(graph, {name: array[first:last] for name, array in inputs.items()}, keep=False, sums=watch)
    read = block_rows, input_slices, slices
    return {
        op.name: _in_rounds(graph, op, folded[op.name], watch.layers[op.name], input_slices, slices)
        if op.name in folded
        else _observed(graph, op, coded[op.name], watch.layers[op.name], *read)
        for op in graph.of(Conv)
    }


def watched(graph: Graph, inputs: Mapping[str, Array], block_rows: int) -> dict[str, Array]:
    """A sample of every convolution's windows, u8 [windows, groups, k], by op name: its inputs on an ideal chip."""
    given = len(next(iter(inputs.values()))) if inputs else 1
    watch = Watch(block_rows, max(1, min(given, int(MACS / max(1, _macs(graph))))))
    batch = max(1, int(4e7 / max(1, _elements(graph))))
    for first in range(0, watch.images, batch):
        last = min(first + batch, watch.images)
        tell(f"calibration image {last} of {watch.images}")
        evaluate(graph, {name: array[first:last] for name, array in inputs.items()}, keep=False, sums=watch)
    return {op.name: np.concatenate(watch.layers[op.name].kept) for op in graph.of(Conv)}


def _macs(graph: Graph) -> int:
    layers: list[Conv] = list(graph.of(Conv))
    return sum(graph.constants[op.weights].size * math.prod(op.shape[:2]) for op in layers)


def _elements(graph: Graph) -> int:
    return sum(int(math.prod(op.shape)) for op in graph.ops() if op.type is not None)


def _observed(
    graph: Graph,
    op: Conv,
    coded: Coded,
    seen: _Layer,
    block_rows: int,
    input_slices: tuple[tuple[int, int], ...],
    slices: tuple[int, ...],
) -> Observed:
    vectors = np.concatenate(seen.kept)
    sums = block_sums(vectors, coded.field(block_rows), block_rows)
    multiplier = np.broadcast_to(graph.constants[op.multiplier], op.shape[2:]).astype(np.float64)
    line = _largest_line(vectors, coded.field(block_rows), block_rows, input_slices, slices)
    return Observed(sums, seen.largest, line, multiplier)


def _in_rounds(
    graph: Graph,
    op: Conv,
    folded: FoldedLayer,
    seen: _Layer,
    input_slices: tuple[tuple[int, int], ...],
    slices: tuple[int, ...],
) -> Observed:
    """Of a layer with an epitome; what a round rounds after its codes are scaled is not looked at."""
    vectors = np.concatenate(seen.kept)
    multiplier = np.broadcast_to(graph.constants[op.multiplier], op.shape[2:]).astype(np.float64)
    line = folded.largest_line(vectors[:: max(1, len(vectors) // 256)], input_slices, slices)
    return Observed(folded.sums(vectors), seen.largest, line, multiplier)


def _some_sums(vectors: Array, matrix: Array, outputs: Array, block_rows: int) -> npt.NDArray[np.float32]:
    """Partial sums of some outputs (numbered over all convolution groups)."""
    if matrix.shape[0] == 1:
        return block_sums(vectors, matrix[:, :, outputs], block_rows)
    group, n = np.divmod(outputs, matrix.shape[2])
    return block_sums(vectors[:, group], matrix[group, :, n][:, :, None], block_rows)


def _largest_line(
    vectors: Array,
    matrix: Array,
    block_rows: int,
    input_slices: tuple[tuple[int, int], ...],
    slices: tuple[int, ...],
) -> int:
    """The largest difference of a W+ and its W- bit line in one read, over a sample."""
    outputs = np.linspace(0, matrix.shape[0] * matrix.shape[2] - 1, LINE_OUTPUTS).astype(int)
    some = vectors[:: max(1, len(vectors) // 256)]
    magnitude, sign = np.abs(matrix.astype(np.int16)), np.sign(matrix)
    largest = 0
    for lo, hi in input_slices:
        x = (some >> lo) & ((1 << hi - lo) - 1)
        for s, width in enumerate(slices):
            field_ = (magnitude >> sum(slices[:s]) & ((1 << width) - 1)) * sign
            sums = _some_sums(x, field_, np.unique(outputs), block_rows)
            largest = max(largest, int(np.abs(sums).max()))
    return largest
