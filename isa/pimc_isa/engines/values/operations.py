"""Operations on whole tensors: what a lifted program computes, before it becomes a list of calls."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pimc_isa.define import Instr
from pimc_isa.engines.dots.layer import LayerPart
from pimc_isa.engines.values.content import Content
from pimc_isa.engines.values.trace import StepId
from pimc_isa.instructions import PerPair
from pimc_isa.operands import Elementwise, Range, Requant, Slab, Window

__all__ = [
    "CallOp",
    "DotMember",
    "DotOp",
    "GenericOp",
    "LutOp",
    "Operation",
    "PairOp",
    "PoolOp",
    "QuantOp",
    "Region",
    "TilesOp",
    "Value",
    "contents_of",
    "results_of",
]

Array = np.ndarray


@dataclass(frozen=True)
class Region:
    """Rows first, first+step, ... (``count`` of them), columns and channels, in absolute numbers."""

    first: int
    step: int
    count: int
    cols: Range
    chans: Range

    @classmethod
    def of(cls, rows: Array, cols: Range, chans: Range) -> Region:
        """The region of evenly spaced rows (in any order)."""
        ordered = np.sort(rows)
        step = int(ordered[1] - ordered[0]) if len(ordered) > 1 else 1
        return cls(int(ordered[0]), step, len(ordered), cols, chans)

    @property
    def rows(self) -> Array:
        """All row numbers."""
        return self.first + self.step * np.arange(self.count)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, channels."""
        return self.count, self.cols[1] - self.cols[0], self.chans[1] - self.chans[0]

    @property
    def elements(self) -> int:
        """Elements of one image."""
        rows, cols, chans = self.shape
        return rows * cols * chans


@dataclass(frozen=True)
class Value:
    """An array [images, rows, columns, channels] that one operation makes; ``dtype`` is 'u8' or 'i32'."""

    number: int
    region: Region
    dtype: str


@dataclass(frozen=True, eq=False)
class DotMember:
    """A step whose dot products are among those of an operation: its rows, columns and part of the layer."""

    step: StepId
    rows: Array
    cols: Range
    part: LayerPart


@dataclass(frozen=True, eq=False)
class DotOp:
    """Dot products of windows of ``x`` (a tensor of ``size`` rows x columns) with a part of a layer, plus ``base``.

    ``chans`` are the absolute channels of the tensor that the windows see; ``members`` the steps it stands for.
    """

    out: int
    x: Content
    size: tuple[int, int]
    window: Window
    part: LayerPart
    chans: Range
    base: Content = ()
    members: tuple[DotMember, ...] = ()


@dataclass(frozen=True, eq=False)
class QuantOp:
    """Requantisation."""

    out: int
    src: Content
    requant: Requant
    first_channel: int


@dataclass(frozen=True, eq=False)
class LutOp:
    """A table."""

    out: int
    src: Content
    table: str


@dataclass(frozen=True, eq=False)
class PairOp:
    """Work of an instruction on two operands in the result's coordinates."""

    out: int
    a: Content
    b: Content
    instr: type[PerPair]
    scales: Elementwise


@dataclass(frozen=True, eq=False)
class PoolOp:
    """Pooling (``pool.max``, ``pool.sum``, ``pool.avg``) over windows of ``x``, a tensor of ``size`` rows x columns."""

    out: int
    x: Content
    size: tuple[int, int]
    window: Window
    kind: str
    scales: Elementwise | None


@dataclass(frozen=True, eq=False)
class GenericOp:
    """Any other instruction: its own meaning, run on all rows. ``slabs`` are in the result's coordinates."""

    out: int
    step: StepId
    instr: Instr
    slabs: dict[Slab, Content]
    sources: dict[str, Content]


@dataclass(frozen=True, eq=False)
class CallOp:
    """A host call: contents of input buffers, values of output buffers; ``rows`` where it is one for each row."""

    tile: int
    name: str
    feeds: dict[str, Content]
    made: dict[str, int]
    rows: Array | None = None


@dataclass(frozen=True, eq=False)
class TilesOp:
    """Tiles run row by row: messages that arrive, values of the channels they send to and of their buffers."""

    tiles: tuple[int, ...]
    arriving: dict[str, Content]
    channels: dict[str, int]
    buffers: dict[tuple[int, str], int] = field(default_factory=dict)


Operation = DotOp | QuantOp | LutOp | PairOp | PoolOp | GenericOp | CallOp | TilesOp


def contents_of(op: Operation) -> list[Content]:
    """Everything an operation reads."""
    match op:
        case DotOp():
            return [op.x, op.base]
        case QuantOp() | LutOp():
            return [op.src]
        case PairOp():
            return [op.a, op.b]
        case PoolOp():
            return [op.x]
        case GenericOp():
            return [*op.slabs.values(), *op.sources.values()]
        case CallOp():
            return list(op.feeds.values())
        case TilesOp():
            return list(op.arriving.values())


def results_of(op: Operation) -> list[int]:
    """The values an operation makes."""
    match op:
        case CallOp():
            return list(op.made.values())
        case TilesOp():
            return [*op.channels.values(), *op.buffers.values()]
        case _:
            return [op.out]
