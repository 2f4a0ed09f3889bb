"""Search over single conductances after gradient training: simulated annealing that changes one or two cells at a time.

Gradients through rounding stop improving where the cells' steps are coarse. The search minimises the expected squared
error over devices: the nominal one's plus, to first order, what the spread of weights and curves adds. (A fixed set of
drawn devices instead of the expectation gets over-fitted: other devices then come out ten times worse.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pimc_backends.neural_pim.peripherals import technology
from pimc_backends.neural_pim.peripherals.cells import TOP, fitting_total
from pimc_backends.neural_pim.peripherals.network import Integers
from pimc_isa.peripherals import Inverters

__all__ = ["refine"]

Array = np.ndarray

#: Mean allowed worsening at the start and the end of the search, in volts squared.
HOT, COLD = 3e-8, 1e-9
#: Chance of each kind of step after the differences: total conductance, output difference.
KINDS_OF_TOTAL, KINDS_OF_OUTPUT = 2, 1


@dataclass(frozen=True)
class _Neuron:
    """A neuron's cells, its part of the nominal output f32 [points], and the variance that its spread adds."""

    n: Array
    total: int
    out: int
    part: Array
    variance: float


class _Expectation:
    """Samples, truth and first-order statistics of the devices."""

    def __init__(self, curves: Inverters, weights: Array, x: Array) -> None:
        supply = np.full((len(x), 1), technology.SUPPLY)
        self.x = np.concatenate([x, supply], 1).astype(np.float32)
        truth = x @ weights
        self.truth = (truth - truth.mean()).astype(np.float32)
        self.power = float((self.truth.astype(np.float64) ** 2).mean())
        self.gain, self.rail = float(curves.gain[0]), float(curves.rail[0])
        self.offset_spread = float(curves.offset.std())
        self.gain_spread = float((curves.gain / self.gain).std())

    def neuron(self, n: Array, total: int, out: int) -> _Neuron:
        """Evaluate a neuron; its output weight is ``out / 84``, the output column's own scale being free."""
        w = (n / total).astype(np.float32)
        u = self.x @ w
        z = np.clip(u * np.float32(self.gain / (1.875 * self.rail)), -1, 1)
        s = z * z
        part = z * (1.875 + s * (0.375 * s - 1.25)) * np.float32(self.rail * out / 84)
        slope = np.float32(self.gain * out / 84) * (1 - s) ** 2
        used = np.flatnonzero(n)
        inputs = technology.SIGMA * (slope[:, None] * self.x[:, used]) * w[used]
        rest = [technology.SIGMA * part, self.offset_spread * slope, self.gain_spread * slope * u]
        variance = self._untrimmed(np.concatenate([inputs, np.stack(rest, 1)], axis=1))
        return _Neuron(n, total, out, part, variance)

    def _untrimmed(self, errors: Array) -> float:
        """Sum over columns of the mean squares that trimming gain and offset leaves."""
        errors = errors - errors.mean(axis=0)
        along = self.truth @ errors / len(errors)
        return float((errors * errors).mean(axis=0).sum() - (along * along).sum() / self.power)

    def gain_of(self, y: Array) -> float:
        """The gain that fits ``y`` to the truth."""
        y = y - y.mean()
        return float(self.truth @ y / (y @ y))

    def error(self, y: Array, variance: float, limit: float) -> float:
        """Expected mean squared error after trimming, in volts squared, with a gain of at most ``limit``."""
        y = y - y.mean()
        cross, own = float(self.truth @ y) / len(y), float(y @ y) / len(y)
        gain = min(cross / own, limit)
        return self.power - 2 * gain * cross + gain * gain * (own + variance)


def _limit(neurons: list[_Neuron], driver: float) -> float:
    """The largest gain after a passive output column, relative to output weights of ``out / 84``."""
    return driver * 84 / max(1, sum(abs(neuron.out) for neuron in neurons))


def refine(
    start: Integers, curves: Inverters, weights: Array, x: Array, driver: float, moves: int, rng: np.random.Generator
) -> Integers:
    """Improve a network with one output for ``truth = x @ weights``; the last input is the bias pair.

    ``driver`` is the largest gain of what drives the output.
    """
    expect = _Expectation(curves, weights, x)
    cells = zip(start.hidden, start.hidden_totals, start.output[0], strict=True)
    neurons = [expect.neuron(n, int(total), int(out)) for n, total, out in cells]
    y = np.asarray(np.sum([neuron.part for neuron in neurons], axis=0, dtype=np.float64))
    variance = sum(neuron.variance for neuron in neurons)
    current = expect.error(y, variance, _limit(neurons, driver))
    best, kept = current, list(neurons)
    for move in range(moves):
        h = int(rng.integers(len(neurons)))
        before, neuron = neurons[h], expect.neuron(*_change(neurons[h], rng))
        trial = y + (neuron.part - before.part)
        spread = variance + neuron.variance - before.variance
        neurons[h] = neuron
        error = expect.error(trial, spread, _limit(neurons, driver))
        if error < current + _allowance(move / moves) * rng.exponential():
            current, y, variance = error, trial, spread
        else:
            neurons[h] = before
        if current < best:
            best, kept = current, list(neurons)
    out = np.array([neuron.out for neuron in kept])
    gain = expect.gain_of(np.asarray(np.sum([neuron.part for neuron in kept], axis=0)))
    return replace(
        start,
        hidden=np.array([neuron.n for neuron in kept]),
        hidden_totals=np.array([neuron.total for neuron in kept]),
        output=out[None],
        output_totals=np.array([fitting_total(out, driver * 84 / gain)]),
    )


def _allowance(progress: float) -> float:
    """How much worse, in volts squared, a move may be on average: falls geometrically, then nothing."""
    return HOT * (COLD / HOT) ** progress if progress < 0.9 else 0.0


def _change(neuron: _Neuron, rng: np.random.Generator) -> tuple[Array, int, int]:
    """One or two random steps in a neuron's differences, total conductance or output difference."""
    n, total, out = neuron.n.copy(), neuron.total, neuron.out
    for _ in range(1 + int(rng.integers(2))):
        kind = int(rng.integers(len(n) + KINDS_OF_TOTAL + KINDS_OF_OUTPUT))
        step = int(rng.choice((-1, 1)))
        if kind < len(n):
            n[kind] = min(max(n[kind] + step, -TOP), TOP)
        elif kind < len(n) + KINDS_OF_TOTAL:
            total += 2 * step * (1 + int(rng.integers(4)))
        else:
            out = min(max(out + step, -TOP), TOP)
    return n, fitting_total(n, total), out
