"""The sampler, and its two inverses: reconstruct and fold."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from pimc.epitomes.epitome import EpitomeError, Sampler, fold, reconstruct, tiled_index
from tests.properties.epitome_nets import random_index, random_sampler

Array = np.ndarray


def sampled(sampler: Sampler, epitome: Array) -> Array:
    """W[m*bo + a, y, x, n*bi + b] = E[oo + a, oy + y, ox + x, oi + b], one weight after another."""
    weights = np.empty(sampler.weights, epitome.dtype)
    for o, y, x, i in np.ndindex(sampler.weights):
        (m, a), (n, b) = divmod(o, sampler.block[0]), divmod(i, sampler.block[1])
        oo, oy, ox, oi = sampler.offsets[m, n]
        weights[o, y, x, i] = epitome[oo + a, oy + y, ox + x, oi + b]
    return weights


@pytest.mark.parametrize("seed", range(30))
def test_reconstruct_follows_the_formula(seed: int) -> None:
    """Overlap in outputs, inputs and the kernel's plane, short last blocks, wrapped and scattered blocks."""
    rng = Random(seed)
    shape = rng.randint(1, 7), rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 7)
    sampler = random_sampler(rng, shape, rng.choice(["evenly", "anywhere", "wrapped"]))
    epitome = np.random.default_rng(seed).integers(-128, 128, sampler.epitome).astype(np.int8)
    made = reconstruct(sampler.matrix(epitome), sampler.index())
    assert made.dtype == np.int8
    np.testing.assert_array_equal(made, sampled(sampler, epitome))


@pytest.mark.parametrize("seed", range(30))
def test_fold_is_the_inverse(seed: int) -> None:
    """Of every index: what is used comes back, all else is 0."""
    rng = Random(seed)
    index, stored = random_index(rng, (rng.randint(1, 7), 3, rng.randint(1, 3), rng.randint(1, 7)))
    epitome = np.random.default_rng(seed).integers(-128, 128, stored).astype(np.int8)
    used = np.isin(np.arange(epitome.size), index).reshape(stored)
    weights = reconstruct(epitome, index)
    np.testing.assert_array_equal(fold(weights, index, stored), np.where(used, epitome, 0))
    np.testing.assert_array_equal(reconstruct(fold(weights, index, stored), index), weights)


def test_fold_refuses_weights_that_are_no_epitomes() -> None:
    index = np.array([0, 1, 0, -1], np.int32).reshape(1, 1, 1, 4)
    weights = np.array([5, 6, 5, 0], np.int8).reshape(1, 1, 1, 4)
    assert fold(weights, index, (1, 2)).tolist() == [[5, 6]]
    for place, value, what in ((0, 4, "not the other weights of cell 0"), (3, 1, "not stored and not 0")):
        other = weights.copy()
        other[0, 0, 0, place] = value
        with pytest.raises(EpitomeError, match=what):
            fold(other, index, (1, 2))


def test_blocks_spread_evenly() -> None:
    """Input blocks at floor(n * (Ei - bi) / (Mi - 1)), output blocks alike; as wide as the epitome, they wrap."""
    sampler = Sampler.evenly((20, 3, 3, 25), (12, 4, 3, 15), (8, 10))
    assert sampler.blocks == (3, 3)
    assert sampler.offsets[:, 0, 0].tolist() == [0, 2, 4]
    assert sampler.offsets[0, :, 3].tolist() == [0, 2, 5]
    assert sampler.offsets[0, :, 1].tolist() == [0, 0, 1]
    assert sampler.stored == (4 * 3 * 15, 12)
    wrapped = Sampler.evenly((20, 3, 3, 25), (8, 3, 3, 15), (8, 10)).index()
    np.testing.assert_array_equal(wrapped[:8], wrapped[8:16])


def test_samplers_that_cannot_be() -> None:
    for epitome, block in (((4, 3, 3, 4), (5, 2)), ((4, 2, 3, 4), (4, 2))):
        with pytest.raises(EpitomeError, match="larger than the epitome"):
            Sampler.evenly((8, 3, 3, 8), epitome, block)
    with pytest.raises(EpitomeError, match="are not inside an epitome"):
        Sampler((4, 1, 1, 4), (2, 1, 1, 2), (2, 2), np.ones((2, 2, 4), np.int64))
    with pytest.raises(EpitomeError, match=r"offsets have shape \(1, 2, 4\)"):
        Sampler((4, 1, 1, 4), (2, 1, 1, 2), (2, 2), np.zeros((1, 2, 4), np.int64))
    with pytest.raises(EpitomeError, match="give at least 1"):
        Sampler.evenly((8, 3, 3, 8), (4, 3, 3, 4), (0, 2))
    with pytest.raises(EpitomeError, match="has no tile of 8 x 8"):
        tiled_index((4, 1, 1, 9), (4, 8), (8, 8))


def test_tiles_lie_in_turn() -> None:
    """Weights of 5 rows x 4 outputs in tiles of 2 x 2 on two tiles side by side."""
    matrix = tiled_index((4, 1, 1, 5), (2, 4), (2, 2)).reshape(4, 5).T
    assert matrix.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [2, 3, 0, 1], [6, 7, 4, 5], [0, 1, 2, 3]]
    turned = tiled_index((4, 1, 1, 5), (2, 4), (2, 2), wraps=False).reshape(4, 5).T
    assert turned.tolist() == [[0, 1, 6, 7], [4, 5, 2, 3], [2, 3, 0, 1], [6, 7, 4, 5], [4, 5, 2, 3]]
