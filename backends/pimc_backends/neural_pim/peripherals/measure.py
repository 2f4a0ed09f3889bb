"""Measurements of trained peripherals: errors, linearity, effective bits, signal to noise and distortion."""

from __future__ import annotations

import numpy as np

from pimc_backends.neural_pim.peripherals import technology
from pimc_backends.neural_pim.peripherals.signals import ideal_volts, sums_over
from pimc_isa.peripherals import ConverterTable, NnsaDesign, NnsaInstance, nnadc, nnsa

__all__ = ["chain_sinad", "effective_bits", "fold_volts", "linearity", "nnsa_errors", "nnsa_mse", "sinad"]

Array = np.ndarray


def nnsa_errors(design: NnsaDesign, instance: NnsaInstance, x: Array, rng: np.random.Generator | None = None) -> Array:
    """Volts by which one operation misses the truth, for inputs [n, 9]; ``rng`` adds thermal noise to the inputs."""
    truth = design.ideal(x[:, :8], x[:, 8])
    noisy = x if rng is None else x + technology.NOISE * rng.standard_normal(x.shape)
    return np.asarray(nnsa(instance, noisy[:, :8], noisy[:, 8]) - truth)


def nnsa_mse(design: NnsaDesign, x: Array, seed: int, devices: int) -> float:
    """Mean squared error in volts squared over drawn and trimmed devices, with thermal noise."""
    rng = np.random.default_rng(seed)
    return float(np.mean([np.mean(nnsa_errors(design, design.draw(seed, d), x, rng) ** 2) for d in range(devices)]))


def linearity(table: ConverterTable) -> tuple[Array, Array]:
    """INL [255] and DNL [254] in codes, from the thresholds; INL is against the ideal ones, without a fitted line."""
    found = table.thresholds() / table.lsb
    ideal = np.arange(-127, 128) - 0.5
    return found - ideal, np.diff(found) - 1


def effective_bits(table: ConverterTable, points: int = 8192) -> float:
    """ENOB of a full-scale sine: ``(SINAD - 1.76) / 6.02`` with the sine of the best fit as the signal."""
    phase = 2 * np.pi * (np.arange(points) * 127 / points)
    amplitude = table.v_max - table.lsb
    codes = nnadc(table, amplitude * np.sin(phase)).astype(np.float64)
    basis = np.stack([np.sin(phase), np.cos(phase), np.ones(points)], axis=1)
    fitted = basis @ np.linalg.lstsq(basis, codes, rcond=None)[0]
    noise = np.mean((codes - fitted) ** 2)
    signal = np.mean((fitted - fitted.mean()) ** 2)
    full = (256 / 2) ** 2 / 2  # noise against a sine that fills the range
    return float((10 * np.log10(max(signal, full) / noise) - 1.76) / 6.02)


def sinad(hardware: Array, software: Array) -> float:
    """Section 6.5: ``10 log10((P_signal + P_noise) / P_noise)``, noise the mean squared difference; decibels."""
    noise = float(np.mean((hardware - software) ** 2))
    signal = float(np.mean(software**2))
    return float(10 * np.log10((signal + noise) / noise))


def fold_volts(design: NnsaDesign, instance: NnsaInstance, p: Array, volts: float, rng: np.random.Generator) -> Array:
    """Analog results [n, outputs] of two slices [n, 2, 8, outputs], with thermal noise on lines and held value.

    A design with ``fold`` 1 takes the high slice first and is then driven at a sixteenth.
    """
    low_first = design.fold < 1
    held = np.zeros((p.shape[0], p.shape[3]))
    for scale, i in ((1.0, 0), (1.0, 1)) if low_first else ((1.0, 1), (1 / 16, 0)):
        lines = np.moveaxis(p[:, i], 1, 2) * (volts * scale)
        lines = lines + technology.NOISE * rng.standard_normal(lines.shape)
        held = nnsa(instance, lines, held + technology.NOISE * rng.standard_normal(held.shape)).astype(np.float64)
    return held


def chain_sinad(design: NnsaDesign, converters: list[ConverterTable], seed: int, count: int = 2048) -> Array:
    """[converters, 3] decibels: SINAD at the held voltage, after the converter, and after it against a peak signal.

    The last uses the square of the full scale as the signal's power, as eq. 13 of the paper does. Results beyond the
    range of the converter are left out.
    """
    found = []
    for device, table in enumerate(converters):
        rng = np.random.default_rng((seed, device))
        p, volts = sums_over(design, table.v_max, count, rng)
        truth = ideal_volts(design, p, volts)
        analog = fold_volts(design, design.draw(seed, device), p, volts, rng)
        inside = np.abs(truth) < table.v_max - table.lsb
        digital = nnadc(table, analog) * table.lsb
        peak = 10 * np.log10(1 + table.v_max**2 / np.mean((digital - truth)[inside] ** 2))
        found.append((sinad(analog[inside], truth[inside]), sinad(digital[inside], truth[inside]), peak))
    return np.array(found)
