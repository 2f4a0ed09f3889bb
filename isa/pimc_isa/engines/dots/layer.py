"""Dot products of a layer: which weights, whether conversions are proved exact, and the kernel that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pimc_isa.crossbar.cells import Cells, decode
from pimc_isa.crossbar.exactness import conversions_exact, full_scale, sliced_dot
from pimc_isa.engines.dots.analog import AnalogLayer
from pimc_isa.engines.dots.columns import ColumnLayer
from pimc_isa.engines.dots.counted import CountedProduct
from pimc_isa.engines.dots.model import AnalogModel
from pimc_isa.engines.dots.rounds import RoundsProduct
from pimc_isa.engines.dots.summed import InputSums, SummedProduct, converts_whole_sums
from pimc_isa.engines.kernels.columns import WORD
from pimc_isa.engines.kernels.gemm import Product, product
from pimc_isa.engines.kernels.pointwise import depthwise
from pimc_isa.engines.kernels.popcount import pack
from pimc_isa.engines.kernels.windows import WindowGeometry, gather, is_plain
from pimc_isa.errors import ProgramError
from pimc_isa.flow import NormalForm, normal_form
from pimc_isa.operands import Group, Range, Weights
from pimc_isa.program import Program

__all__ = ["Layer", "LayerPart", "part_channels"]

Array = np.ndarray


@dataclass(frozen=True)
class LayerPart(Group):
    """A part of a layer's weights: a crossbar group whatever its name and copies.

    ``cuts``: rows where another crossbar group begins; each rounds its own result.
    """

    cuts: tuple[int, ...] = ()

    @classmethod
    def of(cls, group: Group) -> LayerPart:
        """What a crossbar group holds: all its fields, those of the future too."""
        return cls(**{**vars(group), "name": "", "copies": 1})

    def full_scale(self, program: Program) -> float:
        """The dot product that the end code of a ranged conversion stands for; 0 where nothing is ranged."""
        flow = program.flow[self.flow]
        return full_scale(program.weight[self.weights], flow.input_bits, self.v_max, self.gain)


def part_channels(part: LayerPart, program: Program) -> Range:
    """Absolute output channels of a part. Raises ProgramError if they are not one range."""
    if part.rounds:
        return program.schedule[part.rounds].outputs
    weights, (n0, n1), (g0, g1) = program.weight[part.weights], part.n, part.groups
    if g1 - g0 > 1 and (n0, n1) != (0, weights.n):
        raise ProgramError(f"group of weights {weights.name}: several convolution groups need all outputs of each")
    return g0 * weights.n + n0, (g1 - 1) * weights.n + n1


class Layer:
    """The weights of one part, decoded once, with the kernel its flow's normal form asks for."""

    def __init__(self, program: Program, part: LayerPart, prove: bool = True, model: AnalogModel | None = None) -> None:
        self.part = part
        self.weights = program.weight[part.weights]
        self.cells = _cells(program, self.weights, part)
        self.form: NormalForm = normal_form(program.flow[part.flow]).at(part.zero)
        _check_centre(self.cells, self.weights, self.form)
        self.scale = part.full_scale(program)
        ideal = prove and model is None
        self.exact = ideal and conversions_exact(self.cells, self.weights, self.form, self.scale).holds
        self.groups = part.groups[1] - part.groups[0]
        self.rounds: RoundsProduct | None = None
        if part.rounds:
            self.rounds = RoundsProduct(program, part, self.cells, self.form, self.scale, ideal)
        self.outputs = self.rounds.outputs if self.rounds else self.groups * (part.n[1] - part.n[0])
        self.summed: SummedProduct | None = None
        if ideal and not self.exact and not self.rounds and converts_whole_sums(self.cells, self.form):
            depth = self.cells.codes.shape[1]
            cuts = tuple(cut - part.k[0] for cut in part.cuts)
            self.summed = SummedProduct(
                self.w, depth, self.weights, self.form, self.scale, cuts, self.cells.centre.astype(np.int32)
            )
        self.analog: AnalogLayer | None = None
        if model is not None:
            cuts = tuple(cut - part.k[0] for cut in part.cuts)
            where = (part.groups[0], part.k[0], part.n[0]), cuts, part.v_max, part.gain
            made = AnalogLayer if model.column is None else ColumnLayer
            self.analog = made(self.cells, self.weights, self.form, self.scale, where, model)
        self._kernel: Product | None = None
        self.counted = CountedProduct(self.cells, self.weights, self.form, self.scale, self.sliced)
        self._taps: Array | None = None
        self._lift: Array | None = None

    def w(self) -> Array:
        """Integer weights [groups, k, n] of this part: int8 where they fit. Decoded anew at each call, not kept."""
        if sum(self.weights.slices) <= 8:
            try:
                return decode(self.cells, self.weights, np.int8)
            except ProgramError:  # a centre can lift 8-bit cells beyond int8
                pass
        return decode(self.cells, self.weights)

    def is_depthwise(self, taps: int) -> bool:
        """One input channel and one output channel per convolution group, all rows."""
        one_block = self.summed is not None and len(self.summed.rows) == 1
        return (self.exact or one_block) and self.weights.groups > 1 and self.cells.codes.shape[1:] == (taps, 1)

    @property
    def inputs(self) -> int:
        """Elements of a window's vector, of all convolution groups."""
        return self.rounds.declared.inputs if self.rounds else self.weights.k * self.groups

    def position_bytes(self) -> int:
        """Working memory of one position, apart from its window vector."""
        if self.summed is not None:
            return 4 * self.outputs * (1 + len(self.summed.rows)) // 2
        return 4 * self.outputs * (self.analog.held if self.analog else 1 if self.exact else 16)

    def channels_per_group(self, taps: int) -> int:
        """Input channels of one convolution group."""
        return self.weights.k // taps

    def prepared(self, x: Array, g: WindowGeometry) -> tuple[Array, WindowGeometry]:
        """What ``sums`` wants: the array as it is, or as bit planes where bits are counted."""
        taps = g.kernel[0] * g.kernel[1]
        chans = g.chans[1] - g.chans[0]
        whole = self.part.k == (0, self.weights.k) and self.weights.groups == 1
        other = self.exact or self.summed or self.analog or self.rounds
        if other or not whole or chans % WORD or g.chans != (0, x.shape[3]):
            return x, g
        return (x, g) if self.counted.of_taps(taps, chans) is None else (pack(_padded(x, g)), _unpadded(g))

    def dense(self, a: Array) -> Array:
        """Sums i32 [m, n] of window vectors u8 [m, k], for one convolution group."""
        if self.summed is not None:
            return self.summed.dense(a)
        if not self.exact:
            return self.counted.dense(a)
        if self._kernel is None:
            self._kernel = product(self.w()[0])
        return self.lifted(self._kernel(a))

    def grouped(self, a: Array) -> Array:
        """Sums i32 [m, groups * n] of window vectors u8 [m, groups, k]."""
        if self.summed is not None:
            sums = self.summed.grouped(np.ascontiguousarray(a.transpose(1, 0, 2)))
            return np.ascontiguousarray(sums.transpose(1, 0, 2)).reshape(a.shape[0], -1)
        if not self.exact:
            return self.sliced(a)
        if self._kernel is None:
            self._kernel = product(self.w())
        sums = self._kernel(np.ascontiguousarray(a.transpose(1, 0, 2)))
        return self.lifted(np.ascontiguousarray(sums.transpose(1, 0, 2)).reshape(a.shape[0], -1))

    def lifted(self, sums: Array) -> Array:
        """Products [..., groups * n] of inputs as those of inputs less their zero point, where the form has one."""
        if not self.form.zero:
            return sums
        if self._lift is None:
            self._lift = (self.form.zero * self.w().sum(axis=1, dtype=np.int64)).astype(np.int32).ravel()
        return np.asarray(sums - self._lift)

    def sliced(self, a: Array) -> Array:
        """As ``grouped``, slice by slice with every conversion."""
        edges = [0, *(cut - self.part.k[0] for cut in self.part.cuts), a.shape[2]]
        total = np.zeros((a.shape[0], self.outputs), np.int32)
        for first, last in pairwise(edges):
            blocks = slice(first // self.weights.block_rows, -(-last // self.weights.block_rows))
            c = self.cells
            cells = Cells(c.codes[:, first:last], c.polarity[:, blocks], c.centre[:, blocks])
            sums = sliced_dot(a[:, :, first:last], cells, self.weights, self.form, self.scale)
            total += sums.astype(np.int32).reshape(total.shape)
        return total

    def vectors(self, x: Array, g: WindowGeometry, first: int, count: int, scratch: Array) -> Array:
        """Window vectors of some output rows: u8 [m, k], or [m, groups, k] for grouped weights."""
        flat = _windows(x, g, first, count, scratch)
        if self.weights.groups > 1:
            taps = g.kernel[0] * g.kernel[1]
            split = flat.reshape(len(flat), taps, self.groups, -1).transpose(0, 2, 1, 3)
            flat = np.ascontiguousarray(split).reshape(len(flat), self.groups, -1)
        k0, k1 = self.part.k
        if not self.rounds and (k0, k1) != (0, flat.shape[-1]):
            flat = np.ascontiguousarray(flat[..., k0:k1])
        return flat

    def sums(
        self,
        x: Array,
        g: WindowGeometry,
        first: int,
        count: int,
        scratch: Array,
        packed: bool = False,
        at: Array | None = None,
    ) -> Array:
        """i32 [m, outputs] for some output rows (of all images in turn); ``packed``: ``prepared`` made bit planes.

        ``at``: the numbers of the positions (see ``noise``), where hardware is not ideal.
        """
        taps = g.kernel[0] * g.kernel[1]
        counter = self._counter(taps, g.chans[1] - g.chans[0] if packed else 0)
        if counter is not None:
            return counter(_windows(x, g, first, count, scratch))
        a = self.vectors(x, g, first, count, scratch)
        if self.analog is not None and at is not None:
            return self.noisy(a.reshape(len(a), self.groups, -1), at)
        if self.rounds is not None:
            return self.rounds.exact(a) if self.exact else self.rounds.converted(a)
        return self.dense(a) if self.weights.groups == 1 else self.grouped(a)

    def noisy(self, a: Array, at: Array) -> Array:
        """i32 [m, outputs] of window vectors u8 [m, groups, k] at numbered positions, where hardware is not ideal."""
        assert self.analog is not None
        return self.rounds.analog(a[:, 0], at, self.analog) if self.rounds else self.analog(a, at)

    def _counter(self, taps: int, packed: int) -> Callable[[Array], Array] | None:
        """What counts bits of windows as they are gathered: of ``packed`` bits a tap, or of convolution groups."""
        if packed:
            return self.counted.of_taps(taps, packed)
        ideal = not (self.exact or self.summed or self.analog or self.rounds)
        return self.counted.of_groups(taps) if ideal and self.weights.groups > 1 else None

    def depthwise_sums(self, x: Array, g: WindowGeometry) -> Array:
        """i32 [images, rows, columns, channels] of a depthwise layer."""
        if self._taps is None:
            self._taps = np.ascontiguousarray(self.w()[:, :, 0].T, np.int32)
        sums = depthwise(x, g, self._taps)
        if self.summed is None:
            return self.lifted(sums)
        return self.summed.one_block(sums, self._counted_inputs(x, g) if self.summed.counts else None)

    def _counted_inputs(self, x: Array, g: WindowGeometry) -> InputSums:
        """Of a depthwise layer's windows, one channel each."""
        assert self._taps is not None
        ones = np.ones_like(self._taps)
        exact = depthwise(x, g, ones)
        if all(c is None for c in self.form.unit_conversions):
            return InputSums(exact, exact)
        converted = np.zeros_like(exact)
        for (lo, hi), c in zip(self.form.input_slices, self.form.unit_conversions, strict=True):
            mask = (1 << (hi - lo)) - 1
            part = depthwise(x >> lo & mask, replace(g, pad_value=g.pad_value >> lo & mask), ones)
            part = part if c is None else np.clip((part + c.step // 2) // c.step * c.step, c.lo, c.hi)
            converted += part << lo
        return InputSums(exact, converted)


def _windows(x: Array, g: WindowGeometry, first: int, count: int, scratch: Array) -> Array:
    """Whole windows of some output rows, u8 [m, elements]."""
    positions = count * g.out[1]
    if is_plain(g, x.shape):
        return x.reshape(-1, g.depth)[first * g.out[1] : first * g.out[1] + positions]
    flat = scratch[: positions * g.depth].reshape(positions, g.depth)
    gather(x, g, first, count, flat)
    return flat


def _padded(x: Array, g: WindowGeometry) -> Array:
    """The array with padding all around, so that no window leaves it."""
    sizes = [(0, 0)]
    for axis in (0, 1):
        last = g.origin[axis] + (g.out[axis] - 1) * g.step[axis] + (g.kernel[axis] - 1) * g.dilation[axis]
        sizes.append((max(0, -g.origin[axis]), max(0, last + 1 - x.shape[1 + axis])))
    return np.pad(x, [*sizes, (0, 0)], constant_values=g.pad_value) if any(map(any, sizes)) else x


def _unpadded(g: WindowGeometry) -> WindowGeometry:
    """The same windows over the padded array."""
    return replace(g, origin=(max(0, g.origin[0]), max(0, g.origin[1])))


def _cells(program: Program, weights: Weights, part: LayerPart) -> Cells:
    (k0, k1), (n0, n1), (g0, g1) = part.k, part.n, part.groups
    if k0 % weights.block_rows:
        raise ProgramError(
            f"weights {weights.name}: rows {k0} onwards do not start a row block of {weights.block_rows}"
        )
    b0, b1 = k0 // weights.block_rows, -(-k1 // weights.block_rows)
    codes = np.asarray(program.tensors[f"{weights.name}.codes"])[g0:g1, k0:k1, n0:n1]
    polarity = np.asarray(program.tensors[f"{weights.name}.polarity"])[g0:g1, b0:b1, n0:n1]
    centre = np.asarray(program.tensors[f"{weights.name}.centre"])[g0:g1, b0:b1, n0:n1]
    return Cells(codes, polarity, centre)


def _check_centre(cells: Cells, weights: Weights, form: NormalForm) -> None:
    if cells.centre.any() and not form.unit_conversions:
        raise ProgramError(f"weights {weights.name} have a centre, but their flow sums no inputs")
