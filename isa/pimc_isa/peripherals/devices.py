"""What the trained peripherals are made of: resistive columns with 3-bit conductances, and inverters between them.

All voltages are differential (``V_P - V_N`` of a pair), in volts. A column's output is
``sum_k W_k V_k`` with ``W_k = eps * (up_k - low_k)`` and ``eps = 1 / sum_k (up_k + low_k)`` (Neural-PIM, section 4.1,
eq. 9): a passive divider, so ``sum |W| <= 1`` whatever the cells hold. Adding the same conductance to both cells of a
pair changes ``eps`` alone, which is how columns get different gains from 3-bit cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc_isa.errors import ProgramError
from pimc_isa.peripherals.randomness import normals, stream_key, uniforms

__all__ = ["CELL_LEVELS", "Columns", "Inverters", "saturate", "transfer"]

Array = np.ndarray

#: Conductance levels of a 3-bit cell, in units of the smallest step.
CELL_LEVELS = 8


@dataclass(frozen=True)
class Columns:
    """One crossbar layer: ``up`` and ``low`` u8 [outputs, inputs], conductances 0..7 in units of one step."""

    up: Array
    low: Array

    def __post_init__(self) -> None:
        """Refuse cells that do not exist. Raises ProgramError."""
        if self.up.shape != self.low.shape or self.up.ndim != 2:
            raise ProgramError("peripheral cells: upper and lower array must be [outputs, inputs] of equal shape")
        if max(int(self.up.max(initial=0)), int(self.low.max(initial=0))) >= CELL_LEVELS:
            raise ProgramError(f"peripheral cells: a conductance above {CELL_LEVELS - 1} does not fit 3 bits")
        if not (self.up.astype(np.int64) + self.low).sum(axis=1).all():
            raise ProgramError("peripheral cells: a column without any conductance has no output")

    def weights(self) -> Array:
        """float64 [outputs, inputs]: the voltage gains from every input pair to every column."""
        up, low = self.up.astype(np.float64), self.low.astype(np.float64)
        return np.asarray((up - low) / (up + low).sum(axis=1, keepdims=True))

    def drawn(self, sigma: float, seed: int, *stream: int) -> Array:
        """The weights of one device: each times ``exp(theta)``, theta normal with ``sigma`` (section 4.1)."""
        theta = normals(stream_key(seed, *stream), self.up.size).reshape(self.up.shape)
        return np.asarray(self.weights() * np.exp(sigma * theta))


@dataclass(frozen=True)
class Inverters:
    """The set of voltage transfer curves that a neuron may turn out to have (process, voltage, temperature, mismatch).

    float64 arrays of equal length: ``gain`` at the switching point, ``offset`` of the switching point in volts,
    ``rail`` in volts: the largest differential output. Curve 0 is the nominal one.
    """

    gain: Array
    offset: Array
    rail: Array

    def drawn(self, count: int, seed: int, *stream: int) -> tuple[Array, Array, Array]:
        """Gains, offsets and rails of ``count`` neurons, each a curve drawn at random."""
        pick = (uniforms(stream_key(seed, *stream), count) * len(self.gain)).astype(np.int64)
        return self.gain[pick], self.offset[pick], self.rail[pick]

    def nominal(self, count: int) -> tuple[Array, Array, Array]:
        """Gains, offsets and rails of ``count`` neurons with the nominal curve."""
        pick = np.zeros(count, np.int64)
        return self.gain[pick], self.offset[pick], self.rail[pick]


def saturate(z: Array) -> Array:
    """The shape of an inverter's curve: ``z (15 - 10 z^2 + 3 z^4) / 8``, flat at -1 and 1 beyond -1 and 1.

    A CMOS inverter's output sits at the rail as soon as one transistor is off, so its curve ends; this is the lowest
    polynomial that ends smoothly (zero slope and curvature). The polarity is free: a pair can be crossed.
    Keeps the type of ``z``; the kernels use the same order of operations.
    """
    kind = z.dtype.type
    z = np.minimum(np.maximum(z, kind(-1.0)), kind(1.0))
    s = z * z
    return np.asarray(z * (kind(1.875) + s * (kind(-1.25) + s * kind(0.375))))


def transfer(u: Array, gain: Array, offset: Array, rail: Array) -> Array:
    """Output of inverters with inputs ``u`` [..., neurons], all in volts."""
    return np.asarray(rail * saturate((u - offset) * (gain / (1.875 * rail))))
