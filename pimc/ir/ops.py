"""The graph IR's operations, one class each. Short names: x input, y result, h rows, w columns, c channels.

Activations are u8 rows x columns x channels; weights are s8. Decisions of passes are fields that are ``None`` until a
pass has made them, so the text form of a graph shows all that was decided.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, dataclass_transform

from pimc_isa.operands import Range, View, Window

__all__ = [
    "OPS",
    "Add",
    "AvgPool",
    "Cells",
    "Concat",
    "Conv",
    "Gap",
    "HostCall",
    "Lut",
    "Mapping",
    "MaxPool",
    "Mul",
    "Op",
    "Part",
    "Relay",
    "Schedule",
    "TensorType",
    "window_of",
]


@dataclass(frozen=True)
class TensorType:
    """Element type and shape (rows, columns, channels) of one image's tensor."""

    dtype: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Mapping:
    """How a layer is cut: column strips x output-channel parts x row-block chains, each on a tile of its own.

    ``copies`` of the weights inside each tile; ``arrays`` is the number of crossbars in all.
    """

    strips: tuple[Range, ...]
    parts: tuple[Range, ...]
    chain: tuple[Range, ...]
    copies: int
    arrays: int


@dataclass(frozen=True)
class Cells:
    """How weights are stored: the code, polarity and centre constants, slice widths (low first), rows of a block."""

    codes: str
    polarity: str
    centre: str
    slices: tuple[int, ...]
    block_rows: int
    bipolar: bool = False


@dataclass(frozen=True)
class Part:
    """A piece of an op on one tile: which columns, channels and (convolutions) weight rows, and where the tile is."""

    tile: int
    chip: int
    x: int
    y: int
    cols: Range
    chans: Range
    rows_k: Range = (0, 0)


@dataclass(frozen=True)
class Schedule:
    """Row buffering: ``slots`` of each input's ring and ``depth`` (messages) of the channels that fill it.

    ``out_slots`` of the result's ring.
    """

    slots: tuple[int, ...]
    depth: tuple[int, ...]
    out_slots: int


OPS: dict[str, type[Op]] = {}


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _Declared:
    """Makes subclasses frozen dataclasses; apart from `Op` because type checkers do not see fields of this class."""

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init_subclass__(cls, *, op: str = "") -> None:
        """Make the subclass a frozen dataclass and enter it in the table of ops; without ``op`` it is abstract."""
        dataclass(frozen=True, kw_only=True)(cls)
        if not op:
            return
        cls.kind = op
        if op in OPS:
            raise TypeError(f"op {op} declared twice")
        OPS[op] = cls  # type: ignore[assignment]  # every class with a name derives from Op


class Op(_Declared):
    """Base of all operations. ``name`` is also the name of the value it makes; ``node`` names the ONNX node."""

    name: str
    inputs: tuple[str, ...]
    type: TensorType | None
    node: str = ""
    views: tuple[View, ...] = ()
    mapping: Mapping | None = None
    placement: tuple[Part, ...] | None = None
    schedule: Schedule | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, channels of the result."""
        if self.type is None:
            raise TypeError(f"{self.name} has no result")
        return self.type.shape


class HostCall(Op, op="host.call"):
    """An ONNX subgraph on the host: the model's head (makes one value) or its tail (makes the program's outputs).

    ``feeds`` pairs subgraph inputs with values, or ``$NAME`` for a model input. ``fetches`` pairs subgraph outputs with
    this op's value, or ``$NAME`` for a model output.
    """

    model: str
    feeds: tuple[tuple[str, str], ...]
    fetches: tuple[tuple[str, str], ...]
    why: str = ""


class Conv(Op, op="q.conv"):
    """Convolution or matrix product with constant weights (QLinearConv, QGemm, QLinearMatMul), requantised.

    ``weights`` s8 [O, kh, kw, I/groups]; ``multiplier`` f32 [O] or [1]; ``bias`` i32 [O] without the zero-point term.
    ``scale``: v_max and gain of the flow's ranged conversions (see `pimc_isa.operands.Group`), ``None``: not ranged.
    """

    weights: str
    multiplier: str
    bias: str
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    x_zero: int = 0
    y_zero: int = 0
    lo: int = 0
    hi: int = 255
    cells: Cells | None = None
    flow: str | None = None
    scale: tuple[float, float] | None = None

    @property
    def pad_value(self) -> int:
        """Padding holds the input's zero point."""
        return self.x_zero


class _Elementwise(Op):
    """Shared by the two-input ops. ``offset`` is 128 where the tensors are int8, stored as unsigned."""

    a_scale: float
    a_zero: int
    b_scale: float
    b_zero: int
    y_scale: float
    y_zero: int
    lo: int = 0
    hi: int = 255
    scalar_b: bool = False
    offset: int = 0


class Add(_Elementwise, op="q.add"):
    """Quantised addition (QLinearAdd)."""


class Mul(_Elementwise, op="q.mul"):
    """Quantised multiplication (QLinearMul); the second operand may be one row and column (a gate per channel)."""


class MaxPool(Op, op="q.maxpool"):
    """Maximum over windows."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def pad_value(self) -> int:
        """The smallest stored value never wins."""
        return 0


class AvgPool(Op, op="q.avgpool"):
    """Average over windows (QLinearAveragePool). ``offset`` is 128 where the tensors are int8, stored as unsigned."""

    kernel: tuple[int, int]
    x_scale: float
    x_zero: int
    y_scale: float
    y_zero: int
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    count_include_pad: bool = False
    lo: int = 0
    hi: int = 255
    offset: int = 0

    @property
    def pad_value(self) -> int:
        """Padding dequantises to zero."""
        return self.x_zero


class Gap(Op, op="q.gap"):
    """Global average (QLinearGlobalAveragePool): the sum of all positions, requantised."""

    multiplier: str
    bias: str
    y_zero: int
    lo: int = 0
    hi: int = 255


class Lut(Op, op="q.lut"):
    """A 256-entry table."""

    table: str


class Concat(Op, op="q.concat"):
    """Channels one after another; all inputs have the result's scale already."""


class Relay(Op, op="q.relay"):
    """A buffer tile: the same rows, later. Made by placement for streams that outgrow a tile's memory."""


def window_of(op: Op, name: str = "w") -> Window:
    """The window through which a convolution or pool sees its input."""
    if isinstance(op, Gap):
        raise TypeError("a global pool's window is its input's size")
    assert isinstance(op, Conv | MaxPool | AvgPool)
    return Window(name, op.kernel, op.stride, op.pads, op.dilation, op.pad_value)
