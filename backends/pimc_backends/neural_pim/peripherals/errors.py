"""Error models fitted to the trained chain: mean and spread of what it adds, as functions of the ideal voltage."""

from __future__ import annotations

import numpy as np

from pimc_backends.neural_pim.peripherals.measure import fold_volts, linearity
from pimc_backends.neural_pim.peripherals.signals import ideal_volts, sums_over
from pimc_isa.peripherals import ErrorModel, NnadcDesign, NnsaDesign

__all__ = ["fit_errors"]

Array = np.ndarray
KNOTS = 17


def fit_errors(design: NnsaDesign, adc: NnadcDesign, seed: int, devices: int = 32) -> ErrorModel:
    """Bias and spread at 17 voltages over the range, over many devices.

    The converter adds the variance of its integral non-linearity. Errors of one device repeat; the model draws them
    anew for every result, which gives the same power.
    """
    at = np.linspace(-adc.v_max, adc.v_max, KNOTS)
    total, first, second = np.zeros((3, KNOTS))
    converter = 0.0
    for device in range(devices):
        rng = np.random.default_rng((seed, device))
        p, volts = sums_over(design, adc.v_max, 4096, rng)
        truth = ideal_volts(design, p, volts).ravel()
        error = fold_volts(design, design.draw(seed, device), p, volts, rng).ravel() - truth
        knot = np.rint((truth / adc.v_max + 1) * (KNOTS - 1) / 2).astype(np.int64)
        keep = (knot >= 0) & (knot < KNOTS)
        total += np.bincount(knot[keep], minlength=KNOTS)
        first += np.bincount(knot[keep], error[keep], KNOTS)
        second += np.bincount(knot[keep], error[keep] ** 2, KNOTS)
        table = adc.draw(seed, device)
        converter += float(np.var(linearity(table)[0] * table.lsb)) / devices
    seen = total > 50
    bias = np.interp(at, at[seen], first[seen] / total[seen])
    variance = np.interp(at, at[seen], second[seen] / total[seen] - (first[seen] / total[seen]) ** 2)
    return ErrorModel(bias.astype(np.float32), np.sqrt(variance + converter).astype(np.float32))
