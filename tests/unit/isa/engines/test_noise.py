"""Noise has the size that was asked for, and peripherals compute what their references do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimc_backends.neural_pim.peripherals.store import load
from pimc_isa.crossbar.cells import Cells, encode, encode_differential
from pimc_isa.crossbar.exactness import sliced_dot
from pimc_isa.engines.dots.analog import AnalogLayer
from pimc_isa.engines.dots.layer import LayerPart
from pimc_isa.engines.dots.model import AnalogModel
from pimc_isa.engines.dots.variation import cell_planes
from pimc_isa.engines.kernels import noisy
from pimc_isa.engines.kernels.convert import Converter
from pimc_isa.engines.kernels.noisy import Errors, noisy_codes, numbers
from pimc_isa.engines.noise import DeviceNoise, Noise, add_lumped, normals_at, parse_noise, position_numbers
from pimc_isa.errors import ProgramError, RunError
from pimc_isa.flow import normal_form
from pimc_isa.operands import Weights
from pimc_isa.peripherals import dot_chain_reference
from tests.unit.isa.engines.nets import flow
from tests.unit.isa.engines.test_values_summed import program, whole_flow

Array = np.ndarray
W = Weights("w", 1, 200, 12, 128, (1,) * 8, True)
POSITIONS = np.arange(300, dtype=np.uint64)


def cells_of(seed: int = 0) -> Cells:
    values = np.clip(np.random.default_rng(seed).normal(0, 30, (1, W.k, W.n)), -127, 127).astype(np.int16)
    return encode_differential(values, W.slices, W.block_rows)


def pixels(seed: int = 1) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (300, 1, W.k)).astype(np.uint8)


def layer(model: AnalogModel, cells: Cells, gain: float = 20.0) -> AnalogLayer:
    f = whole_flow()
    scale = LayerPart("", "w", "whole", (0, W.k), (0, W.n), (0, 1), 1, 0.125, gain).full_scale(program(W, cells, f))
    return AnalogLayer(cells, W, normal_form(f), scale, ((0, 0, 0), (), 0.125, gain), model)


def test_texts_of_models() -> None:
    assert parse_noise(3, "sinad=50") == Noise(3, sinad_db=50.0)
    assert parse_noise(3) == Noise(3, device=DeviceNoise())
    found = parse_noise(1, "device:cell=0.1,hold=0").device
    assert found == replace(DeviceNoise(), cell=0.1, hold=0.0)
    for text in ("sinad=", "sinad=x", "thermal", "device:cells=1", "device:cell", "device:read=-1"):
        with pytest.raises(RunError, match="noise model"):
            parse_noise(1, text)


def test_normals_are_normal_and_belong_to_their_numbers() -> None:
    draws = normals_at(5, np.arange(200_000, dtype=np.uint64))
    assert abs(draws.mean()) < 0.01
    assert abs(draws.std() - 1) < 0.01
    np.testing.assert_array_equal(normals_at(5, np.array([7, 3], np.uint64)), draws[[7, 3]])
    assert abs(np.corrcoef(draws, normals_at(6, np.arange(200_000, dtype=np.uint64)))[0, 1]) < 0.01


def test_lumped_noise_has_the_papers_sigma() -> None:
    sums = np.random.default_rng(0).integers(-50_000, 50_000, (2, 20, 20, 32)).astype(np.int32)
    bias = np.full(32, 1000, np.int64)
    scale = np.linspace(0.001, 0.1, 32, dtype=np.float32), bias
    at = np.arange(20), np.arange(20), np.arange(32)
    noisy_sums = add_lumped(Noise(1, sinad_db=40.0), "q", sums, scale, 0, at)
    for image in range(2):
        sigma = np.abs((sums[image] + bias) * scale[0]).max() / 100
        error = (noisy_sums[image] - sums[image]) * scale[0]
        assert abs(error.std() / sigma - 1) < 0.03
        assert abs(error.mean()) < sigma / 20
    again = add_lumped(Noise(1, sinad_db=40.0), "q", sums[1:], scale, 1, at)
    np.testing.assert_array_equal(again[0], noisy_sums[1])


def test_compiled_loops_are_the_numpy_form(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    v = rng.normal(0, 4000, (50, 9))
    errors = Errors(0.3, rng.normal(0, 0.2, 17), rng.random(17))
    which = numbers(np.arange(50, dtype=np.uint64), 9, 64, 11)
    fast = noisy_codes(v, Converter(37.7, -128, 127, 0.0), errors, 99, which)
    monkeypatch.setattr(noisy, "compiled", lambda _: None)
    np.testing.assert_array_equal(noisy_codes(v, Converter(37.7, -128, 127, 0.0), errors, 99, which), fast)
    assert len(np.unique(fast)) > 100


def test_no_noise_at_all_is_the_reference() -> None:
    silent = AnalogModel("ideal", 0, None, DeviceNoise(0.0, 0.0, 0.0, 0.0))
    cells, x = cells_of(), pixels()
    ours = layer(silent, cells)
    expected = sliced_dot(x, cells, W, ours.form, ours.scale)[:, 0]
    np.testing.assert_array_equal(ours(x, POSITIONS), expected)
    flipped = encode(np.random.default_rng(3).integers(-128, 128, (1, 200, 5)).astype(np.int8), (2,) * 4, 64)
    w, form = Weights("v", 1, 200, 5, 64, (2,) * 4), normal_form(flow(6))
    pairs = AnalogLayer(flipped, w, form, 0.0, ((0, 0, 0), (), 0.0, 1.0), silent)
    np.testing.assert_array_equal(pairs(x, POSITIONS), sliced_dot(x, flipped, w, form)[:, 0])


def test_noise_of_reads_has_the_stated_size() -> None:
    """One row block: the error is that of 2 x 16 reads, weighed by their places, and a step of the converter."""
    w = replace(W, k=128)
    cells = Cells(*(a[:, : 128 if n == 0 else 1] for n, a in enumerate(vars(cells_of()).values())))
    read, gain = 0.003, 20.0
    f = whole_flow(14)
    part = LayerPart("", "w", "whole", (0, 128), (0, W.n), (0, 1), 1, 0.5, gain)
    scale = part.full_scale(program(w, cells, f))
    model = AnalogModel("ideal", 4, None, DeviceNoise(0.0, read, 0.0, 0.0))
    ours = AnalogLayer(cells, w, normal_form(f), scale, ((0, 0, 0), (), 0.5, gain), model)
    x = pixels()[:, :, :128]
    error = ours(x, POSITIONS) - x[:, 0].astype(np.int64) @ cells.codes[0].astype(np.int64)
    swing = 128 * 15 / gain
    sigma = read * swing * np.sqrt(2 * sum(4.0 ** (i + j) for i in (0, 4) for j in range(8)))
    assert abs(error.std() / sigma - 1) < 0.05


def test_cells_vary_once_and_alone() -> None:
    cells = cells_of()
    whole = cell_planes(cells.codes[0], W, (0, 0, 0), 0.1, 5)
    part = cell_planes(cells.codes[0, 128:, 3:7], W, (0, 128, 3), 0.1, 5)
    for ours, every in zip(part, whole, strict=True):
        np.testing.assert_array_equal(ours, every[:, 128:, 3:7])
    plain = cell_planes(cells.codes[0], W, (0, 0, 0))
    factors = np.concatenate([a[b > 0] / b[b > 0] for a, b in zip(whole, plain, strict=True)])
    assert abs(np.log(factors).std() - 0.1) < 0.005
    assert all((a[b == 0] == 0).all() for a, b in zip(whole, plain, strict=True))
    assert (cell_planes(cells.codes[0], W, (0, 0, 0), 0.1, 6)[0] != whole[0]).any()


def test_trained_networks_see_column_sums_slice_by_slice() -> None:
    cells, x = cells_of(), pixels()[:20]
    ours = layer(AnalogModel("trained", 0, load(), None), cells, 2.0)
    got = ours(x, POSITIONS[:20])
    codes = np.zeros((20, W.n), np.int64)
    for first in (0, 128):
        rows = slice(first, min(200, first + 128))
        signed = cells.codes[0, rows].astype(np.int64)
        p = np.zeros((20, 2, 8, W.n), np.int32)
        for i, j in np.ndindex(2, 8):
            bit = np.sign(signed) * (np.abs(signed) >> j & 1)
            p[:, i, j] = (x[:, 0, rows].astype(np.int64) >> 4 * i & 15) @ bit
        codes += dot_chain_reference(p, ours._drawn())
    np.testing.assert_array_equal(got, np.floor(codes * ours.step + 0.5))
    exact = x[:, 0].astype(np.int64) @ cells.codes[0].astype(np.int64)
    assert np.abs(got - exact).max() < 12 * ours.step


def test_fitted_errors_are_those_of_the_model() -> None:
    cells, x = cells_of(), pixels()
    peripherals = load()
    ours = layer(AnalogModel("fitted", 3, peripherals, None), cells, 5.0)
    error = (ours(x, POSITIONS) - x[:, 0].astype(np.int64) @ cells.codes[0].astype(np.int64)) / ours.step
    lsb = 2 * peripherals.parts(2)[1].v_max / 256
    spread = float(np.median(peripherals.errors[2].sigma)) / lsb
    assert abs(error.std() / np.sqrt(2 * (spread**2 + 1 / 12)) - 1) < 0.15  # two row blocks


def test_peripherals_need_their_kind_of_flow() -> None:
    cells = cells_of()
    f = whole_flow(10)
    with pytest.raises(ProgramError, match="trained peripherals"):
        AnalogLayer(cells, W, normal_form(f), 1e6, ((0, 0, 0), (), 0.5, 1.0), AnalogModel("trained", 0, load(), None))


def test_positions_have_numbers_of_their_own() -> None:
    image, row, col = np.ogrid[:3, :4, :5]
    assert len(np.unique(position_numbers(image, row, col))) == 60
