"""What bit lines carry: full-range, correlated and realistic voltages, and column sums of random cells and inputs."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pimc_backends.neural_pim.peripherals.technology import FULL_SCALE
from pimc_isa.peripherals import NnsaDesign

__all__ = ["LARGEST", "Order", "column_sums", "full_range_sums", "ideal_volts", "nnsa_inputs", "sums_over"]

Array = np.ndarray
#: What a network is trained for: low slice first, the same with four times the gain, or high slice first.
Order = Literal["lsb", "gain", "msb"]

ROWS = 128
#: Largest column sum: 128 rows, 4-bit inputs, 1-bit cells.
LARGEST = ROWS * 15


def nnsa_inputs(order: Order, count: int, rng: np.random.Generator) -> Array:
    """[count, 9] volts: eight bit lines and the held value.

    A quarter independent over the full range, half correlated over the full range, a quarter realistic (each sample
    Gaussian with its own size, 2 to 40 percent of the full scale). With gain 4 the bit lines carry a quarter of that.
    """
    quarter, half = count // 4, count // 2
    full = rng.uniform(-1, 1, (quarter, 9))
    along = rng.uniform(-1, 1, (half, 1)) + 0.2 * rng.standard_normal((half, 9))
    rest = count - quarter - half
    size = 0.02 * np.exp(np.log(20) * rng.uniform(size=(rest, 1)))
    x = np.clip(np.concatenate([full, along, size * rng.standard_normal((rest, 9))]), -1, 1)
    if order == "msb":  # the high slice finds nothing held; the low slice is driven at a sixteenth
        second = rng.uniform(size=count) < 0.5
        x[:, :8] *= np.where(second, 1 / 16, 1.0)[:, None]
        x[:, 8] *= np.where(second, 0.95, 0.0)
    if order == "gain":
        x[:, :8] *= 0.25
        bits = 2.0 ** np.arange(8) / 68
        x[:, :8] *= np.minimum(1, 0.93 / np.maximum(np.abs(x[:, :8] @ bits), 1e-9))[:, None]
    return np.asarray(FULL_SCALE * x)


def column_sums(positions: int, outputs: int, rng: np.random.Generator, weight_scale: float = 30.0) -> Array:
    """Realistic i64 [positions, 2, 8, outputs]: activations like those after a ReLU, weights Gaussian, 128 rows."""
    x = np.clip(np.abs(40 * rng.standard_normal((positions, ROWS))), 0, 255).astype(np.int64)
    w = np.clip(np.rint(weight_scale * rng.standard_normal((ROWS, outputs))), -127, 127).astype(np.int64)
    cells = np.stack([(np.abs(w) >> j & 1) * np.sign(w) for j in range(8)])
    slices = np.stack([x & 15, x >> 4])
    return np.asarray(np.einsum("ipr,jro->pijo", slices, cells, optimize=True))


def full_range_sums(values: Array, rng: np.random.Generator, spread: float = 0.2) -> Array:
    """i64 [len(values), 2, 8, 1] whose dot products are about ``values`` (-1..1) of the largest possible one.

    Every bit line of both slices lies near its share, with a random ``spread``, within what 128 rows can give.
    """
    noise = spread * rng.standard_normal((len(values), 2, 8, 1))
    return np.rint(LARGEST * np.clip(values[:, None, None, None] + noise, -1, 1)).astype(np.int64)


def sums_over(fold: NnsaDesign, v_max: float, count: int, rng: np.random.Generator) -> tuple[Array, float]:
    """Column sums [count, 2, 8, 1] whose results use a converter range, and the volts per unit of a column sum.

    The largest range gets sums that fill it; the others get realistic sums, amplified until their standard deviation
    is a third of the range or a bit line would clip (4 standard deviations).
    """
    if v_max == FULL_SCALE:
        return full_range_sums(rng.uniform(-1, 1, count), rng), FULL_SCALE / LARGEST
    p = column_sums(1 + count // 64, 64, rng).transpose(0, 3, 1, 2).reshape(-1, 2, 8, 1)[:count]
    result = ideal_volts(fold, p, 1.0)
    volts = min(v_max / 3 / float(result.std()), FULL_SCALE / (4 * float(p.std(axis=(0, 3)).max())))
    return p, volts


def ideal_volts(fold: NnsaDesign, p: Array, volts: float) -> Array:
    """What the exact recursion gives for two slices of column sums [n, 2, 8, outputs]; low slice first."""
    line = np.einsum("pijo,j->pio", p.astype(np.float64) * volts, 2.0 ** np.arange(8)) * fold.line
    return np.asarray(line[:, 0] / 16 + line[:, 1])
