"""Random convolutions whose weights are an epitome's, and machines whose crossbars are small."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np

import pimc_backends.isaac as isaac
from pimc.epitomes.epitome import Sampler, reconstruct, tiled_index
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc_isa.machine import Machine
from tests.unit.passes.graphs import Net

__all__ = ["attach", "direct", "random_index", "random_layer", "small_crossbars"]

Array = np.ndarray
Shape = tuple[int, int, int, int]


def small_crossbars(rows: int, columns: int, arrays: int = 96) -> Machine:
    """ISAAC's machine with crossbars of another size, ``arrays`` in a tile."""
    full = isaac.machine()
    array, tile = replace(full.array, rows=rows, columns=columns), replace(full.tile, arrays=arrays)
    return replace(full, array=array, tile=tile)


def attach(graph: Graph, name: str, index: Array, stored: tuple[int, int], seed: int = 0) -> Array:
    """Give a layer random weights that an epitome stands for; returns that."""
    op = graph[name]
    assert isinstance(op, Conv)
    epitome = np.random.default_rng(seed).integers(-127, 128, stored).astype(np.int8)
    graph.constants |= {f"{name}.e": epitome, f"{name}.i": index, op.weights: reconstruct(epitome, index)}
    graph.update(replace(op, epitome=f"{name}.e", index=f"{name}.i"))
    return epitome


def random_index(rng: Random, weights: Shape) -> tuple[Array, tuple[int, int]]:
    """An index of weights of this shape into an epitome, whose shape comes with it."""
    kind = rng.choice(["evenly", "evenly", "anywhere", "wrapped", "tiled", "holes"])
    if kind == "tiled":
        rows, outputs = weights[1] * weights[2] * weights[3], weights[0]
        tile = rng.randint(1, rows), rng.randint(1, outputs)
        stored = tile[0] * rng.randint(1, 2), tile[1] * rng.randint(1, 2)
        return tiled_index(weights, stored, tile), stored
    sampler = random_sampler(rng, weights, kind)
    index = sampler.index()
    if kind == "holes":
        index[np.random.default_rng(rng.randrange(1 << 30)).random(index.shape) < 0.1] = -1
        index[rng.randrange(weights[0])] = -1
    return index, sampler.stored


def random_sampler(rng: Random, weights: Shape, kind: str) -> Sampler:
    """Blocks that overlap in channels and in the kernel's plane, evenly or anywhere."""
    block = rng.randint(1, weights[0]), rng.randint(1, weights[3])
    room = 0 if kind == "wrapped" else rng.randint(0, block[0])
    plane = [rng.choice([0, 0, 1]) for _ in range(2)]
    epitome = (block[0] + room, weights[1] + plane[0], weights[2] + plane[1], block[1] + rng.randint(0, block[1]))
    sampler = Sampler.evenly(weights, epitome, block)
    if kind != "anywhere":
        return sampler
    offsets = np.empty_like(sampler.offsets)
    for place in np.ndindex(offsets.shape[:2]):
        offsets[place] = [rng.randint(0, most) for most in np.array(epitome) - (block[0], *weights[1:3], block[1])]
    return replace(sampler, offsets=offsets)


def random_layer(rng: Random) -> tuple[Graph, str]:
    """A network of one convolution with an epitome: strides, pads, groups."""
    groups = rng.choice([1, 1, 1, 2, 4])
    depth, outputs = groups * rng.randint(1, 7), groups * rng.randint(1, 9)
    net = Net((rng.randint(3, 5), rng.randint(3, 6), depth), rng.randrange(999))
    kernel = rng.choice([1, 3])
    name = net.conv(net.x, outputs, kernel, rng.choice([1, 2]), rng.randint(0, kernel // 2), groups)
    index, stored = random_index(rng, (outputs, kernel, kernel, depth // groups))
    attach(net.graph, name, index, stored, rng.randrange(999))
    return net.finish(name), name


def direct(op: Conv, x: Array, weights: Array) -> Array:
    """Sums of (x - zero point) * weights in int64, one position after another; x [images, rows, columns, channels]."""
    (top, left, bottom, right), each = op.pads, x.shape[3] // op.groups
    wide = np.pad(x.astype(np.int64) - op.x_zero, ((0, 0), (top, bottom), (left, right), (0, 0)))
    sums = np.empty((len(x), *op.shape), np.int64)
    for row, column, channel in np.ndindex(op.shape):
        first = channel * op.groups // op.shape[2] * each
        at = row * op.stride[0], column * op.stride[1]
        seen = wide[:, at[0] : at[0] + op.kernel[0], at[1] : at[1] + op.kernel[1], first : first + each]
        sums[:, row, column, channel] = (seen * weights[channel]).sum(axis=(1, 2, 3))
    return sums
