"""Dot products through the peripherals: compiled loops against numpy, and against plain arithmetic."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from pimc_isa.errors import ProgramError
from pimc_isa.peripherals import (
    Kind,
    Peripherals,
    dot_chain,
    dot_chain_reference,
    exact_sums,
    from_tensors,
    ideal_chain,
    ideal_codes,
    to_tensors,
)
from pimc_isa.peripherals.randomness import hashes, normal_table, stream_key
from tests.unit.isa.peripherals import devices

Array = np.ndarray
KINDS: tuple[Kind, ...] = ("ideal", "fitted", "trained")


@lru_cache(maxsize=1)
def peripherals() -> Peripherals:
    return devices.peripherals()


def sums(outputs: int, dtype: type[np.generic] = np.int16, size: int = 300) -> Array:
    rng = np.random.default_rng(outputs)
    return rng.integers(-size, size, (5, 2, 8, outputs)).astype(dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 63, 64, 150])
@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_kernel_equals_reference(kind: Kind, outputs: int, dtype: type[np.generic]) -> None:
    chain = peripherals().chain(kind, 3000, 1, seed=9)
    p = sums(outputs, dtype, 1900)
    np.testing.assert_array_equal(dot_chain(p, chain, 7), dot_chain_reference(p, chain, 7))


@pytest.mark.parametrize("step", [1, 7, 4000])
def test_ideal_is_rounding_and_clipping(step: int) -> None:
    p = sums(40)
    y = exact_sums(p).astype(np.int64)
    expected = np.clip(np.floor(y / step + 0.5), -128, 127)
    np.testing.assert_array_equal(dot_chain(p, ideal_chain(step)), expected)


@pytest.mark.parametrize("v_range", range(5))
def test_step_is_what_a_code_counts(v_range: int) -> None:
    design, adc = peripherals().parts(v_range)
    p = sums(30)
    held = np.zeros((5, 30))
    for i in (0, 1):
        held = design.ideal(np.moveaxis(p[:, i], 1, 2) * peripherals().volts(5000, v_range), held)
    expected = dot_chain(p, ideal_chain(5000))
    assert np.abs(ideal_codes(held, adc.v_max) - expected).max() <= 1  # 1 where rounding is a tie
    assert np.ptp(expected) > 20


def test_smallest_step_fills_the_bit_lines() -> None:
    step = peripherals().smallest_step(1, 1920)
    assert peripherals().volts(1, 1) / step * 1920 == pytest.approx(0.5)


def test_trained_follows_ideal() -> None:
    p = sums(200, size=150)
    ideal = dot_chain(p, peripherals().chain("ideal", 4000, 0)).astype(np.int64)
    trained = dot_chain(p, peripherals().chain("trained", 4000, 0, seed=1))
    assert np.corrcoef(ideal.ravel(), trained.ravel())[0, 1] > 0.98


def test_bit_lines_clip() -> None:
    chain = peripherals().chain("trained", 4000, 0)
    high = int(0.5 / chain.volts) + 1
    p = np.full((1, 2, 8, 1), high, np.int32)
    np.testing.assert_array_equal(dot_chain(p, chain), dot_chain(10 * p, chain))


def test_fitted_errors_have_the_stated_spread() -> None:
    chain = peripherals().chain("fitted", 1, 0, seed=3)
    assert chain.errors is not None
    flat = replace(chain.errors, bias=np.full(9, 0.01, np.float32), sigma=np.full(9, 0.02, np.float32))
    p = np.zeros((100, 2, 8, 200), np.int16)
    codes = dot_chain(p, replace(chain, errors=flat)) * chain.lsb
    assert codes.mean() == pytest.approx(0.01, abs=5e-4)
    assert codes.std() == pytest.approx(np.hypot(0.02, chain.lsb / np.sqrt(12)), rel=0.02)


def test_fitted_noise_does_not_depend_on_the_chunks() -> None:
    chain = peripherals().chain("fitted", 3000, 1, seed=3)
    p = sums(64)
    whole = dot_chain(p, chain)
    parts = [dot_chain(p[i : i + 1], chain, first=64 * i) for i in range(len(p))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert not np.array_equal(whole, dot_chain(p, peripherals().chain("fitted", 3000, 1, seed=4)))


def test_tensors_hold_everything() -> None:
    copy = from_tensors(to_tensors(peripherals(), "a."), "a.")
    for kind in KINDS:
        p = sums(20)
        mine, theirs = (part.chain(kind, 3000, 4, seed=2) for part in (peripherals(), copy))
        np.testing.assert_array_equal(dot_chain(p, mine), dot_chain(p, theirs))


def test_errors_say_what_is_wrong() -> None:
    tensors = to_tensors(peripherals())
    del tensors["nnadc1.sub_hidden"]
    with pytest.raises(ProgramError, match=r"nnadc1\.sub_hidden is missing"):
        from_tensors(tensors)
    with pytest.raises(ProgramError, match="range 5 does not exist"):
        peripherals().chain("ideal", 1, 5)
    with pytest.raises(ProgramError, match="2 input slices"):
        dot_chain(np.zeros((1, 3, 8, 1), np.int16), ideal_chain(1))


def test_random_numbers() -> None:
    key = stream_key(1, 2)
    np.testing.assert_array_equal(hashes(key, 0, 10)[4:], hashes(key, 4, 6))
    assert stream_key(1, 2) != stream_key(2, 1)
    table = normal_table().astype(np.float64)
    assert table.mean() == pytest.approx(0, abs=1e-6)
    assert table.std() == pytest.approx(1, abs=1e-6)
