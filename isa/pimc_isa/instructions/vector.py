"""Vector: element-wise work on rows. The arithmetic is onnxruntime's on x86-64, operation for operation."""

import math
from collections.abc import Callable, Iterator
from typing import ClassVar, Protocol

import numpy as np

from pimc_isa.define import Context, Instr, Meaning, fields_of, ref, slab, source
from pimc_isa.element import I32, U8
from pimc_isa.numerics import average, entries_of, qadd, qmax, qmin, qmul, qsub, qsum, requantise
from pimc_isa.operands import Elementwise, Slab

F32 = np.float32
Array = np.ndarray

__all__ = [
    "Add",
    "Lut",
    "Max",
    "Min",
    "Mul",
    "PerElement",
    "PerPair",
    "PoolAvg",
    "PoolMax",
    "PoolSum",
    "Quant",
    "Sub",
    "Sum",
]


def _cycles(ctx: Context, elements: int) -> int:
    """Elements over the lanes of the vector unit."""
    return max(1, -(-elements // ctx.machine.tile.vector_lanes))


class PerElement(Instr):
    """The shape of element-wise work: every row part is read or written once."""

    def cycles(self, ctx: Context) -> int:
        """One element per lane and cycle."""
        return _cycles(ctx, ctx.elements(self.destination))

    def actions(self, ctx: Context) -> dict[str, float]:
        """One operation per element."""
        slabs = [getattr(self, name) for name, spec in fields_of(type(self)) if spec.kind == "slab"]
        return {"vector_element": ctx.elements(self.destination), "memory_byte": sum(map(ctx.nbytes, slabs))}


def _overflow(ctx: Context, scales: str, factors: Callable[[F32, F32, F32], tuple[F32, ...]]) -> Iterator[str]:
    """Factors of 8-bit values, whose products must be finite in float32."""
    s = ctx.tile.elementwise[scales]
    with np.errstate(all="ignore"):
        a, b, y = (F32(scale) for scale, _ in (s.a, s.b, s.y))
        if not all(np.isfinite(F32(factor * F32(1 << 18))) for factor in factors(a, b, y)):
            yield f"the scales of '{scales}' are so far apart that float32 cannot hold the result"


class PerTap(Instr):
    """The shape of pooling: every tap of every window is read. ``action`` is what one tap is booked as."""

    action: ClassVar[str] = "vector_element"

    dst: Slab = slab("w", "row of results", dtype=U8)
    src: str = source("window", "input buffer")
    window: str = ref("window", "the pooling window")

    def _taps(self, ctx: Context) -> int:
        kernel = ctx.window(self.window).kernel
        return ctx.elements(self.dst) * kernel[0] * kernel[1]

    def cycles(self, ctx: Context) -> int:
        """One tap per lane and cycle."""
        return _cycles(ctx, self._taps(ctx))

    def actions(self, ctx: Context) -> dict[str, float]:
        """One operation per tap."""
        return {self.action: self._taps(ctx), "memory_byte": ctx.nbytes(self.dst) + self._taps(ctx)}


class Quant(PerElement, op=0x40, name="quant", unit="vector"):
    """Requantise i32 sums to 8 bits (ONNX QLinearConv's epilogue)."""

    dst: Slab = slab("w", "8-bit row", dtype=U8)
    src: Slab = slab("r", "row of sums", dtype=I32)
    requant: str = ref("requant", "multiplier, bias, zero point, limits")

    def execute(self, m: Meaning) -> None:
        """``rint(clip(f32(acc + bias) * m, lo - zero, hi - zero)) + zero``."""
        q = m.tile.requant[self.requant]
        lo, hi = m.chans(self.src)
        multiplier, bias = m.tensor(f"{q.data}.multiplier"), m.tensor(f"{q.data}.bias")
        if multiplier.size > 1:
            multiplier = multiplier[lo:hi]
        if bias.size > 1:
            bias = bias[lo:hi]
        m.write(self.dst, requantise(m.read(self.src), multiplier, bias, q.zero, q.lo, q.hi))


class Pairing(Protocol):
    """What is made of two rows of stored values and their scales."""

    def __call__(self, a: Array, b: Array, s: Elementwise, /) -> Array:
        """The stored result."""
        ...


class PerPair(PerElement):
    """The shape of work on two rows: ``compute`` takes both and the scales."""

    compute: ClassVar[Pairing]

    dst: Slab = slab("w", "result", dtype=U8)
    a: Slab = slab("r", "first operand", dtype=U8, broadcast=True)
    b: Slab = slab("r", "second operand", dtype=U8, broadcast=True)
    scales: str = ref("elementwise", "scales and zero points")

    def problems(self, ctx: Context) -> Iterator[str]:
        """Both operands' factors must be finite."""
        return _overflow(ctx, self.scales, lambda a, b, y: (a / y, b / y))

    def execute(self, m: Meaning) -> None:
        """Broadcast over columns where an operand is one column wide."""
        compute = type(self).compute
        m.write(self.dst, compute(m.read(self.a), m.read(self.b), m.tile.elementwise[self.scales]))


class Add(PerPair, op=0x41, name="add", unit="vector"):
    """Add two quantised rows (QLinearAdd of com.microsoft)."""

    compute = staticmethod(qadd)


class Mul(PerPair, op=0x42, name="mul", unit="vector"):
    """Multiply two quantised rows (QLinearMul of com.microsoft)."""

    compute = staticmethod(qmul)

    def problems(self, ctx: Context) -> Iterator[str]:
        """The factor of the product must be finite."""
        return _overflow(ctx, self.scales, lambda a, b, y: (a * b / y,))


class PerReal(PerPair):
    """The shape of work on two rows as real numbers: DequantizeLinear, a float32 function, QuantizeLinear."""

    def problems(self, ctx: Context) -> Iterator[str]:
        """The real numbers must be finite, too."""
        return _overflow(ctx, self.scales, lambda a, b, y: (a, b, a / y, b / y))


class Sub(PerReal, op=0x47, name="sub", unit="vector"):
    """Subtract the second of two rows from the first, as real numbers, and quantise (ONNX Sub)."""

    compute = staticmethod(qsub)


class Max(PerReal, op=0x48, name="max", unit="vector"):
    """The larger of two rows, as real numbers, quantised (ONNX Max)."""

    compute = staticmethod(qmax)


class Min(PerReal, op=0x49, name="min", unit="vector"):
    """The smaller of two rows, as real numbers, quantised (ONNX Min)."""

    compute = staticmethod(qmin)


class Sum(PerReal, op=0x4A, name="sum", unit="vector"):
    """Add two rows as real numbers and quantise (ONNX Sum; ``add`` rounds as QLinearAdd does)."""

    compute = staticmethod(qsum)


class Lut(PerElement, op=0x43, name="lut", unit="vector"):
    """Look every 8-bit element up in a table, one for all or one of its channel (any unary operator)."""

    dst: Slab = slab("w", "result", dtype=U8)
    src: Slab = slab("r", "operand", dtype=U8)
    table: str = ref("table", "256 entries")

    def problems(self, ctx: Context) -> Iterator[str]:
        """A table of each channel covers all channels of the result."""
        data, last = ctx.program.tensors.get(ctx.tile.table[self.table].data), ctx.chans(self.dst)[1]
        if data is not None and data.ndim == 2 and last > len(data):
            yield f"table '{self.table}' has {len(data)} channels, but channels up to {last} are needed"

    def execute(self, m: Meaning) -> None:
        """Index the table."""
        m.write(self.dst, entries_of(m.tensor(m.tile.table[self.table].data), m.read(self.src), m.chans(self.dst)))


class PoolMax(PerTap, op=0x44, name="pool.max", unit="vector"):
    """Largest element of each window; positions outside the tensor do not count (ONNX MaxPool)."""

    action: ClassVar[str] = "pool_element"

    def problems(self, ctx: Context) -> Iterator[str]:
        """Another padding could be the largest element."""
        w = ctx.window(self.window)
        if w.pad_value and any(w.pads):
            yield f"window '{w.name}' pads with {w.pad_value}; a maximum needs padding with 0"

    def execute(self, m: Meaning) -> None:
        """Padding holds 0, the smallest stored value, so it never wins over a real element."""
        m.write(self.dst, m.patches(self.dst, self.src, self.window).max(axis=3))


class PoolSum(PerTap, op=0x45, name="pool.sum", unit="vector"):
    """i32 sum of each window (global average pooling is this and ``quant``)."""

    dst: Slab = slab("w", "row of sums", dtype=I32)

    def execute(self, m: Meaning) -> None:
        """Sum in i32."""
        m.write(self.dst, m.patches(self.dst, self.src, self.window).sum(axis=3, dtype=np.int32))


class PoolAvg(PerTap, op=0x46, name="pool.avg", unit="vector"):
    """Average of each window in onnxruntime's float order (QLinearAveragePool); padding is not counted.

    A window without a tap in the tensor counts one.
    ``scales.a`` is the input's scale and zero point, ``scales.y`` the output's.
    """

    window: str = ref("window", "the pooling window; its pad value is the input's zero point")
    scales: str = ref(
        "elementwise", "scales and zero points; b is the count rule: 1.0,0 excludes padding, 1.0,1 counts it"
    )

    def problems(self, ctx: Context) -> Iterator[str]:
        """The sum of all taps and the average must be finite."""
        taps = F32(math.prod(ctx.window(self.window).kernel))
        return _overflow(ctx, self.scales, lambda a, b, y: (a * taps, a * taps / y))

    def execute(self, m: Meaning) -> None:
        """Average taps inside the tensor."""
        m.write(self.dst, average(m, self.dst, self.src, self.window, m.tile.elementwise[self.scales]))
