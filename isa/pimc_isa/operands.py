"""Operands and descriptors: what instructions talk about.

All row, column and channel numbers are absolute positions in the tensor, also where a tile holds only part of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pimc_isa.element import Element, element

__all__ = [
    "ALL_ROWS",
    "Buffer",
    "Call",
    "Channel",
    "Elementwise",
    "Group",
    "Range",
    "Requant",
    "Rounds",
    "RowExpr",
    "RowRange",
    "Slab",
    "Table",
    "View",
    "Weights",
    "Window",
]

Range = tuple[int, int]  # half-open [start, stop)


@dataclass(frozen=True)
class RowExpr:
    """A row number that is affine in the loop counter: ``(a*i + b) // d`` (``i`` is 0 outside a loop)."""

    a: int = 0
    b: int = 0
    d: int = 1

    def at(self, i: int) -> int:
        """The row for loop counter ``i``."""
        return (self.a * i + self.b) // self.d


@dataclass(frozen=True)
class RowRange:
    """Rows ``first``, ``first + step``, ... below ``stop`` (None: up to the last one) of a tensor."""

    first: int = 0
    stop: int | None = None
    step: int = 1

    def within(self, height: int) -> range:
        """Those of the first ``height`` rows that lie in it."""
        return range(self.first, height if self.stop is None else min(self.stop, height), self.step)


ALL_ROWS = RowRange()


@dataclass(frozen=True)
class Slab:
    """A part of one row of a buffer: ``acc[2*i+1, 0:14, 0:64]``; ``None`` ranges mean all that the buffer holds."""

    buffer: str
    row: RowExpr
    cols: Range | None = None
    chans: Range | None = None


@dataclass(frozen=True)
class View:
    """The ONNX tensor a buffer holds (a part of): ``order`` is 'CHW' or 'HWC', ``shape`` the ONNX shape without batch.

    ``offset`` is subtracted from the stored unsigned value to give the ONNX value (128 for int8 tensors, else 0).
    ``channel`` is where channel 0 of the buffer's tensor stands in the ONNX tensor (inputs of a concatenation).
    """

    tensor: str
    order: str
    shape: tuple[int, ...]
    offset: int = 0
    channel: int = 0


@dataclass(frozen=True)
class Buffer:
    """A ring of ``slots`` rows of a tensor of ``rows x width x channels``; ``cols``/``chans`` is the part held here."""

    name: str
    dtype: str  # the name of an element type
    rows: int
    width: int
    channels: int
    cols: Range
    chans: Range
    slots: int
    views: tuple[View, ...] = ()

    @property
    def row_elements(self) -> int:
        """Elements of one row as held here."""
        return (self.cols[1] - self.cols[0]) * (self.chans[1] - self.chans[0])

    @property
    def element(self) -> Element:
        """The type of its elements. Raises ProgramError for one that nobody has declared."""
        return element(self.dtype)

    @property
    def memory_bytes(self) -> int:
        """Tile memory this ring takes; rows begin at whole bytes."""
        return self.element.nbytes(self.row_elements) * self.slots


@dataclass(frozen=True)
class Window:
    """A sliding window (ONNX Conv and Pool). ``pads`` is top, left, bottom, right; ``pad_value`` is what they hold."""

    name: str
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    pad_value: int = 0

    def rows(self, out_row: int, height: int) -> Range:
        """Input rows [first, last+1) that output row ``out_row`` reads, clipped to ``height`` (may be empty)."""
        first = out_row * self.stride[0] - self.pads[0]
        last = first + (self.kernel[0] - 1) * self.dilation[0] + 1
        return max(0, min(first, height)), max(0, min(last, height))

    def cols(self, out_cols: Range, width: int) -> Range:
        """Input columns [first, last+1) that output columns ``out_cols`` read, clipped to ``width``."""
        first = out_cols[0] * self.stride[1] - self.pads[1]
        last = (out_cols[1] - 1) * self.stride[1] - self.pads[1] + (self.kernel[1] - 1) * self.dilation[1] + 1
        return max(0, min(first, width)), max(0, min(last, width))


@dataclass(frozen=True)
class Weights:
    """A layer's cells, shared by every tile that holds a part of them.

    Tensors in the program: ``NAME.codes`` [groups, k, n] (u8 unipolar, i16 bipolar; u16/i32 for weights above 8 bits),
    ``NAME.polarity`` [groups, blocks, n] (bit s set: slice s of that column is subtracted), ``NAME.centre``
    [groups, blocks, n] i32. Rows are ordered kernel-y, kernel-x, channel. Block b covers rows b*block_rows onwards.

    With code bit fields P or N per slice s at bit l_s (``slices`` low first):
    ``w = centre + sum_s 2**l_s * (polarity_s ? -1 : 1) * field_s(|code|) * sign(code)``.
    """

    name: str
    groups: int
    k: int
    n: int
    block_rows: int
    slices: tuple[int, ...]
    bipolar: bool = False

    @property
    def blocks(self) -> int:
        """Row blocks of one group."""
        return -(-self.k // self.block_rows)

    @property
    def columns(self) -> int:
        """Physical columns of one output: one for each slice, two (W+ and W-) where cells are bipolar."""
        return len(self.slices) * (2 if self.bipolar else 1)


@dataclass(frozen=True)
class Group:
    """The part of a layer's weights that one tile's crossbars hold, ``copies`` times, and the flow that reads it.

    ``k`` (rows; block aligned at its start), ``n`` (outputs of each convolution group) and ``groups`` are ranges into
    the weights. Convolution group g reads input channels [g*c, (g+1)*c) of the tensor, c = channels per group, and
    writes output channels [g*N, (g+1)*N), N = the weights' n.

    ``v_max`` and ``gain`` scale the flow's ranged conversions: a converter's end code stands for the dot product
    ``block_rows * (2**input_bits - 1) * (2**weight_bits - 1) * v_max / gain``; ``v_max`` 0: nothing is ranged. ``gain``
    is that of the bit lines; ``v_max`` is the converter's range over the gain of the NNS+A (1, or 4: 0.0625 and 0.03125
    are the ranges 0.25 and 0.125 behind an NNS+A of gain 4).

    ``rounds`` names how a position is worked on in several rounds (see ``Rounds``); '': in one full round, with element
    r of the window's vector on row r and output n in column n.

    ``zero`` is the zero point of the inputs, for flows that drive their positive and negative parts: what they compute
    is the products of the inputs less their zero point.
    """

    name: str
    weights: str
    flow: str
    k: Range
    n: Range
    groups: Range
    copies: int = 1
    v_max: float = 0.0
    gain: float = 1.0
    rounds: str = ""
    zero: int = 0


@dataclass(frozen=True)
class Rounds:
    """How groups work on a position in ``count`` rounds: which inputs on which rows, which columns to which channels.

    ``inputs``: elements of the window's vector; ``outputs``: channels of the destination. A round drives the rows of
    its patches and reads their columns; every patch belongs to one round. Tensors in the program, i32, -1 for none:
    ``NAME.patches`` [patches, 2]: the round of each patch, and 0 if it overwrites its channels, 1 if it adds to them;
    ``NAME.rows`` [patches, k]: which input it puts on each row of the weights; ``NAME.columns`` [patches, n]: to which
    channel each output of the weights goes; ``NAME.copies`` [outputs]: the channel that each channel is a copy of.
    """

    name: str
    inputs: int
    outputs: Range
    count: int


@dataclass(frozen=True)
class Requant:
    """Requantisation of i32 sums (ONNX QLinearConv): ``rint(clip(f32(acc + bias) * m, lo-zero, hi-zero)) + zero``.

    Tensors: ``DATA.multiplier`` f32[channels], ``DATA.bias`` i32[channels] (length 1: the same for all), indexed by the
    absolute channel.
    """

    name: str
    data: str
    zero: int
    lo: int = 0
    hi: int = 255


@dataclass(frozen=True)
class Elementwise:
    """Scales and zero points of a two-input op: ``a``, ``b`` and ``y`` are (scale, zero point), scales exact float32.

    ``scalar_b`` marks a second operand that onnxruntime treats as a scalar (it then rounds in another order).
    ``offset`` is 128 where the three tensors are int8 stored as unsigned: float32 rounding depends on it.
    """

    name: str
    a: tuple[float, int]
    b: tuple[float, int]
    y: tuple[float, int]
    lo: int = 0
    hi: int = 255
    scalar_b: bool = False
    offset: int = 0


@dataclass(frozen=True)
class Table:
    """A 256-entry table: tensor ``DATA`` u8[256], or u8[channels, 256] for one of each channel of the result."""

    name: str
    data: str


@dataclass(frozen=True)
class Call:
    """An ONNX subgraph for the host: tensor ``MODEL`` (u8) holds its bytes.

    ``inputs`` and ``outputs`` pair a subgraph tensor with a buffer of the host tile, or with ``$NAME``: the program's
    own input or output NAME. ``operations`` of one image are what the host's rate is asked for besides elements.
    """

    name: str
    model: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    operations: int = 0


@dataclass(frozen=True)
class Channel:
    """A FIFO from one tile to one or more; ``depth`` is the number of messages (row parts) each receiver can hold."""

    name: str
    source: int
    dests: tuple[int, ...]
    depth: int
