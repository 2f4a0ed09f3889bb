"""Training of one NNADC range: the comparators of a stage, then its residue network.

Inputs are noisy outputs of drawn NNS+As, labels come from the ideal sums (Neural-PIM section 4.2), so a comparator
learns to undo what its input does wrong on average. The residue's task depends on the decisions of drawn comparators.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pimc_backends.neural_pim.peripherals import technology
from pimc_backends.neural_pim.peripherals.cells import columns
from pimc_backends.neural_pim.peripherals.network import TrainedNet, Variation, fit
from pimc_backends.neural_pim.peripherals.signals import nnsa_inputs
from pimc_isa.peripherals import NnadcDesign, NnsaDesign, nnsa
from pimc_isa.peripherals.nnadc import COMPARATORS, RESIDUE_GAIN

__all__ = ["train_nnadc"]

Array = np.ndarray
NEURONS = 12
#: Thresholds of the comparators as parts of the range; the levels between them are 2/7 apart.
THRESHOLDS = np.array([-5, -3, -1, 1, 3, 5]) / 7
#: Slope of the soft decision used only for training, per part of the range.
SOFTNESS = 40.0


@dataclass(frozen=True)
class NnadcEffort:
    """How long to train each of the two networks."""

    steps: int


FULL = NnadcEffort(1500)
QUICK = NnadcEffort(150)


def train_nnadc(v_max: float, fold: NnsaDesign, seed: int, effort: NnadcEffort = FULL) -> NnadcDesign:
    """Train the networks of one range on the outputs of ``fold``."""
    generator = torch.Generator().manual_seed(seed)
    pairs = _pairs(fold, v_max, np.random.default_rng(seed))
    curves = technology.inverters(technology.NNADC_GAIN)
    sub, residue = _sub_start(), _residue_start()

    def sub_loss(step: int, quantise: bool) -> Tensor:
        volts, truth = _batch(pairs, 512, generator)
        x = torch.stack([volts, torch.full_like(volts, v_max)], 1)
        sums = sub(x, Variation(curves, 4, generator), quantise)
        label = (truth[:, None] / v_max > torch.tensor(THRESHOLDS, dtype=torch.float32)).float()
        logits = SOFTNESS * sums / v_max
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, label.expand_as(logits))

    fit(sub, sub_loss, effort.steps)

    def residue_loss(step: int, quantise: bool) -> Tensor:
        volts, truth = _batch(pairs, 512, generator)
        variation = Variation(curves, 4, generator)
        reference = torch.full_like(volts, v_max)
        with torch.no_grad():
            bits = sub(torch.stack([volts, reference], 1), variation, True).sign()
        switched = torch.cat([volts.expand(4, -1)[..., None], v_max * bits], 2)
        x = torch.cat([switched, reference.expand(4, -1)[..., None]], 2)
        y = residue(x, variation, quantise)[..., 0]
        wanted = RESIDUE_GAIN * (truth - v_max * bits.sum(2) / 7)
        return _unexplained(y, wanted, bits) / v_max**2 + 0.05 * (((y - wanted) / v_max) ** 2).mean()

    fit(residue, residue_loss, effort.steps)
    a, b = sub.integers(), residue.integers()
    return NnadcDesign(
        v_max,
        columns(a.hidden, a.hidden_totals),
        columns(a.output, a.output_totals),
        columns(b.hidden, b.hidden_totals),
        columns(b.output, b.output_totals),
        curves,
        technology.SIGMA,
    )


def _unexplained(y: Tensor, wanted: Tensor, bits: Tensor) -> Tensor:
    """Residue error that digital weights cannot remove: what is left of ``wanted`` after y and the decisions."""
    design = torch.cat([y[..., None], bits, torch.ones_like(y)[..., None]], 2)
    normal = design.transpose(1, 2) @ design + 1e-4 * torch.eye(design.shape[2])
    weights = torch.linalg.solve(normal, design.transpose(1, 2) @ wanted[..., None])
    return ((wanted - (design @ weights)[..., 0]) ** 2).mean()


def _pairs(fold: NnsaDesign, v_max: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Voltages at the converter and ideal voltages over its range, from drawn devices."""
    volts, ideal = [], []
    for device in range(16):
        x = nnsa_inputs("lsb", 2048, rng)
        truth = fold.ideal(x[:, :8], x[:, 8])
        wanted = rng.uniform(-v_max, v_max, len(x))  # as the range is used: every code equally often
        x = x * np.clip(wanted / np.where(truth == 0, 1, truth), -4, 4)[:, None]
        x = np.clip(x, -technology.FULL_SCALE, technology.FULL_SCALE)
        noisy = x + technology.NOISE * rng.standard_normal(x.shape)
        volts.append(nnsa(fold.draw(2024, device), noisy[:, :8], noisy[:, 8]))
        ideal.append(fold.ideal(x[:, :8], x[:, 8]))
    found = np.concatenate(volts), np.concatenate(ideal)
    inside = np.abs(found[1]) <= v_max
    return torch.tensor(found[0][inside], dtype=torch.float32), torch.tensor(found[1][inside], dtype=torch.float32)


def _batch(pairs: tuple[Tensor, Tensor], count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    pick = torch.randint(len(pairs[0]), (count,), generator=generator)
    return pairs[0][pick], pairs[1][pick]


def _sub_start() -> TrainedNet:
    """Two neurons per comparator that compare the input with a part of the reference."""
    hidden = np.repeat(np.stack([np.full(COMPARATORS, 7.0), -7 * THRESHOLDS], 1), 2, axis=0)
    output = np.kron(np.eye(COMPARATORS), [[6.0, 6.0]])
    return TrainedNet(hidden, np.abs(hidden).sum(1) + 1, output, np.full(COMPARATORS, 14.0))


def _residue_start() -> TrainedNet:
    """Every neuron amplifies input minus level."""
    hidden = np.tile(np.array([7.0] + [-1.0] * COMPARATORS + [0.0]), (NEURONS, 1))
    output = np.full((1, NEURONS), 6.5)
    return TrainedNet(hidden, np.full(NEURONS, 14.0), output, np.full(1, 110.0))
