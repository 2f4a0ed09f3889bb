"""The NNS+A: a trained 10 x 12 x 1 network that adds the eight bit lines of a weight and the held previous sum.

Source: Neural-PIM (arXiv 2201.12861), section 4.1. Ground truth is the exact recursion

    V_i = 2**-D * V_(i-1) + sum_j 2**j V_j / alpha,   alpha = 255 / (1 - 2**-D)   (272 for 4-bit DACs)

so that the output stays within the range of its inputs. Voltages are differential, in volts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc_isa.peripherals.devices import Columns, Inverters, saturate
from pimc_isa.peripherals.randomness import stream_key, uniforms

__all__ = ["BITS", "NnsaDesign", "NnsaInstance", "nnsa", "nnsa_ideal"]

Array = np.ndarray
#: Gain, offset and rail of every neuron.
Curves = tuple[Array, Array, Array]

#: Weight bits, and so bit-line pairs.
BITS = 8
#: Stream numbers of the draws of one instance.
HIDDEN, OUTPUT, CURVES = 1, 2, 3
#: Inputs with which an instance is trimmed after it was programmed.
TRIM_POINTS = 512


@dataclass(frozen=True)
class NnsaInstance:
    """One fabricated and trimmed NNS+A, ready to evaluate; all float32.

    ``hidden`` [12, 9] from eight bit lines and the held value, ``bias`` [12], ``output`` [12] and ``offset`` (volts).
    ``full_scale``: bit lines are clipped there (volts).
    """

    hidden: Array
    bias: Array
    output: Array
    offset: np.float32
    full_scale: np.float32


@dataclass(frozen=True)
class NnsaDesign:
    """The trained conductances of an NNS+A and the technology around them.

    ``hidden`` 12 columns of 10 pairs (bits 0..7, held value, bias), ``output`` one column of 12 pairs; ``supply`` is
    the voltage of the bias pair; ``sigma`` the log-normal spread of a weight; ``fold``, ``line`` what the network
    approximates: ``fold * held + line * sum_j 2**j V_j``.
    """

    hidden: Columns
    output: Columns
    inverters: Inverters
    supply: float
    full_scale: float
    sigma: float
    fold: float
    line: float

    def nominal(self) -> NnsaInstance:
        """The device as designed: no variation, nominal curves."""
        return self._instance(*self._nominal_parts())

    def draw(self, seed: int, number: int = 0, trimmed: bool = True) -> NnsaInstance:
        """Device ``number`` of the chip ``seed``: varied weights, a random curve per neuron, trimmed gain and offset.

        An untrimmed device keeps the gain and offset of the nominal one.
        """
        stream = stream_key(seed, 0x4E53, number)
        curves = self.inverters.drawn(self.hidden.up.shape[0], stream, CURVES)
        hidden = self.hidden.drawn(self.sigma, stream, HIDDEN)
        return self._instance(hidden, self.output.drawn(self.sigma, stream, OUTPUT)[0], curves, trimmed)

    def driver(self) -> tuple[float, float]:
        """Gain and offset (volts) of the nominal output driver."""
        return self._trim(*_scaled(*self._nominal_parts(), self.supply))

    def _nominal_parts(self) -> tuple[Array, Array, Curves]:
        neurons = self.hidden.up.shape[0]
        return self.hidden.weights(), self.output.weights()[0], self.inverters.nominal(neurons)

    def ideal(self, volts: Array, held: Array) -> Array:
        """What the network approximates: ``volts`` [..., 8] bit lines, ``held`` [...]; float64."""
        line = volts.astype(np.float64) @ (2.0 ** np.arange(BITS))
        return np.asarray(self.fold * held + self.line * line)

    def _instance(self, hidden: Array, output: Array, curves: Curves, trimmed: bool = True) -> NnsaInstance:
        scaled, bias, out = _scaled(hidden, output, curves, self.supply)
        gain, offset = self._trim(scaled, bias, out) if trimmed else self.driver()
        return NnsaInstance(
            scaled.astype(np.float32),
            bias.astype(np.float32),
            (gain * out).astype(np.float32),
            np.float32(offset),
            np.float32(self.full_scale),
        )

    def _trim(self, hidden: Array, bias: Array, output: Array) -> tuple[float, float]:
        """Gain and offset of the output driver that fit the truth best on known inputs.

        Half of them are random, half put one voltage on all pairs, which spans the whole range of the output.
        """
        x = (2 * uniforms(stream_key(0x7121), TRIM_POINTS * (BITS + 1)) - 1).reshape(TRIM_POINTS, -1) * self.full_scale
        x[::2] = x[::2, :1]
        if self.fold < 1:
            x[:, :BITS] *= min(1.0, (1 - self.fold) / (255 * self.line))  # so that the output stays in range
        else:  # the high slice finds nothing held, the low slice is driven at a sixteenth
            second = np.arange(TRIM_POINTS) % 4 < 2
            x[:, :BITS] *= np.where(second, 1 / 16, 1.0)[:, None]
            x[:, BITS] *= np.where(second, 0.95, 0.0)
        y = saturate(x @ hidden.T + bias) @ output
        truth = self.ideal(x[:, :BITS], x[:, BITS])
        centred = y - y.mean()
        gain = float((centred * (truth - truth.mean())).sum() / (centred * centred).sum())
        return gain, float(truth.mean() - gain * y.mean())


def _scaled(hidden: Array, output: Array, curves: Curves, supply: float) -> tuple[Array, Array, Array]:
    """Hidden weights and biases in units of the curves' width, output weights in volts."""
    gain, offset, rail = curves
    slope = gain / (1.875 * rail)
    return hidden[:, :-1] * slope[:, None], (hidden[:, -1] * supply - offset) * slope, output * rail


def nnsa_ideal(volts: Array, held: Array, dac_bits: int = 4) -> Array:
    """The exact recursion: ``volts`` [..., 8] and ``held`` [...] in the same unit, for any DAC width; float64."""
    alpha = 255.0 / (1.0 - 2.0**-dac_bits)
    line = volts.astype(np.float64) @ (2.0 ** np.arange(BITS))
    return np.asarray(held * 2.0**-dac_bits + line / alpha)


def nnsa(instance: NnsaInstance, volts: Array, held: Array) -> Array:
    """One operation: ``volts`` [..., 8] bit lines and ``held`` [...]; float32 volts. Same operations as the kernel.

    Bit lines beyond the full scale are clipped there.
    """
    top = instance.full_scale
    x = np.minimum(np.maximum(volts.astype(np.float32), -top), top)
    total = np.full(held.shape, instance.offset, np.float32)
    previous = held.astype(np.float32)
    for h in range(len(instance.bias)):
        z = np.full(held.shape, instance.bias[h], np.float32)
        for j in range(BITS):
            z = z + instance.hidden[h, j] * x[..., j]
        z = z + instance.hidden[h, BITS] * previous
        total = total + instance.output[h] * saturate(z)
    return total
