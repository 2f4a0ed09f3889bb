"""Dot products on hardware that is not ideal: fitted or trained peripherals, and device noise.

Where one conversion sees the whole sum of a row block, noise on reads and holds is one Gaussian on that sum; other
flows are computed pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from math import sqrt

import numpy as np

from pimc_isa.crossbar.cells import Cells, row_blocks
from pimc_isa.crossbar.exactness import flags_of
from pimc_isa.crossbar.inputs import driven
from pimc_isa.engines.dots.model import AnalogModel, check_trained, drawn_parts
from pimc_isa.engines.dots.summed import converts_whole_sums
from pimc_isa.engines.dots.variation import cell_planes, exact_product, narrowest
from pimc_isa.engines.kernels.convert import Converter, converter, scaled
from pimc_isa.engines.kernels.gemm import block_products
from pimc_isa.engines.kernels.noisy import Errors, add_noise, noisy_codes, numbers
from pimc_isa.engines.noise import SUM, DeviceNoise, layer_key
from pimc_isa.errors import ProgramError
from pimc_isa.flow.forms import Block, Conversion, NormalForm, Takes
from pimc_isa.operands import Weights
from pimc_isa.peripherals import Chain, dot_chain

__all__ = ["AnalogLayer", "converted"]

Array = np.ndarray

TAKES = Takes.of("step", "ranged", "cell", "refinement", "unit_conversions", "sides", "input_parts", "zero")
QUIET = DeviceNoise(0.0, 0.0, 0.0, 0.0)
#: Full scales of the trained converters as parts of VDD over the gain of their NNS+A, in the order of their ranges.
RANGES = (0.5, 0.25, 0.125, 0.0625, 0.03125)


class AnalogLayer:
    """One part of a layer. ``first``: absolute convolution group, row and output where the part begins.

    ``held``: numbers that one output of a position needs at work.
    """

    held = 64

    def __init__(
        self,
        cells: Cells,
        weights: Weights,
        form: NormalForm,
        scale: float,
        part: tuple[tuple[int, int, int], tuple[int, ...], float, float],
        model: AnalogModel,
    ) -> None:
        self.cells, self.weights, self.form, self.model = cells, weights, form, model
        self.first, cuts, v_max, self.gain = part
        self.device = model.device or QUIET
        self.scale = scale
        if not TAKES(form):
            unknown = ", ".join(sorted(form.shape.parts - TAKES.parts))
            raise ProgramError(f"weights {weights.name}: noise is not modelled for flows with '{unknown}'")
        conversions = [b.conversion for b in form.blocks if b.conversion is not None]
        self.ranged = next((c for c in conversions if c.ranged), None)
        self.whole = converts_whole_sums(cells, form)
        self.kind = model.kind if self.ranged else "ideal"
        if self.ranged is not None and not scale > 0:
            raise ProgramError(
                f"weights {weights.name}: ranged conversions need a full scale\ngive the group v_max and gain"
            )
        if self.kind != "ideal":
            check_trained(weights, form, self.whole, self.ranged)
        self.range = int(np.argmin([abs(np.log(max(v_max, 1e-9) / r)) for r in RANGES]))
        self.k = cells.codes.shape[1]
        self.ends = {*cuts, self.k}
        self._sums: dict[int, Callable[[Array], list[Array]]] = {}
        self._kept: dict[tuple[int, int], tuple[Array, ...]] = {}
        self._chain: Chain | None = None
        self._stream: tuple[int, ...] = ()

    def of_round(self, number: int) -> AnalogLayer:
        """The same hardware in one round of a position, where every sum has a draw of its own."""
        other = copy(self)
        other._stream = (number,)
        return other

    @property
    def step(self) -> float:
        """What one code counts; 1 where conversions are not ranged."""
        return self.scale / self.ranged.hi if self.ranged else 1.0

    def __call__(self, a: Array, positions: Array) -> Array:
        """i32 [m, groups * n] of window vectors u8 [m, groups, k] at numbered positions (see ``noise``)."""
        results = [self._group(np.ascontiguousarray(a[:, g]), g, positions) for g in range(a.shape[1])]
        return results[0] if len(results) == 1 else np.concatenate(results, axis=1)

    def _group(self, a: Array, g: int, positions: Array) -> Array:
        m, n = len(a), self.cells.codes.shape[2]
        total, codes = np.zeros((m, n), np.int32), np.zeros((m, n), np.int32)
        for number, rows, made in self._blocks(a, g, self._numbers(g, positions)):
            codes += made
            total += self._correction(a[:, rows], g, number)
            if rows.stop in self.ends:
                total += scaled(codes, self.step)
                codes = np.zeros_like(codes)
        return total

    def block_parts(self, a: Array, positions: Array) -> list[tuple[Array, Array]]:
        """Codes and corrections i32 [m, n] of every row block of the only convolution group; nothing is scaled."""
        blocks = self._blocks(np.ascontiguousarray(a[:, 0]), 0, self._numbers(0, positions))
        shape = len(a), self.cells.codes.shape[2]
        return [(made, np.broadcast_to(self._correction(a[:, 0, rows], 0, n), shape)) for n, rows, made in blocks]

    def _numbers(self, g: int, positions: Array) -> Array:
        """The numbers of the results, on which draws depend."""
        outputs, first = self.weights.groups * self.weights.n, (self.first[0] + g) * self.weights.n + self.first[2]
        return numbers(positions, self.cells.codes.shape[2], outputs, first)

    def _blocks(self, a: Array, g: int, which: Array) -> list[tuple[int, slice, Array]]:
        """Codes of every row block."""
        blocks = list(row_blocks(self.k, self.weights.block_rows))
        if self.kind == "trained":
            made = self._trained(a, g, which)
        elif self.whole:
            made = self._whole(a, g, which)
        else:
            made = [self._pairs(a[:, rows], g, number, rows, which) for number, rows in blocks]
        return [(number, rows, codes) for (number, rows), codes in zip(blocks, made, strict=True)]

    def _key(self, number: int, *more: int, use: int = SUM) -> int:
        """The stream of noise on a row block's sums."""
        return layer_key(
            self.model.seed,
            *(use, self.weights.name, self.first[1] // self.weights.block_rows + number),
            *(*more, *self._stream),
        )

    def _planes(self, g: int, rows: slice) -> tuple[Array, ...]:
        first = (self.first[0] + g, self.first[1] + rows.start, self.first[2])
        codes = self.cells.codes[g, rows]
        return cell_planes(codes, self.weights, first, self.device.cell, self.model.seed)

    def _narrow(self, planes: Array, top: int) -> Array:
        """Conductances [..., rows, n or lines], as narrow as sums over the rows with inputs up to ``top`` allow."""
        largest = float(np.abs(planes).sum(axis=-2).max(initial=0)) * top
        return np.asarray(planes, narrowest(largest))

    def _correction(self, x: Array, g: int, number: int) -> Array | int:
        """The centre times the sum of inputs; a unit column is taken as free of noise."""
        centre, total = self.cells.centre[g, number].astype(np.int64), np.zeros(len(x), np.int64)
        if not centre.any():
            return 0
        slices = driven(x.astype(np.int64), self.form)
        for i, c in enumerate(self.form.unit_conversions):
            part = slices[i].sum(axis=1)
            part = part if c is None else np.clip((part + c.step // 2) // c.step * c.step, c.lo, c.hi)
            total += self.form.sign(i) * (part << self.form.input_slices[i][0])
        return np.asarray((total[:, None] * centre).astype(np.int32))

    # ---- one conversion of the whole sum ----

    def _whole(self, a: Array, g: int, which: Array) -> list[Array]:
        conversion = self.form.blocks[0].conversion
        assert conversion is not None
        c, errors = converter(conversion, self.scale), self._errors()
        result = []
        for number, v in enumerate(self._products(g)(a)):
            codes = noisy_codes(v.astype(np.float64), c, errors, self._key(number), which)
            result.append(codes if conversion.ranged else codes * conversion.step)
        return result

    def _products(self, g: int) -> Callable[[Array], list[Array]]:
        """Sums of every row block: integer products, or exact ones of conductances where cells vary."""
        if g not in self._sums:
            rows = [r for _, r in row_blocks(self.k, self.weights.block_rows)]
            w = [self._effective(g, number, r) for number, r in enumerate(rows)]
            if self.device.cell:
                self._sums[g] = lambda a: [exact_product(a[:, r], part) for r, part in zip(rows, w, strict=True)]
            else:
                self._sums[g] = block_products(np.concatenate(w).astype(np.int32), rows)
        return self._sums[g]

    def _effective(self, g: int, number: int, rows: slice) -> Array:
        """float64 [rows, n]: what one unit of an input adds to the sum."""
        planes = self._planes(g, rows)
        both = planes[0] - planes[1] if len(planes) > 1 else planes[0]
        polarity = self.cells.polarity[g, number].astype(np.int64)
        signs = np.array([(1 - 2 * (polarity >> j & 1)) << shift for j, shift in enumerate(self.form.weight_shifts)])
        return np.asarray((both * signs[:, None]).sum(axis=0))

    def _errors(self) -> Errors:
        sigma = self._sum_sigma(self.form.blocks[0]) / self._code()
        if self.kind == "ideal":
            return Errors(sigma, np.zeros(2), np.zeros(2))
        assert self.model.peripherals is not None
        fitted = self.model.peripherals.errors[self.range]
        lsb = 2 * self.model.peripherals.parts(self.range)[1].v_max / 256
        return Errors(sigma, fitted.bias.astype(np.float64) / lsb, fitted.sigma.astype(np.float64) / lsb)

    def _code(self) -> float:
        conversion = self.form.blocks[0].conversion
        return self.step if self.ranged else float(conversion.step if conversion else 1)

    def _column_swing(self, i: int, j: int) -> float:
        """The largest sum of one column in one read, by the gain in front of ranged conversions."""
        lo, hi = self.form.input_slices[i]
        top = ((1 << (hi - lo)) - 1) * ((1 << self.weights.slices[j]) - 1)
        return self.weights.block_rows * top / (self.gain if self.ranged else 1.0)

    def _sum_sigma(self, block: Block) -> float:
        """Noise of a block's sum: of every read and sample, and of the held sum between input slices."""
        d = self.device
        weighed = [(i, self._column_swing(i, j) * 2**e) for (i, j), e in zip(block.pairs, block.exponents, strict=True)]
        variance = sum(w**2 for _, w in weighed) * (d.read**2 + d.hold**2) * (2 if self.weights.bipolar else 1)
        for last in sorted({i for i, _ in weighed})[:-1]:
            variance += (d.hold * sum(w for i, w in weighed if i <= last)) ** 2
        return sqrt(variance)

    # ---- trained networks ----

    def _trained(self, a: Array, g: int, which: Array) -> list[Array]:
        slices = np.stack([a >> lo & ((1 << (hi - lo)) - 1) for lo, hi in self.form.input_slices], axis=1)
        chain, n = self._drawn(), self.cells.codes.shape[2]
        lines = len(self.weights.slices)
        result = []
        for number, p in enumerate(self._lines(g)(slices.reshape(-1, self.k))):
            columns = p.reshape(len(a), slices.shape[1], lines, n)
            if self.device.read or self.device.hold:
                columns = self._read(columns, number, which)
            result.append(dot_chain(columns, chain).astype(np.int32))
        return result

    def _lines(self, g: int) -> Callable[[Array], list[Array]]:
        """Sums of every bit-line pair [m, lines * n] of each row block."""
        if g not in self._sums:
            rows = [r for _, r in row_blocks(self.k, self.weights.block_rows)]
            w = []
            for r in rows:
                planes = self._planes(g, r)
                both = planes[0] - planes[1] if len(planes) > 1 else planes[0]
                w.append(np.ascontiguousarray(both.transpose(1, 0, 2)).reshape(both.shape[1], -1))
            if self.device.cell:
                parts = [(r, self._narrow(part, 15)) for r, part in zip(rows, w, strict=True)]
                self._sums[g] = lambda a: [exact_product(a[:, r], p).astype(np.float32) for r, p in parts]
            else:
                self._sums[g] = block_products(np.concatenate(w).astype(np.int8), rows)
        return self._sums[g]

    def _read(self, columns: Array, number: int, which: Array) -> Array:
        """Columns with the noise of every read and sample."""
        out = columns.astype(np.float32)
        sigma = sqrt(2 * (self.device.read**2 + self.device.hold**2))
        for i, j in np.ndindex(out.shape[1], out.shape[2]):
            add_noise(out[:, i, j], sigma * self._column_swing(i, j), self._key(number, i, j), which)
        return out

    def _drawn(self) -> Chain:
        if self._chain is None:
            assert self.model.peripherals is not None
            volts = self.model.peripherals.volts(1, self.range, len(self.form.input_slices)) / self.step
            seed = layer_key(self.model.seed, 0, self.weights.name) if self.device.peripherals else None
            parts, v_max = drawn_parts(self.model.peripherals, self.range, seed)
            self._chain = Chain("trained", 1, v_max, volts, len(self.form.input_slices), *parts)
        return self._chain

    # ---- pair by pair ----

    def _pairs(self, x: Array, g: int, number: int, rows: slice, which: Array) -> Array:
        """Codes (or values) of one row block, every pair's sum on its own."""
        read = self._columns(x, g, number, rows)
        total = np.zeros(which.shape, np.int64)
        for block in self.form.blocks:
            for sides in self._sides(read):
                code = self.form.sign(block.pairs[0][0]) * self._block(block, read, sides, number, which)
                total += -code if self.form.sides and sides[0] else code
        return total.astype(np.int32)

    def _columns(self, x: Array, g: int, number: int, rows: slice) -> _Columns:
        if (g, number) not in self._kept:
            top = max((1 << (hi - lo)) - 1 for lo, hi in self.form.input_slices)
            self._kept[g, number] = tuple(self._narrow(plane, top) for plane in self._planes(g, rows))
        slices = driven(x, self.form)
        polarity = self.cells.polarity[g, number].astype(np.int64)
        signs = [1 - 2 * (polarity >> j & 1) for j in range(len(self.weights.slices))]
        return _Columns(slices, self._kept[g, number], signs)

    def _sides(self, read: _Columns) -> list[list[int]]:
        """What is converted together."""
        sides = list(range(len(read.planes)))
        return [[s] for s in sides] if self.form.sides else [sides]

    def _block(self, block: Block, read: _Columns, sides: list[int], number: int, which: Array) -> Array:
        """What a block of pairs counts; its refinement, whose reads are others, where it is flagged."""
        value = self._value(block, read, sides, number, which)
        code = value << block.shift
        code = np.asarray(read.signs[block.pairs[0][1]] * code if len(block.pairs) == 1 else code)
        flags = flags_of(block, value)
        if flags is None:
            return code
        finer = sum(self._block(b, read, sides, number, which) for b in block.refinement)
        return np.where(flags, finer, code)

    def _value(self, block: Block, read: _Columns, sides: list[int], number: int, which: Array) -> Array:
        """What the conversion of a block gives."""
        alone, d = len(block.pairs) == 1, self.device
        held = np.zeros(which.shape)
        for (i, j), exponent in zip(block.pairs, block.exponents, strict=True):
            for s in sides:
                p = exact_product(read.slices[i], read.planes[s][j]).astype(np.float64)
                sigma = sqrt(d.read**2 + d.hold**2) * self._column_swing(i, j)
                if sigma:
                    add_noise(p, sigma, self._key(number, i, j, s), which)
                p = converted(p, block.cell, 0.0) * (-1 if s and not self.form.sides else 1)
                held += (p if alone else read.signs[j] * p) * 2**exponent
        return np.asarray(np.rint(converted(held, block.conversion, self.scale)).astype(np.int64))

    def flags(self, a: Array, positions: Array) -> Array:
        """As ``exactness.guarded_flags``, of window vectors u8 [m, groups, k] at numbered positions."""
        n, blocks = self.cells.codes.shape[2], list(row_blocks(self.k, self.weights.block_rows))
        made = np.zeros((len(self.form.blocks), len(blocks), len(a), a.shape[1], n), np.int32)
        for g in range(a.shape[1]):
            which = self._numbers(g, positions)
            for number, rows in blocks:
                for b, flags in self._flags(np.ascontiguousarray(a[:, g, rows]), g, number, rows, which):
                    made[b, number, :, g] += flags
        return made

    def _flags(self, x: Array, g: int, number: int, rows: slice, which: Array) -> Iterator[tuple[int, Array]]:
        """Where the guarded blocks of one row block gave an end code, with their numbers."""
        read = self._columns(x, g, number, rows)
        for b, block in enumerate(self.form.blocks):
            for sides in self._sides(read) if block.refinement else []:
                flags = flags_of(block, self._value(block, read, sides, number, which))
                if flags is not None:
                    yield b, flags


@dataclass(frozen=True)
class _Columns:
    """One row block at work: input slices, conductances by side and weight slice, signs by weight slice."""

    slices: list[Array]
    planes: tuple[Array, ...]
    signs: list[Array]


def converted(v: Array, conversion: Conversion | None, scale: float) -> Array:
    """Real sums as a conversion gives them: codes where it is ranged, else values."""
    if conversion is None:
        return v
    c: Converter = converter(conversion, scale)
    return c.codes(v) * (1 if conversion.ranged else conversion.step)
