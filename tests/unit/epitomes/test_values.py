"""Epitomes found by values: they stand for the weights, are as small as the epitome was, and are none elsewhere."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pimc.epitomes.found import Found
from pimc.epitomes.values import recognise
from tests.unit.epitomes.samples import Array, Sample, Shape, at_random, evenly, tiled

KNOWN: list[tuple[Shape, Shape, tuple[int, int]]] = [
    ((64, 64, 3, 3), (32, 48, 3, 3), (32, 16)),
    ((128, 128, 3, 3), (128, 32, 4, 4), (128, 16)),  # windows move in the kernel's plane
    ((512, 512, 1, 1), (128, 256, 1, 1), (64, 128)),
    ((128, 192, 3, 3), (96, 96, 3, 3), (64, 64)),
    ((100, 90, 3, 3), (40, 50, 3, 3), (24, 20)),  # short last blocks
    ((64, 64, 3, 3), (16, 64, 3, 3), (16, 64)),  # output channels are wrapped
]


def rebuilt(found: Found, weights: Array) -> Array:
    """As plain loops would: every weight is its cell times its channel's factor."""
    cells = found.stored(weights).reshape(-1)
    flat = found.index.reshape(len(weights), -1)
    made = [[f * cells[n] if n >= 0 else 0 for n in row] for f, row in zip(found.factor, flat, strict=True)]
    return np.array(made).reshape(weights.shape)


@pytest.mark.parametrize("kind", ["f32", "s8", "s3", "scaled"])
@pytest.mark.parametrize(("weights", "epitome", "block"), KNOWN)
def test_known_samplers(weights: Shape, epitome: Shape, block: tuple[int, int], kind: str) -> None:
    """The matrix is that of the elements which the sampler uses, no cell more."""
    sample = evenly(weights, epitome, block)
    made = sample.weights(kind, 1)
    found = recognise(made)
    assert found is not None
    assert (found.cells, found.size) == (sample.used, sample.matrix)
    assert np.allclose(found.rebuilt(found.stored(made)), made, rtol=1e-5, atol=0)
    if kind != "scaled":
        assert np.array_equal(found.rebuilt(found.stored(made)), made)
        assert (found.factor == 1).all()


@pytest.mark.parametrize("kind", ["f32", "s8", "s3"])
def test_tiles_that_repeat_out_of_step(kind: str) -> None:
    """18 tiles down, 4 in the epitome: the next channels' begin with its third, and cuts follow from others' images."""
    sample = tiled((128, 128, 3, 3), (256, 64), 64)
    made = sample.weights(kind, 2)
    found = recognise(made)
    assert found is not None
    assert (found.cells, found.size) == (sample.used, sample.matrix) == (256 * 64, 256 * 64)
    assert np.array_equal(found.rebuilt(found.stored(made)), made)


def test_cells_and_weights_by_plain_loops() -> None:
    sample = evenly(*KNOWN[4])
    for kind in ("f32", "s8"):
        made = sample.weights(kind, 3)
        found = recognise(made)
        assert found is not None
        assert np.array_equal(rebuilt(found, made), made)
        pairs = set(zip(found.index.reshape(-1).tolist(), sample.numbers.reshape(-1).tolist(), strict=True))
        assert len(pairs) == found.cells == sample.used  # the same weights are one cell


def overhead(sample: Sample, kind: str, seed: int) -> float | None:
    """Cells found over cells that there are, all weights being right; None where there is too little to find."""
    if sample.numbers.size < 1.4 * sample.matrix:
        return None
    made = sample.weights(kind, seed)
    found = recognise(made)
    assert found is not None, (kind, seed)
    assert found.size <= 1.2 * sample.matrix, (kind, seed)
    assert np.array_equal(found.rebuilt(found.stored(made)), made), (kind, seed)
    return found.cells / sample.used


@pytest.mark.parametrize("kind", ["f32", "s8"])
def test_random_samplers(kind: str) -> None:
    """Of two, only cuts at every end find all."""
    found = [ratio for seed in (*range(12), 13, 78) if (ratio := overhead(at_random(seed), kind, seed))]
    assert len(found) >= 9
    assert max(found) <= 1.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f32", "s8"])
def test_many_random_samplers(kind: str) -> None:
    """In one layer of a hundred, of some hundred weights, a thin overlap is not seen."""
    found = [ratio for seed in range(100, 300) if (ratio := overhead(at_random(seed), kind, seed))]
    assert len(found) >= 130
    assert sum(ratio > 1.1 for ratio in found) <= 0.01 * len(found)
    assert max(found) <= 1.2


@pytest.mark.parametrize("kind", ["f32", "s8", "s3"])
@pytest.mark.parametrize(
    "shape", [(64, 3, 7, 7), (64, 64, 3, 3), (256, 128, 1, 1), (96, 1, 3, 3), (10, 84, 1, 1), (1, 1, 1, 1)]
)
def test_nothing_in_dense_weights(shape: Shape, kind: str) -> None:
    for seed in range(3):
        assert recognise(Sample(np.arange(np.prod(shape)).reshape(shape), shape).weights(kind, seed)) is None


def test_channels_of_zeros_and_equal_ones() -> None:
    """In any order: dead outputs and inputs are not stored, twins are stored once."""
    rng = np.random.default_rng(5)
    core = rng.standard_normal((20, 12, 3, 3)).astype(np.float32)
    made = core[rng.integers(0, 20, 50)][:, rng.integers(0, 12, 30)]
    made[[3, 8]] = 0
    made[:, 7] = 0
    found = recognise(made)
    assert found is not None
    assert found.size <= core.size
    assert (found.index[[3, 8]] == -1).all()
    assert (found.index[:, 7] == -1).all()
    assert np.array_equal(found.rebuilt(found.stored(made)), made)


def test_blocks_of_zeros() -> None:
    rng = np.random.default_rng(6)
    made = rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
    made[:40, :40] = 0
    made[40:, 40:] = made[40:, :24]
    found = recognise(made)
    assert found is not None
    assert (found.index[:40, :40] == -1).all()
    assert np.array_equal(found.rebuilt(found.stored(made)), made)


def test_a_circulant_matrix() -> None:
    """Every row is the one before, moved by one: displacements shorter than what they move."""
    row = np.random.default_rng(7).standard_normal(64).astype(np.float32)
    made = np.stack([np.roll(row, n) for n in range(64)])
    found = recognise(made)
    assert found is not None
    assert found.cells <= 2 * 64
    assert np.array_equal(found.rebuilt(found.stored(made)), made)


def test_tiles_of_the_matrix_of_kernel_positions() -> None:
    """Blocks that cut the matrix of (kernel row, column, input) x outputs, as crossbars do, not channels."""
    rng = np.random.default_rng(8)
    tiles = rng.standard_normal((2, 32, 40)).astype(np.float32)
    matrix = np.concatenate([tiles[n % 2] for n in range(9)], axis=1)[:, : 9 * 40]  # 32 outputs, 9 taps of 40 inputs
    made = np.ascontiguousarray(np.roll(matrix, 0).reshape(32, 3, 3, 40).transpose(0, 3, 1, 2))
    found = recognise(made)
    assert found is not None
    assert found.cells == tiles.size


def test_one_changed_weight_is_seen() -> None:
    """What is found stands for every single weight."""
    made = evenly(*KNOWN[0]).weights("f32", 2)
    made[40, 20, 1, 1] += np.float32(1e-6)
    found = recognise(made)
    assert found is None or np.array_equal(found.rebuilt(found.stored(made)), made)


def test_numbers_that_are_none() -> None:
    made = evenly(*KNOWN[0]).weights("f32", 2)
    made[0, 0, 0, 0] = np.nan
    assert recognise(made) is None
    assert recognise(np.zeros((0, 3, 3, 3), np.float32)) is None
    assert recognise(np.zeros((8, 8, 3, 3), np.float32)) is None


def test_dense_layers_take_no_time() -> None:
    """A large layer of ResNet-50 (2.4 million weights); measured 3 ms."""
    made = np.random.default_rng(9).standard_normal((512, 512, 3, 3)).astype(np.float32)
    start = time.perf_counter()
    assert recognise(made) is None
    assert time.perf_counter() - start < 0.5


def test_factors_of_either_sign_and_zero() -> None:
    """Of normalisation: cells of negative channels get columns of their own, those of dead ones none."""
    made = evenly(*KNOWN[0]).weights("f32", 4)
    found = recognise(made)
    assert found is not None
    factor = np.ones(64)
    factor[:8], factor[8:12], factor[20] = -2, 0.5, 0
    scaled = (made * factor.reshape(-1, 1, 1, 1).astype(np.float32)).astype(np.float32)
    turned = found.multiplied(factor)
    assert (turned.factor > 0).all()
    assert np.array_equal(turned.rebuilt(turned.stored(scaled)), scaled)
    assert found.cells < turned.cells <= found.cells + 8 * 64 * 9
