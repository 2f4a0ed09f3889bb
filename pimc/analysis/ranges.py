"""Converter ranges from calibration: what a layer's partial sums are, and which full scale hurts its outputs least.

Source: Neural-PIM (arXiv 2201.12861), section 4.2: three converters with V_max = 0.5, 0.25 and 0.125 of VDD, of which
each layer uses one. The gain is ours: most layers' sums stay far below the smallest range. It raises the bit lines'
voltages (conductances are scaled), so it ends where a bit line leaves the sample-and-holds' range. For such layers
there is a second NNS+A, with four times the gain: behind it the two smaller converters act as ranges of 0.0625 and
0.03125.

A ranged conversion turns the exact sum v of one row block (in units of the integer dot product) into
``code = clip(floor(v / step + 1/2), lo, hi)``. Codes are signed two's complement numbers of the differential output
(W+ columns minus W- columns), before bias, zero point and ReLU; how a negative sum is coded the paper does not say, so
this is ours too. ``hi * step`` is the full scale ``theoretical * v_max / gain``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "LINE_LIMIT",
    "MODES",
    "RANGES",
    "V_MAX",
    "ConverterLimits",
    "Observed",
    "RangePlan",
    "block_sums",
    "choose",
    "convert",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

#: Full scales of the three converters as parts of VDD, the theoretical full swing.
V_MAX = (0.5, 0.25, 0.125)
#: All ranges, referred to the NNS+A's usual gain: the last two are 0.25 and 0.125 behind the NNS+A of gain 4.
RANGES = (*V_MAX, 0.0625, 0.03125)
#: Ways to choose a layer's range from calibration data.
MODES = ("gain", "power2", "published")
#: Part of VDD that a bit line may reach: the input range of the sample-and-holds (section 4.1).
LINE_LIMIT = 0.5
#: Full scales that are tried, as parts of the largest sum: below 1 a few sums clip and all others are finer.
_PARTS = tuple(float(part) for part in np.geomspace(1.0, 0.15, 15))


@dataclass(frozen=True)
class ConverterLimits:
    """One signed conversion of a whole dot product: codes ``lo``..``hi``.

    ``theoretical``: the largest sum of one row block, that is (all rows) x (largest input) x (largest weight).
    ``line``: the largest sum of one bit line in one array read.
    """

    lo: int
    hi: int
    theoretical: int
    line: int

    def step(self, v_max: float, gain: float) -> float:
        """What one code counts, in units of the integer dot product."""
        return self.theoretical * v_max / gain / self.hi


@dataclass(frozen=True)
class Observed:
    """What calibration showed of a layer.

    ``sums`` float32 [windows, row blocks, outputs]: exact partial sums of sampled windows; ``largest`` of all windows
    that were seen; ``line`` the largest sum on one bit line. ``multiplier`` [outputs] is what one unit of a layer's sum
    counts in steps of its output.
    """

    sums: Floats
    largest: int
    line: int
    multiplier: npt.NDArray[np.float64]


@dataclass(frozen=True)
class RangePlan:
    """The range of one layer, and what it costs on the calibration data.

    ``largest`` partial sum; ``step`` of one code; ``clipped`` part of the conversions; ``sqnr_db`` of the layer's sums
    (infinite if exact); ``error_lsb``: root mean square error of the layer's output in steps of its 8-bit tensor,
    before rounding and clipping; ``line_over``: some bit line exceeds `LINE_LIMIT`.
    """

    layer: str
    largest: int
    v_max: float
    gain: float
    step: float
    clipped: float
    sqnr_db: float
    error_lsb: float
    line_over: bool = False

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.layer}: largest sum {self.largest}, v_max {self.v_max:g}, gain {self.gain:.4g}, "
            f"step {self.step:.6g}, clipped {100 * self.clipped:.3f} %, SQNR {self.sqnr_db:.1f} dB, "
            f"error {self.error_lsb:.3f} LSB{', a bit line is over its range' if self.line_over else ''}"
        )


def block_sums(windows: Array, weights: Array, block_rows: int) -> Floats:
    """Exact partial sums [windows, blocks, groups * n] of ``windows`` [m, groups, k] and ``weights`` [groups, k, n].

    float32 holds them exactly: 8-bit products of up to 512 rows stay below 2**24. Raises ValueError for taller blocks.
    """
    if block_rows > 512:
        raise ValueError(f"row blocks of {block_rows} rows: float32 is exact up to 512")
    m, groups, k = windows.shape
    n = weights.shape[2]
    x = np.ascontiguousarray(windows.transpose(1, 0, 2), np.float32)
    w = weights.astype(np.float32)
    firsts = range(0, k, block_rows)
    out = np.empty((len(firsts), groups, m, n), np.float32)
    for block, first in enumerate(firsts):
        np.matmul(x[:, :, first : first + block_rows], w[:, first : first + block_rows], out=out[block])
    return np.ascontiguousarray(out.transpose(2, 0, 1, 3)).reshape(m, len(firsts), groups * n)


def convert(sums: Array, step: float, lo: int, hi: int) -> npt.NDArray[np.float64]:
    """Whole sums [windows, outputs] after every row block's partial sum was converted: integers in float64.

    The codes of a layer's row blocks are added and multiplied by the step once, digitally.
    """
    codes = np.clip(np.floor(sums / np.float64(step) + 0.5), lo, hi)
    return np.asarray(np.floor(step * codes.sum(axis=1, dtype=np.float64) + 0.5))


def choose(layer: str, seen: Observed, converter: ConverterLimits, mode: str) -> RangePlan:
    """The plan of a layer whose sums have the smallest mean square error on the calibration data.

    Errors count in steps of the output, before the output's own clipping (ReLU): what that hides on the calibration
    images it need not hide on others, and a sum that clips far from its value there is a wrong answer elsewhere.
    'gain': full scales at or below the largest sum, with whole steps. 'power2': gains that are powers of two.
    'published': the three ranges, gain 1. Ties go to the larger full scale. Raises ValueError for another mode.
    """
    if mode not in MODES:
        raise ValueError(f"no range mode {mode!r}; modes are {', '.join(MODES)}")
    plans = [_plan(layer, seen, converter, v_max, gain) for v_max, gain in _candidates(seen, converter, mode)]
    return min(plans, key=lambda plan: (plan.error_lsb, -plan.step))


def _candidates(seen: Observed, converter: ConverterLimits, mode: str) -> Iterator[tuple[float, float]]:
    """Pairs of range and gain to try, largest full scale first."""
    if mode == "published":
        yield from ((v_max, 1.0) for v_max in V_MAX)
        return
    largest = max(1, seen.largest)
    limit = LINE_LIMIT * converter.line / max(1, seen.line)
    if mode == "power2":
        first = math.floor(math.log2(converter.theoretical / largest))
        for exponent in range(first, first + 4):  # the smallest full scale that holds all sums, and finer ones
            yield _split(2.0**-exponent, limit)
        return
    steps = {max(1, math.ceil(part * largest / converter.hi)) for part in _PARTS}
    for step in sorted(steps, reverse=True):
        yield _split(step * converter.hi / converter.theoretical, limit)


def _split(part: float, gain_limit: float) -> tuple[float, float]:
    """Range and gain for a full scale of ``part`` of the theoretical one.

    The largest range for which no bit line leaves its own range: noise of the circuits counts least there.
    """
    pairs = [(v_max, v_max / part) for v_max in RANGES]
    return next((pair for pair in pairs if pair[1] <= gain_limit), pairs[-1])


def _plan(layer: str, seen: Observed, converter: ConverterLimits, v_max: float, gain: float) -> RangePlan:
    step = converter.step(v_max, gain)
    exact = seen.sums.sum(axis=1, dtype=np.float64)
    got = convert(seen.sums, step, converter.lo, converter.hi)
    clipped = np.mean((seen.sums > (converter.hi + 0.5) * step) | (seen.sums < (converter.lo - 0.5) * step))
    error = (got - exact) * seen.multiplier
    return RangePlan(
        layer,
        seen.largest,
        v_max,
        gain,
        step,
        float(clipped),
        _decibels(float(np.mean(exact**2)), float(np.mean((got - exact) ** 2))),
        float(np.sqrt(np.mean(error**2))),
        gain * seen.line > LINE_LIMIT * converter.line,
    )


def _decibels(signal: float, noise: float) -> float:
    return 10 * math.log10(signal / noise) if signal and noise else math.inf
