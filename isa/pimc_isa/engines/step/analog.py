"""Hardware that is not ideal: which draws a run makes, how large they are, and what they are added to.

The manual's section "Noise" says the same in prose. Trained networks are in ``trained``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log, sqrt

import numpy as np

from pimc_isa.engines.noise import DeviceNoise, Noise
from pimc_isa.engines.step.draws import COLUMNS, LUMPED, SUMS, key_of, normal, position
from pimc_isa.engines.step.flows import Reading, StepConverter, StepGroup
from pimc_isa.errors import RunError
from pimc_isa.operands import Group, Range, Weights
from pimc_isa.program import Program

__all__ = ["Hardware", "Swings", "converter_range"]

Array = np.ndarray

#: Nothing varies and nothing is noisy.
QUIET = DeviceNoise(0.0, 0.0, 0.0, 0.0)
#: Full scales of trained converters as parts of the supply, over the gain of their NNS+A; the nearest by ratio counts.
RANGES = (0.5, 0.25, 0.125, 0.0625, 0.03125)
#: Which trained NNADC makes each range.
CONVERTERS = (0, 1, 2, 1, 2)


def converter_range(v_max: float) -> int:
    """The number of the range that is nearest to a group's."""
    return min(range(len(RANGES)), key=lambda n: abs(log(max(v_max, 1e-9) / RANGES[n])))


@dataclass
class Lumped:
    """Lumped noise: the largest activation of a layer in an image, which only the end of the layer tells.

    So the stream is run again with what the last run found, until it finds the same. ``known`` and ``found`` are by
    name of the requant's data and image.
    """

    sinad_db: float
    known: dict[tuple[str, int], float] = field(default_factory=dict)
    found: dict[tuple[str, int], float] = field(default_factory=dict)

    def again(self) -> bool:
        """After a run: whether another one is needed."""
        changed = self.found != self.known
        self.known, self.found = self.found, {}
        return changed


@dataclass(frozen=True)
class Hardware:
    """One chip. ``kind`` of the peripherals behind ranged conversions: ideal, fitted or trained; ``first`` image.

    ``columns``: how far sums of columns stray, as a part of the root of what is added in them; None: not in that way.
    """

    program: Program
    seed: int = 0
    noise: DeviceNoise = QUIET
    kind: str = "ideal"
    first: int = 0
    lumped: Lumped | None = None
    columns: float | None = None
    drawn: dict[object, object] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, program: Program, noise: Noise | None, first: int = 0) -> Hardware:
        """The chip that a program and a noise ask for; the first image has number ``first``."""
        kind = program.meta.get("peripherals", "ideal")
        device = noise.device if noise is not None and noise.device is not None else QUIET
        lumped = Lumped(noise.sinad_db) if noise is not None and noise.sinad_db is not None else None
        columns = noise.column if noise is not None else None
        if columns is not None and kind != "ideal":
            raise RunError(f"noise of columns with {kind} peripherals has no meaning\ncompile with peripherals ideal")
        return cls(program, noise.seed if noise is not None else 0, device, kind, first, lumped, columns)

    def lump(
        self, name: str, sums: Array, scale: tuple[Array, Array], at: tuple[int, int], cols: range, chans: range
    ) -> Array:
        """I32 sums [columns, channels] of a layer with its lumped noise; ``scale``: multiplier and bias.

        ``at``: image and row. ``name``: the requant's data.
        """
        if self.lumped is None:
            return sums
        multiplier, bias = (part.astype(np.float64) for part in scale)
        key = name, at[0]
        largest = float(np.abs((sums + bias) * multiplier).max())
        self.lumped.found[key] = max(self.lumped.found.get(key, 0.0), largest)
        sigma = self.lumped.known.get(key, 0.0) / 10.0 ** (self.lumped.sinad_db / 20) / multiplier
        numbers = np.array([[(at[1] << 16 | col) << 20 | chan for chan in chans] for col in cols], np.uint64)
        noisy = np.rint(sums + sigma * normal(key_of(self.seed, LUMPED, name, self.first + at[0]), numbers))
        return np.asarray(np.minimum(np.maximum(noisy, -(2.0**31)), 2.0**31 - 1), np.int32)

    @property
    def networks(self) -> bool:
        """Whether trained networks stand behind ranged conversions."""
        return self.kind == "trained"

    def numbers(self, weights: Weights, group: int, n: Range, at: tuple[int, int, range]) -> Array:
        """Numbers [positions, n] of results: the position's times all outputs of the layer, plus the output's."""
        image, row, cols = at
        outputs = [group * weights.n + output for output in range(*n)]
        every = [position(self.first + image, row, column) * weights.groups * weights.n for column in cols]
        return np.array([[number + output for output in outputs] for number in every], np.uint64)

    def read_noise(self, swings: Swings, block: int, i: int, j: int, side: int, which: Array) -> Array | float:
        """Noise of one read and sample of a column, where every one has its own draw."""
        sigma = sqrt(self.noise.read**2 + self.noise.hold**2) * swings.column(i, j)
        if not sigma:
            return 0.0
        draws = normal(key_of(self.seed, SUMS, swings.weights.name, block, i, j, side, *swings.stream), which)
        return np.asarray(sigma * draws)

    def column_noise(
        self, swings: Swings, block: int, read: tuple[int, int, int, bool], added: Array, which: Array
    ) -> Array:
        """Noise of a sum that is sampled, in which ``added`` is added up whatever its sign.

        ``read``: input slice, weight slice, side, and whether a flag asked for it.
        """
        i, j, side, flagged = read
        key = key_of(self.seed, COLUMNS, swings.weights.name, block, i, j, side, int(flagged), *swings.stream)
        return np.asarray((self.columns or 0.0) * np.sqrt(added) * normal(key, which))

    def disturbed(self, u: Array, c: StepConverter, swings: Swings, block: int, one: float, which: Array) -> Array:
        """Sums in codes ``u`` with the errors of everything in front of the converter: fitted bias, and one draw."""
        sigma = swings.of_sum() / one
        bias, spread = self._fitted(c, u, swings.v_max)
        wide = np.sqrt(sigma**2 + spread * spread)
        if not np.any(wide):
            return np.asarray(u + bias)
        key = key_of(self.seed, SUMS, swings.weights.name, block, *swings.stream)
        return np.asarray(u + bias + wide * normal(key, which))

    def _fitted(self, c: StepConverter, u: Array, v_max: float) -> tuple[Array | float, Array | float]:
        """Bias and deviation in codes, linear between knots that are spread evenly over the converter's range."""
        if self.kind != "fitted" or not c.ranged:
            return 0.0, 0.0
        number = converter_range(v_max)
        volts = float(self.program.tensors[f"peripherals.nnadc{CONVERTERS[number]}.constants"][0])
        lsb = 2 * volts / 256
        curves = self.program.tensors[f"peripherals.errors{number}"].astype(np.float32).astype(np.float64) / lsb
        last = curves.shape[1] - 1
        at = np.minimum(np.maximum(u * (last / 2 / (c.hi + 1)) + last / 2, 0.0), last)
        knot = np.minimum(at.astype(np.int64), last - 1)
        part = at - knot
        bias, spread = (curve[knot] + part * (curve[knot + 1] - curve[knot]) for curve in curves)
        return bias, spread


@dataclass(frozen=True)
class Swings:
    """How large noise is on the crossbars of a group, in units of the dot product.

    ``stream``: the last numbers of its keys (the round, where a group has several).
    """

    weights: Weights
    reading: Reading
    hardware: Hardware
    crossbars: Group
    stream: tuple[int, ...] = ()

    @property
    def v_max(self) -> float:
        """The group's converter range."""
        return self.crossbars.v_max

    @property
    def one_draw(self) -> bool:
        """Whether one conversion sees the whole sum of a row block: then all noise is one draw on that sum."""
        if len(self.reading.groups) != 1 or self.reading.sides:
            return False
        (group,) = self.reading.groups
        return group.cell is None and not group.finer and self._signed_before_conversion(group)

    def _signed_before_conversion(self, group: StepGroup) -> bool:
        return len(group.pairs) > 1 or not self._part("polarity").any()

    def _part(self, what: str) -> Array:
        """What the group holds of a tensor [groups, blocks, n]."""
        g, height = self.crossbars, self.weights.block_rows
        blocks = slice(g.k[0] // height, -(-g.k[1] // height))
        return self.hardware.program.tensors[f"{self.weights.name}.{what}"][slice(*g.groups), blocks, slice(*g.n)]

    def column(self, i: int, j: int) -> float:
        """Full swing of a column: every row at the largest input and cell; over the gain in front of ranged codes."""
        lo, hi, _ = self.reading.slices[i]
        top = ((1 << hi - lo) - 1) * ((1 << self.weights.slices[j]) - 1)
        ranged = self.reading.converter.ranged
        return self.weights.block_rows * top / (self.crossbars.gain if ranged else 1.0)

    def of_sum(self) -> float:
        """Deviation of the sum that one conversion sees: reads, samples, and the held sum between input slices."""
        noise, (group,) = self.hardware.noise, self.reading.groups
        swings = [(i, self.column(i, j) * 2**power) for i, j, power in group.pairs]
        lines = 2 if self.weights.bipolar else 1
        variance = sum(swing**2 for _, swing in swings) * (noise.read**2 + noise.hold**2) * lines
        for last in sorted({i for i, _ in swings})[:-1]:
            variance += (noise.hold * sum(swing for i, swing in swings if i <= last)) ** 2
        return sqrt(variance)
