"""The NNADC: a pipelined converter whose sub-converters and residue circuits are small trained resistive networks.

Source for the task: Neural-PIM (arXiv 2201.12861), section 4.2: 8 bits, three ranges, labels from the ideal sum. The
inside of the converter is not published there; this one is our design:

* five stages; each has a sub-converter ``2 x 12 x 6`` (input and reference pair, six comparators, seven levels) and,
  except the last, a residue network ``8 x 12 x 1`` (input, six switched reference pairs, bias) of gain about 3.5;
* seven levels 2/7 of the range apart, so that a residue uses half of the next stage's range and a wrong comparator
  costs nothing;
* digital weights per comparator, measured once per chip on a ramp (a foreground calibration), add up to the code.

Codes are signed (two's complement, 0 at 0 V): the paper does not say how negative sums are coded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pimc_isa.peripherals.devices import Columns, Inverters, transfer
from pimc_isa.peripherals.randomness import stream_key

__all__ = ["BUCKETS", "COMPARATORS", "RESIDUE_GAIN", "STAGES", "ConverterTable", "NnadcDesign", "ideal_codes", "nnadc"]

Array = np.ndarray
Convert = Callable[[Array], Array]
#: Weights and curves of one stage: sub-converter (hidden, curves, output), then residue (the same).
Stage = tuple[Array, tuple[Array, Array, Array], Array, Array, tuple[Array, Array, Array], Array]

STAGES = 5
COMPARATORS = 6
CODE_BITS = 8
#: Digital weights of the comparators are multiples of this part of the last bit.
WEIGHT_STEP = 1 / 32
#: Points of the calibration ramp, and of the search for the edges (60 per code).
RAMP_POINTS, SEARCH_POINTS = 4096, 1 << 14
#: Ramp and search go this much beyond the range; voltages beyond count as the last one.
MARGIN = 1.08
#: Gain of a residue as designed, from the distance to the nearest level.
RESIDUE_GAIN = 3.5
#: How strongly digital weights stay at the designed ones: decides only those of comparators that hardly ever switch.
PRIOR = 1e-4
BUCKETS = 1024


@dataclass(frozen=True)
class ConverterTable:
    """A fabricated and calibrated converter as the function of one variable that it is.

    ``codes`` i16 [n + 1]; code k applies from ``edges[k - 1]`` up to, not including, ``edges[k]`` (f32 [n], volts,
    ascending). ``first`` i32 [BUCKETS]: where to start looking for each bucket of the range -v_max..v_max.
    """

    v_max: float
    edges: Array
    codes: Array
    first: Array

    @property
    def lsb(self) -> float:
        """Volts of one code."""
        return 2 * self.v_max / (1 << CODE_BITS)

    def thresholds(self) -> Array:
        """float64 [255], volts: the lowest input from which on codes of at least -127, -126, ... 127 appear."""
        low = 1 - (1 << (CODE_BITS - 1))
        reached = np.maximum.accumulate(self.codes)
        steps = np.searchsorted(reached, np.arange(low, -low + 1))
        return np.asarray(np.concatenate([[-np.inf], self.edges.astype(np.float64), [np.inf]])[steps])

    def monotone(self) -> bool:
        """Whether a higher voltage never gives a lower code."""
        return bool((np.diff(self.codes) >= 0).all())


@dataclass(frozen=True)
class NnadcDesign:
    """The trained conductances for one range. ``v_max`` volts; every stage of the pipeline is a copy of the same nets.

    ``sub_hidden`` [12, 2], ``sub_output`` [6, 12], ``residue_hidden`` [12, 8], ``residue_output`` [1, 12].
    """

    v_max: float
    sub_hidden: Columns
    sub_output: Columns
    residue_hidden: Columns
    residue_output: Columns
    inverters: Inverters
    sigma: float

    def nominal(self) -> ConverterTable:
        """The converter as designed, without variation."""
        stage = (
            self.sub_hidden.weights(),
            self.inverters.nominal(12),
            self.sub_output.weights(),
            self.residue_hidden.weights(),
            self.inverters.nominal(12),
            self.residue_output.weights()[0],
        )
        return self._table([stage] * STAGES)

    def draw(self, seed: int, number: int = 0) -> ConverterTable:
        """Converter ``number`` of the chip ``seed``: every weight and neuron of every stage drawn, then calibrated."""
        return self._table([self._stage(stream_key(seed, 0xADC, number, s)) for s in range(STAGES)])

    def _stage(self, stream: int) -> Stage:
        return (
            self.sub_hidden.drawn(self.sigma, stream, 1),
            self.inverters.drawn(12, stream, 2),
            self.sub_output.drawn(self.sigma, stream, 3),
            self.residue_hidden.drawn(self.sigma, stream, 4),
            self.inverters.drawn(12, stream, 5),
            self.residue_output.drawn(self.sigma, stream, 6)[0],
        )

    def _table(self, stages: list[Stage]) -> ConverterTable:
        lsb = 2 * self.v_max / (1 << CODE_BITS)
        ramp = np.linspace(-MARGIN * self.v_max, MARGIN * self.v_max, RAMP_POINTS)
        weights = _calibrate(_bits(ramp, stages, self.v_max), ramp / lsb)

        def convert(volts: Array) -> Array:
            total = weights[0] + _bits(volts, stages, self.v_max) @ weights[1:]
            half = 1 << (CODE_BITS - 1)
            return np.asarray(np.clip(np.floor(total + 0.5), -half, half - 1).astype(np.int16))

        edges, codes = _edges(convert, MARGIN * self.v_max)
        return _bucketed(self.v_max, edges, codes)


def _product(x: list[Array], weights: Array) -> Array:
    """Column outputs [points, outputs], summed in one fixed order on every machine."""
    total = np.zeros((len(x[0]), len(weights)))
    for k, values in enumerate(x):
        total = total + values[:, None] * weights[:, k]
    return total


def _layer(x: list[Array], weights: Array, curves: tuple[Array, Array, Array]) -> list[Array]:
    return list(transfer(_product(x, weights), *curves).T)


def _bits(volts: Array, stages: list[Stage], v_max: float) -> Array:
    """float64 [points, 30]: the decisions (-1 or 1) of all comparators of all stages for each input voltage."""
    found = []
    reference = np.full(len(volts), v_max)
    for number, (sub_hidden, sub_curves, sub_output, hidden, curves, output) in enumerate(stages):
        sums = _product(_layer([volts, reference], sub_hidden, sub_curves), sub_output)
        bits = np.where(sums >= 0, 1.0, -1.0)
        found.append(bits)
        if number + 1 < len(stages):
            volts = _product(_layer([volts, *(v_max * bits).T, reference], hidden, curves), output[None])[:, 0]
    return np.concatenate(found, axis=1)


def _calibrate(bits: Array, target: Array) -> Array:
    """Digital weights [1 + comparators] in codes, offset first: least squares on the ramp, rounded to registers."""
    design = np.concatenate([np.ones((len(bits), 1)), bits], axis=1)
    designed = (1 << (CODE_BITS - 1)) / 7 * RESIDUE_GAIN ** -np.arange(STAGES)
    prior = np.concatenate([[0.0], np.repeat(designed, COMPARATORS)])
    normal = design.T @ design + PRIOR * np.eye(design.shape[1])
    solved = prior + np.linalg.solve(normal, design.T @ (target - design @ prior))
    return np.asarray(np.round(solved / WEIGHT_STEP) * WEIGHT_STEP)


def _edges(convert: Convert, top: float) -> tuple[Array, Array]:
    """Where the code changes, by a search on a grid and bisection. Pieces narrower than 1/60 code may be skipped."""
    grid = np.linspace(-top, top, SEARCH_POINTS)
    codes = convert(grid)
    changes = np.flatnonzero(np.diff(codes))
    low, high, before = grid[changes], grid[changes + 1], codes[changes]
    for _ in range(30):
        middle = (low + high) / 2
        same = convert(middle) == before
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return high.astype(np.float32), np.concatenate([codes[:1], codes[changes + 1]])


def _bucketed(v_max: float, edges: Array, codes: Array) -> ConverterTable:
    """A margin of a quarter bucket keeps float32 rounding of the bucket number harmless."""
    width = 2 * v_max / BUCKETS
    starts = -v_max + width * (np.arange(BUCKETS) - 0.25)
    starts[0] = -np.inf
    return ConverterTable(v_max, edges, codes, np.searchsorted(edges, starts).astype(np.int32))


def ideal_codes(volts: Array, v_max: float) -> Array:
    """The ideal converter: nearest code (halves up), clipped to -128..127; i16."""
    half = 1 << (CODE_BITS - 1)
    return np.asarray(np.clip(np.floor(volts * (half / v_max) + 0.5), -half, half - 1).astype(np.int16))


def nnadc(table: ConverterTable, volts: Array) -> Array:
    """Codes (i16) of ``volts`` (any shape, compared as float32): the reference of the kernel's look-up."""
    return np.asarray(table.codes[np.searchsorted(table.edges, volts.astype(np.float32), side="right")])
