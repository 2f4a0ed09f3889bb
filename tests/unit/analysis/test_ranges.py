"""Converter ranges: closed forms, brute force, and what must hold whatever the sums are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc.analysis.ranges import LINE_LIMIT, RANGES, V_MAX, ConverterLimits, Observed, block_sums, choose, convert

#: 128 rows, 8-bit inputs in 4-bit parts, 8-bit weights in single bits, 8-bit codes.
NPIM = ConverterLimits(-128, 127, 128 * 255 * 255, 128 * 15)


def observed(sums: np.ndarray, line: int = 100, multiplier: float = 1e-3) -> Observed:
    largest = int(np.abs(sums).max())
    return Observed(sums.astype(np.float32), largest, line, multiplier * np.ones(sums.shape[2]))


def random_sums(seed: int, scale: float = 20_000, shape: tuple[int, int, int] = (400, 2, 8)) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).normal(0, scale, shape)).astype(np.float32)


def test_step_of_the_published_ranges() -> None:
    assert NPIM.step(1.0, 1.0) * 127 == pytest.approx(8_323_200)
    assert [NPIM.step(v, 1.0) for v in V_MAX] == pytest.approx([8_323_200 * v / 127 for v in V_MAX])
    assert NPIM.step(0.125, 8.0) == NPIM.step(0.125, 1.0) / 8


def test_known_sums_give_the_known_step() -> None:
    # the only sums are multiples of 100 up to 127 * 100: a step of 100 is exact, and no other is
    sums = 100.0 * np.arange(-127, 128).reshape(-1, 1, 1)
    plan = choose("layer", observed(sums), NPIM, "gain")
    assert (plan.largest, plan.clipped, plan.error_lsb) == (12_700, 0, 0)
    assert plan.step == pytest.approx(100, rel=1e-12)
    assert plan.sqnr_db == math.inf
    assert NPIM.step(plan.v_max, plan.gain) == plan.step


def test_an_outlier_is_clipped_where_that_costs_less() -> None:
    sums = random_sums(1, 2000, (20_000, 1, 8))
    sums[0, 0, 0] = 20_000
    plan = choose("layer", observed(sums), NPIM, "gain")
    assert 0 < plan.clipped < 1e-3
    assert plan.step < 0.7 * 20_000 / 127


def test_sums_that_a_relu_would_drop_keep_their_range() -> None:
    """Whether it drops them on other images nobody knows."""
    sums = random_sums(2, shape=(400, 1, 8))
    sums = np.where(sums < 0, 8 * sums, sums)  # large negative sums, small positive ones
    plan = choose("layer", observed(sums), NPIM, "gain")
    assert plan.clipped < 0.01
    assert plan.step > 0.3 * plan.largest / 127


def test_outputs_count_by_their_multiplier() -> None:
    """Large sums of an output that counts little give way to small sums of one that counts much."""
    sums = random_sums(5, 1000, (4000, 1, 2))
    sums[..., 1] *= 20
    alike = observed(sums)
    apart = Observed(alike.sums, alike.largest, alike.line, np.array([1e-1, 1e-6]))
    first, second = choose("layer", alike, NPIM, "gain"), choose("layer", apart, NPIM, "gain")
    assert second.step < 0.5 * first.step


@pytest.mark.parametrize("mode", ["gain", "power2", "published"])
def test_the_plan_is_the_best_of_its_kind(mode: str) -> None:
    seen = observed(random_sums(3))

    def error(step: float) -> float:
        exact, got = seen.sums.sum(axis=1, dtype=np.float64), convert(seen.sums, step, -128, 127)
        return float(np.sqrt(np.mean((1e-3 * (got - exact)) ** 2)))

    plan = choose("layer", seen, NPIM, mode)
    assert plan.error_lsb == pytest.approx(error(plan.step), rel=1e-6)
    tried: dict[str, list[float]] = {
        "published": [NPIM.step(v, 1) for v in V_MAX],
        "power2": [NPIM.step(0.5, 2.0**n) for n in range(12)],
        "gain": [math.ceil(seen.largest / 127)],
    }
    assert plan.error_lsb <= min(map(error, tried[mode])) * (1 + 1e-9)


def test_modes_keep_their_promises() -> None:
    seen = observed(random_sums(4))
    gain, power2, published = (choose("layer", seen, NPIM, mode) for mode in ("gain", "power2", "published"))
    assert gain.step == round(gain.step, 6)
    assert math.log2(power2.gain).is_integer()
    assert published.gain == 1
    assert {gain.v_max, power2.v_max} <= set(RANGES)
    assert published.v_max in V_MAX
    assert gain.error_lsb <= published.error_lsb


@pytest.mark.parametrize(
    ("line", "v_max", "over"),
    [(1, 0.5, False), (30, 0.25, False), (60, 0.125, False), (240, 0.03125, False), (900, 0.03125, True)],
)
def test_the_largest_range_that_bit_lines_allow(line: int, v_max: float, over: bool) -> None:
    sums = np.array([-66_080.0, 66_080.0]).reshape(2, 1, 1)  # a hundred-and-twenty-sixth of the full swing
    plan = choose("layer", observed(sums, line), NPIM, "gain")
    assert (plan.v_max, plan.line_over) == (v_max, over)
    assert over == (plan.gain * line > LINE_LIMIT * NPIM.line)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(1, 5000), st.floats(1.01, 4))
def test_a_larger_range_clips_less(seed: int, step: float, factor: float) -> None:
    sums = random_sums(seed, shape=(50, 1, 4))

    def clipped(step: float) -> int:
        return int(np.count_nonzero((sums / step > 127.5) | (sums / step < -128.5)))

    assert clipped(step * factor) <= clipped(step)
    error = np.abs(convert(sums, step, -128, 127) - sums[:, 0])
    inside = (sums[:, 0] <= 127.5 * step) & (sums[:, 0] >= -128.5 * step)
    assert (error[inside] <= step / 2 + 0.5).all()


def test_conversion_rounds_halves_up_and_clips() -> None:
    sums = np.array([15.0, -15.0, 5.0, -5.0, 10**6, -(10**6)]).reshape(-1, 1, 1)
    assert convert(sums, 10, -128, 127).ravel().tolist() == [20, -10, 10, 0, 1270, -1280]
    two_blocks = np.array([[[14.0], [14.0]]])
    assert convert(two_blocks, 10, -128, 127).item() == 20
    assert convert(np.ones((1, 1, 1)), 2.5, -128, 127).item() == 0
    assert convert(np.full((1, 1, 1), 2.0), 2.5, -128, 127).item() == 3  # one code, 2.5, rounded half up


def test_block_sums_are_exact() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (20, 3, 300), np.uint8)
    w = rng.integers(-128, 128, (3, 300, 4)).astype(np.int8)
    sums = block_sums(x, w, 128)
    assert sums.shape == (20, 3, 12)
    for block, rows in enumerate((slice(0, 128), slice(128, 256), slice(256, 300))):
        expected = np.einsum("mgk,gkn->mgn", x[:, :, rows].astype(int), w[:, rows].astype(int)).reshape(20, 12)
        assert np.array_equal(sums[:, block], expected)
    worst = block_sums(np.full((1, 1, 512), 255, np.uint8), np.full((1, 512, 1), -128, np.int8), 512)
    assert worst.item() == -128 * 255 * 512
    with pytest.raises(ValueError, match="512"):
        block_sums(x, w, 1024)


def test_a_plan_reads_like_a_sentence() -> None:
    plan = choose("conv1", observed(random_sums(6)), NPIM, "gain")
    text = str(plan)
    assert text.startswith(f"conv1: largest sum {plan.largest}, v_max ")
    assert "SQNR" in text
    with pytest.raises(ValueError, match="no range mode 'best'"):
        choose("conv1", observed(random_sums(6)), NPIM, "best")
