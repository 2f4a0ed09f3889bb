"""Training of the NNS+A: Adam on noisy quantised devices, then a search over single cells on fixed drawn devices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pimc_backends.neural_pim.peripherals import technology
from pimc_backends.neural_pim.peripherals.cells import columns
from pimc_backends.neural_pim.peripherals.measure import nnsa_mse
from pimc_backends.neural_pim.peripherals.network import TrainedNet, Variation, fit
from pimc_backends.neural_pim.peripherals.refine import refine
from pimc_backends.neural_pim.peripherals.signals import Order, nnsa_inputs
from pimc_isa.peripherals import NnsaDesign

__all__ = ["train_nnsa"]

Array = np.ndarray
NEURONS = 12
#: Weights of the held value and of bit 0: 1 / alpha, alpha = 272 (section 4.1, exact form), or 68 for gain 4.
TASKS: dict[Order, tuple[float, float]] = {"lsb": (1 / 16, 1 / 272), "gain": (1 / 16, 1 / 68), "msb": (1.0, 1 / 272)}


@dataclass(frozen=True)
class NnsaEffort:
    """How long to train."""

    steps: int
    moves: int
    starts: int


FULL = NnsaEffort(2500, 30000, 2)
QUICK = NnsaEffort(400, 500, 1)


def train_nnsa(
    order: Order, seed: int, effort: NnsaEffort = FULL, driver: float = technology.DRIVER_GAIN
) -> NnsaDesign:
    """The best of a few starts, measured on devices that neither training nor search has seen.

    ``driver`` is the largest gain of the output driver.
    """
    designs = [_train_once(order, seed + 1000 * start, effort, driver) for start in range(effort.starts)]
    return min(designs, key=partial(_score, order))


def _score(order: Order, design: NnsaDesign) -> float:
    x = nnsa_inputs(order, 4096, np.random.default_rng(12345))
    return nnsa_mse(design, x, seed=777, devices=24)


def _train_once(order: Order, seed: int, effort: NnsaEffort, driver: float) -> NnsaDesign:
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    curves = technology.inverters(technology.AMPLIFYING_GAIN if order == "gain" else technology.NNSA_GAIN)
    fold, line = TASKS[order]
    network = _start(fold, line, float(curves.gain[0]), driver, rng)
    truth = torch.tensor([line * 2.0**j for j in range(8)] + [fold], dtype=torch.float32)

    def loss(step: int, quantise: bool) -> Tensor:
        x = torch.tensor(nnsa_inputs(order, 1024, rng), dtype=torch.float32)
        bias = torch.full((len(x), 1), technology.SUPPLY)
        y = network(torch.cat([x, bias], 1), Variation(curves, 4, generator), quantise)[..., 0]
        residual, gain = _after_trim(y, x @ truth)
        return (residual**2).mean() + 1e-3 * torch.relu(gain / driver - 1).square().mean()

    fit(network, loss, effort.steps)
    weights = np.array([line * 2.0**j for j in range(8)] + [fold])
    best = refine(network.integers(), curves, weights, nnsa_inputs(order, 2048, rng), driver, effort.moves, rng)
    hidden = columns(best.hidden, best.hidden_totals)
    output = columns(best.output, best.output_totals)
    return NnsaDesign(hidden, output, curves, technology.SUPPLY, technology.FULL_SCALE, technology.SIGMA, fold, line)


def _start(fold: float, line: float, gain: float, driver: float, rng: np.random.Generator) -> TrainedNet:
    """Every neuron sees the sum that is wanted, around working points to both sides of the middle.

    With a driver of gain below 1 the whole output swing is in use. Then half the neurons start biased to each side,
    near where the third derivative of the curve changes its sign (0.577 of its half-width): two opposite neurons add up
    to a straight line there. The totals follow from the slope that is left.
    """
    wanted = np.array([line * 2.0**j for j in range(8)] + [fold])
    hidden = 7 * wanted / wanted.max() + 0.3 * rng.standard_normal((NEURONS, 9))
    if driver < 1:
        bias, left = np.where(np.arange(NEURONS) % 2, 6.5, -6.5), (1 - 1 / 3) ** 2
    else:
        bias, left = np.linspace(-2, 2, NEURONS), 0.95
    bias = bias[:, None] + 0.3 * rng.standard_normal((NEURONS, 1))
    output = 6 + 0.3 * rng.standard_normal((1, NEURONS))
    totals = np.full(NEURONS, gain * left * driver * 7 / wanted.max())
    return TrainedNet(np.concatenate([hidden, bias], 1), totals, output, np.full(1, 74.0))


def _after_trim(y: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """What is left when each device's gain and offset are trimmed to the truth, and those gains."""
    y = y - y.mean(1, keepdim=True)
    centred = truth - truth.mean()
    gain = (y * centred).mean(1, keepdim=True) / (y * y).mean(1, keepdim=True)
    return gain * y - centred, gain
