"""Convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pimc.epitomes.checks import epitome_problems
from pimc.epitomes.codes import least_bits
from pimc.ir.ops.base import TILED, Array, Constants, Evaluation, Geometry, InferError, Shape, TensorOp, single
from pimc.ir.ops.decided import CellPlan, RoundPlan
from pimc.ir.ops.specs import ANY, constant, limit, optional, width, zero_point
from pimc.ir.ops.windows import padded, positions
from pimc_isa import numerics
from pimc_isa.operands import Window

if TYPE_CHECKING:
    from pimc.ir.graph import Graph

__all__ = ["Conv", "convolve"]


class Conv(TensorOp, op="q.conv"):
    """Convolution or matrix product with constant weights (QLinearConv, QGemm, QLinearMatMul), requantised.

    ``weights`` s8 [O, kh, kw, I/groups]; ``multiplier`` f32 [O] or [1]; ``bias`` i32 [O] without the zero-point term.
    ``epitome`` s8 [p, q] (word lines, columns) and ``index`` i32 [O, kh, kw, I/groups], where they are known: the cell
    (row * q + column) of each weight, -1 for one that is 0 and not stored (see `pimc.epitomes`). ``folded``: whether
    crossbars hold the epitome in place of the weights, in ``rounds``; ``None``: nobody has asked, or there is none.
    ``bits``: codes in the weights and in the epitome are from -(2**(bits-1) - 1) to 2**(bits-1) - 1; ``None``: any of
    8 bits.
    ``scale``: v_max and gain of the flow's ranged conversions (see `pimc_isa.operands.Group`), ``None``: not ranged.
    """

    weights: str = constant(np.int8)
    multiplier: str = constant(np.float32, per_channel=True)
    bias: str = constant(np.int32, per_channel=True)
    epitome: str | None = optional(np.int8, (ANY, ANY), default=None)
    index: str | None = optional(np.int32, (ANY, ANY, ANY, ANY), default=None)
    bits: int | None = width(default=None)
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    x_zero: int = zero_point(default=0)
    y_zero: int = zero_point(default=0)
    lo: int = limit(default=0)
    hi: int = limit(default=255, above="lo")
    cells: CellPlan | None = None
    flow: str | None = None
    scale: tuple[float, float] | None = None
    folded: bool | None = None
    rounds: RoundPlan | None = None

    decides: ClassVar[frozenset[str]] = TILED | {"cells", "flow"}

    @property
    def window(self) -> Window:
        """Padding holds the input's zero point."""
        return Window("w", self.kernel, self.stride, self.pads, self.dilation, self.x_zero)

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """One row and column for each window, one channel for each output."""
        shape, weights = single(shapes), constants[self.weights]
        if weights.ndim != 4:
            raise InferError(f"weights @{self.weights} have {weights.ndim} axes, not O, kh, kw, I/groups")
        outputs, kh, kw, depth = weights.shape
        if (kh, kw) != tuple(self.kernel):
            raise InferError(f"kernel {self.kernel} against weights of {kh}x{kw}")
        if depth * self.groups != shape[2] or outputs % self.groups:
            raise InferError(f"weights {weights.shape} in {self.groups} groups do not fit {shape[2]} input channels")
        return (*positions(self.window, shape[:2]), outputs)

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """Windows, and the weights of each convolution group, or those that are stored in place of all groups'."""
        if self.rounds is not None and self.epitome is not None:
            p, q = constants[self.epitome].shape
            return Geometry(self.window, 1, p, q, sums=True, rounds=self.rounds)
        k = shapes[0][2] // self.groups * self.kernel[0] * self.kernel[1]
        return Geometry(self.window, 1, k, self.shape[2] // self.groups, self.groups, sums=True)

    def problems(self, graph: Graph) -> Iterator[str]:
        """The weights fit their bits, and are those that the epitome stands for; rounds put them together."""
        for name in (self.weights, self.epitome):
            if name is not None and self.bits is not None and least_bits(graph.constants[name]) > self.bits:
                yield f"@{name} has codes of more than {self.bits} bits"
        if (self.epitome is None) != (self.index is None):
            yield "has an epitome without an index, or an index without an epitome"
        elif self.epitome is not None and self.index is not None:
            held = (graph.constants[name] for name in (self.weights, self.epitome, self.index))
            yield from epitome_problems(*held)
        elif self.rounds is not None:
            yield "works in rounds, but has no epitome"
        if bool(self.folded) != (self.rounds is not None):
            yield f"has folded={self.folded}, {'and' if self.rounds else 'but no'} rounds"

    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """Sums, requantised."""
        sums = run.dot(self, x[0], run.constants[self.weights])
        multiplier, bias = run.constants[self.multiplier], run.constants[self.bias].astype(np.int32)
        return numerics.requantise(sums, multiplier, bias, self.y_zero, self.lo, self.hi)


def convolve(op: Conv, x: Array, w: Array) -> Array:
    """i32 sums of (x - zero point) * w, one tap at a time; float64 products of 8-bit numbers are exact."""
    rows, columns, outputs = op.shape
    centred = padded(x, op.window).astype(np.float64) - op.x_zero
    groups, depth = op.groups, w.shape[3]
    taps = w.reshape(groups, outputs // groups, *w.shape[1:]).astype(np.float64)
    total = np.zeros((len(x), rows, columns, groups, outputs // groups))
    for ky in range(op.kernel[0]):
        for kx in range(op.kernel[1]):
            part = centred[:, ky * op.dilation[0] :: op.stride[0], kx * op.dilation[1] :: op.stride[1]]
            part = part[:, :rows, :columns].reshape(len(x), rows, columns, groups, depth)
            total += _product(part, taps[:, :, ky, kx])
    return total.reshape(len(x), rows, columns, outputs).astype(np.int32)


def _product(x: Array, w: Array) -> Array:
    """Products of images x rows x columns x groups x depth with groups x outputs x depth."""
    if x.shape[3] == 1:
        return np.asarray((x[:, :, :, 0] @ w[0].T)[:, :, :, None])
    if x.shape[4] == 1:
        return np.asarray(x * w[:, :, 0])
    return np.asarray(np.einsum("nhwgd,god->nhwgo", x, w, optimize=True))
