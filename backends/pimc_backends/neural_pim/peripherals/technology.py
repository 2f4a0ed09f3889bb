"""The technology that the peripherals are trained for. Numbers marked (ours) are our choice; the paper gives none.

Supply 1.2 V, weight spread 0.025, held values within 0..0.5 V on each side of a pair, so +-0.5 V differentially, and
ranges 0.5, 0.25, 0.125 (taken as volts, which makes the largest equal to the held range): Neural-PIM sections 4.1-4.3.
"""

from __future__ import annotations

import numpy as np

from pimc_isa.peripherals import Inverters
from pimc_isa.peripherals.randomness import stream_key, uniforms

__all__ = [
    "AMPLIFYING_GAIN",
    "DRIVER_GAIN",
    "FOLLOWER_GAIN",
    "FULL_SCALE",
    "NNADC_GAIN",
    "NNSA_GAIN",
    "NOISE",
    "RANGES",
    "SIGMA",
    "SUPPLY",
    "inverters",
]

Array = np.ndarray

SUPPLY = 1.2
FULL_SCALE = 0.5
SIGMA = 0.025
RANGES = (0.5, 0.25, 0.125)
#: Thermal noise of a held voltage (ours): kT/C of about 64 fF.
NOISE = 0.25e-3
#: Inverter gain at the switching point (ours): shallow where a sum must come out linear, steep in the converter.
NNSA_GAIN, AMPLIFYING_GAIN, NNADC_GAIN = 4.0, 12.0, 12.0
#: Largest nominal gain of an output driver, 5 % below what it can do, which leaves room for trimming: a sample-and-hold
#: that doubles the voltage by its capacitors (ours), and a plain source follower as in the paper, for comparison.
DRIVER_GAIN, FOLLOWER_GAIN = 1.9, 0.95
#: What differs from neuron to neuron after the common corner is tracked by the references (ours): half-widths of the
#: uniform spread of gain (relative), switching point (volts, differential) and rail (relative).
GAIN_SPREAD, OFFSET_SPREAD, RAIL_SPREAD = 0.05, 0.003, 0.01
CURVES = 64


def inverters(nominal_gain: float) -> Inverters:
    """The curve set: 64 curves, the first nominal, the others drawn once and for all."""
    spread = (2 * uniforms(stream_key(0x9E7), 3 * CURVES) - 1).reshape(3, CURVES)
    spread[:, 0] = 0
    gain, offset, rail = spread
    return Inverters(nominal_gain * (1 + GAIN_SPREAD * gain), OFFSET_SPREAD * offset, SUPPLY * (1 + RAIL_SPREAD * rail))
