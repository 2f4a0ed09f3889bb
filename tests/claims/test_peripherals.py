"""What the Neural-PIM paper says of its trained peripherals, measured on the committed parameters.

Neural-PIM (arXiv 2201.12861), sections 4.1-4.3 and 5.3. The measurements are written out again here, apart from those
of the training report, on devices that neither training nor report has drawn.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from pimc_backends.neural_pim.peripherals import PARAMETERS, load, load_variants
from pimc_backends.neural_pim.peripherals.measure import linearity, nnsa_errors
from pimc_backends.neural_pim.peripherals.signals import nnsa_inputs
from pimc_isa.peripherals import ConverterTable, Kind, NnsaDesign, Peripherals, dot_chain, exact_sums, nnadc, nnsa

Array = np.ndarray
SEED = 31337
DEVICES = 20
THERMAL = 0.25e-3


@lru_cache(maxsize=1)
def trained() -> Peripherals:
    return load()


@lru_cache(maxsize=3)
def converters(k: int) -> list[ConverterTable]:
    return [trained().nnadc[k].draw(SEED, number) for number in range(DEVICES)]


def inputs(largest: float, rng: np.random.Generator) -> Array:
    """[4000, 9] volts over the full range: half independent, half along the diagonal."""
    x = rng.uniform(-largest, largest, (4000, 9))
    x[::2] = np.clip(x[::2, :1] + 0.1 * largest * rng.standard_normal((2000, 9)), -largest, largest)
    x[:, 8] *= 0.5 / largest
    return x


def truth(design: NnsaDesign, x: Array) -> Array:
    alpha = 272 if design is trained().nnsa[0] else 68
    return np.asarray(x[:, 8] / 16 + sum(2**j * x[:, j] for j in range(8)) / alpha)


@pytest.mark.parametrize(("number", "largest"), [(0, 0.5), (1, 0.125)])
def test_nnsa_error_is_below_1e_5(number: int, largest: float) -> None:
    """Section 4.1: approximation error below 1e-5, here in V^2 of a differential range of +-0.5 V."""
    design, rng = trained().nnsa[number], np.random.default_rng(1)
    x = inputs(largest, rng)
    mses = []
    for device in range(DEVICES):
        noisy = x + THERMAL * rng.standard_normal(x.shape)
        y = nnsa(design.draw(SEED, device), noisy[:, :8], noisy[:, 8])
        mses.append(np.mean((y - truth(design, x)) ** 2))
    assert np.mean(mses) < 2e-6
    assert max(mses) < 1e-5


def test_nnsa_is_the_papers_network() -> None:
    """Section 4.1: 10 x 12 x 1, 3-bit cells, passive columns."""
    designs = (*trained().nnsa, load_variants().msb_first, load_variants().follower)
    for design in designs:
        assert design.hidden.up.shape == (12, 10)
        assert design.output.up.shape == (1, 12)
        for layer in (design.hidden, design.output):
            assert max(layer.up.max(), layer.low.max()) <= 7
            assert (np.abs(layer.weights()).sum(axis=1) <= 1).all()
    assert load_variants().follower.driver()[0] < 1
    assert max(design.driver()[0] for design in designs) < 2


@pytest.mark.parametrize("k", [0, 1, 2])
def test_effective_bits(k: int) -> None:
    """Table 1: ENOB 7.85 to 7.88 at 8 bits. A sine that fills the range; noise against the sine itself."""
    v_max = (0.5, 0.25, 0.125)[k]
    lsb = v_max / 128
    sine = np.sin(2 * np.pi * np.arange(8192) * 1021 / 8192)
    bits = []
    for table in converters(k):
        error = nnadc(table, (v_max - lsb) * sine) * lsb - (v_max - lsb) * sine
        bits.append((10 * np.log10(v_max**2 / 2 / np.mean(error**2)) - 1.76) / 6.02)
    assert np.mean(bits) > 7.9
    assert min(bits) > 7.8


@pytest.mark.parametrize("k", [0, 1, 2])
def test_linearity(k: int) -> None:
    """Table 1: DNL and INL below one code. Code widths counted on a ramp of 128 points per code."""
    v_max = (0.5, 0.25, 0.125)[k]
    ramp = np.linspace(-v_max, v_max, 256 * 128, endpoint=False)
    for table in converters(k):
        widths = np.bincount(nnadc(table, ramp).astype(np.int64) + 128, minlength=256)[1:255] / 128
        assert np.abs(widths - 1).max() < 1
        assert widths.min() > 0
        edges = np.cumsum(widths) - np.arange(1, 255)
        assert np.abs(edges - edges.mean()).max() < 1


def full_range(rng: np.random.Generator) -> Array:
    """Column sums [2000, 2, 8, 1] whose results are spread over what 128 rows can give."""
    level = rng.uniform(-1, 1, (2000, 1, 1, 1)) + 0.2 * rng.standard_normal((2000, 2, 8, 1))
    return np.rint(1920 * np.clip(level, -1, 1)).astype(np.int32)


def decibels(kind: Kind, device: int) -> float:
    """SINAD of section 6.5 over the full range, against the exact dot product."""
    p = full_range(np.random.default_rng(device))
    step = round(trained().smallest_step(0, 1920))
    chain = trained().chain(kind, step, 0, SEED, device)
    sums = exact_sums(p).astype(np.float64)
    inside = np.abs(sums) < 126 * step
    noise = np.mean((dot_chain(p, chain) * float(step) - sums)[inside] ** 2)
    return float(10 * np.log10((np.mean(sums[inside] ** 2) + noise) / noise))


def test_sinad_of_the_chain() -> None:
    """Section 5.3: 45 dB suffice. Without thermal noise, which the report adds."""
    found = [decibels("trained", device) for device in range(DEVICES)]
    assert np.mean(found) > 45
    assert min(found) > 43
    assert decibels("ideal", 0) == pytest.approx(48.2, abs=0.4)


def test_fitted_errors_cost_as_much_as_trained_networks() -> None:
    found = np.mean([decibels("trained", device) for device in range(8)])
    fitted = np.mean([decibels("fitted", device) for device in range(8)])
    assert fitted == pytest.approx(found, abs=0.7)


def test_low_slice_first_is_better() -> None:
    """Section 4.1: an earlier slice's error shrinks by the fold, so the slice that counts most comes last."""
    errors = []
    for design in (trained().nnsa[0], load_variants().msb_first):
        rng = np.random.default_rng(5)
        low, high = 0.2 * rng.standard_normal((2, 2000, 8)).clip(-2.5, 2.5)
        ideal = (low / 16 + high) @ 2.0 ** np.arange(8) / 272
        order = [(low, 1.0), (high, 1.0)] if design.fold < 1 else [(high, 1.0), (low, 1 / 16)]
        squares = []
        for device in range(DEVICES):
            instance, held = design.draw(SEED, device), np.zeros(2000)
            for lines, scale in order:
                held = nnsa(instance, scale * lines, held + THERMAL * rng.standard_normal(2000)).astype(np.float64)
            squares.append(np.mean((held - ideal) ** 2))
        errors.append(np.mean(squares))
    assert errors[0] < 0.7 * errors[1]


def test_the_report_is_of_these_parameters() -> None:
    report = (PARAMETERS.parent / "report.md").read_text(encoding="utf-8")
    design = trained().nnsa[0]
    x = nnsa_inputs("lsb", 8192, np.random.default_rng(1))
    mse = np.mean(nnsa_errors(design, design.nominal(), x) ** 2)
    assert f"| low slice first | training mix | {mse:.2e} |" in report


@pytest.mark.parametrize("k", [0, 1, 2])
def test_linearity_from_thresholds_and_from_a_ramp_agree(k: int) -> None:
    table = converters(k)[0]
    ramp = np.linspace(-table.v_max, table.v_max, 256 * 512)
    codes = np.maximum.accumulate(nnadc(table, ramp).astype(np.int64))
    first = ramp[np.searchsorted(codes, np.arange(-126, 128))] / table.lsb
    np.testing.assert_allclose(linearity(table)[0][1:], first - (np.arange(-126, 128) - 0.5), atol=0.01)
