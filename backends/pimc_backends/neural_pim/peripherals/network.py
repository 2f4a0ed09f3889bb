"""Networks of resistive columns and inverters for training: quantised forward, straight-through backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pimc_backends.neural_pim.peripherals import technology
from pimc_backends.neural_pim.peripherals.cells import fitting_total
from pimc_isa.peripherals import Inverters

__all__ = ["Integers", "TrainedNet", "Variation", "fit"]

Array = np.ndarray


@dataclass(frozen=True)
class Integers:
    """A trained two-layer network as integers: differences and total conductances of each layer's columns."""

    hidden: Array
    hidden_totals: Array
    output: Array
    output_totals: Array


class Variation:
    """Random draws of weights, curves and input noise for ``draws`` devices."""

    def __init__(self, curves: Inverters, draws: int, generator: torch.Generator) -> None:
        self.draws, self.generator = draws, generator
        self.curves = [torch.tensor(c, dtype=torch.float32) for c in (curves.gain, curves.offset, curves.rail)]

    def weights(self, w: Tensor) -> Tensor:
        """[draws, *w.shape]: multiplicative log-normal variation."""
        return w * torch.exp(technology.SIGMA * torch.randn(self.draws, *w.shape, generator=self.generator))

    def neurons(self, count: int) -> list[Tensor]:
        """Gain, offset and rail, each [draws, 1, count]."""
        pick = torch.randint(len(self.curves[0]), (self.draws, 1, count), generator=self.generator)
        return [c[pick] for c in self.curves]

    def noise(self, x: Tensor) -> Tensor:
        """Thermal noise on every input: [draws, points, inputs] from inputs without or with draws."""
        shape = (self.draws, *x.shape[-2:])
        return x + technology.NOISE * torch.randn(shape, generator=self.generator)


class TrainedNet(torch.nn.Module):  # type: ignore[misc]  # torch is optional
    """``inputs`` x 12 x ``outputs``; parameters are differences and totals of the columns, as real numbers."""

    def __init__(self, hidden: Array, totals: Array, output: Array, output_totals: Array) -> None:
        super().__init__()
        values = (hidden, totals, output, output_totals)
        tensors = [torch.nn.Parameter(torch.tensor(v, dtype=torch.float32)) for v in values]
        self.hidden, self.totals, self.output, self.output_totals = tensors

    def forward(self, x: Tensor, variation: Variation, quantise: bool) -> Tensor:
        """[draws, points, outputs] from [points, inputs] or [draws, points, inputs]."""
        w1 = variation.weights(_column_weights(self.hidden, self.totals, quantise))
        w2 = variation.weights(_column_weights(self.output, self.output_totals, quantise))
        gain, offset, rail = variation.neurons(w1.shape[1])
        z = (variation.noise(x) @ w1.transpose(1, 2) - offset) * (gain / (1.875 * rail))
        z = z.clamp(-1, 1)
        s = z * z
        return (rail * z * (1.875 + s * (0.375 * s - 1.25))) @ w2.transpose(1, 2)

    def integers(self) -> Integers:
        """Parameters rounded to cells that exist."""
        layers = []
        for n, totals in ((self.hidden, self.totals), (self.output, self.output_totals)):
            rounded = np.rint(np.clip(n.detach().numpy(), -7, 7)).astype(np.int64)
            layers += [rounded, np.array([fitting_total(r, t) for r, t in zip(rounded, totals.tolist(), strict=True)])]
        return Integers(*layers)


def _column_weights(n: Tensor, totals: Tensor, quantise: bool) -> Tensor:
    """Eq. 9 with clipping to what cells can hold; rounding passes its gradient straight through."""
    n = n.clamp(-7, 7)
    if quantise:
        n = n + (n.round() - n).detach()
    used = n.abs().sum(1).detach()
    totals = torch.minimum(torch.maximum(totals, used + 1e-3), 14.0 * n.shape[1] - used)
    if quantise:
        totals = totals + (totals.round() - totals).detach()
    return n / totals[:, None]


def fit(
    network: TrainedNet, loss: Callable[[int, bool], Tensor], steps: int, rate: float = 0.03, total_rate: float = 0.2
) -> None:
    """Adam with a cosine schedule; the first quarter is trained without quantisation. ``loss(step, quantise)``."""
    slow = [network.hidden, network.output]
    groups = [{"params": slow, "lr": rate}, {"params": [network.totals, network.output_totals], "lr": total_rate}]
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        optimiser.zero_grad()
        loss(step, step > steps // 4).backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():  # the periodic clipping of section 4.1
            for n in slow:
                n.clamp_(-7.4, 7.4)
