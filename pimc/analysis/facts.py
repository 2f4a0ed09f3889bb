"""What the mapper needs to know of an op: its geometry, and the hardware it is to be cut for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from pimc.ir.graph import Graph
from pimc.ir.ops import AvgPool, Concat, Conv, Gap, HostCall, Lut, MaxPool, Mul, Op, window_of
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine
from pimc_isa.operands import Range, Window

__all__ = ["Facts", "Resources", "facts_of", "is_fused", "is_virtual", "needed_columns", "needed_rows", "split"]


@dataclass(frozen=True)
class Resources:
    """The machine, the flow convolutions use, and how many chips there are (``None``: as many as one copy needs).

    ``link_share`` is the part of a link's bandwidth that a tile may count on; other tiles' messages take the rest.
    ``tiles`` is the most tiles that may be used, ``None`` for all of the chips'.
    """

    machine: Machine
    flow: Flow
    chips: int | None = None
    link_share: float = 1.0
    tiles: int | None = None

    @property
    def slices(self) -> tuple[int, ...]:
        """Weight slice widths, low bits first."""
        return self.flow.slices

    @property
    def columns(self) -> int:
        """Physical columns of one output."""
        return self.flow.columns


@dataclass(frozen=True)
class Facts:
    """An op as the mapper sees it. ``k`` rows and ``n`` outputs are of one convolution group; 0 for other ops."""

    name: str
    in_shapes: tuple[tuple[int, int, int], ...]
    shape: tuple[int, int, int]
    window: Window
    taps: int
    k: int = 0
    n: int = 0
    groups: int = 1
    sums: bool = False  # has i32 sums beside the 8-bit result
    readers: int = 1  # ops that each get the result over channels of their own
    tables: int = 0  # tables that are applied in this op's tiles

    @property
    def is_conv(self) -> bool:
        """Whether it uses crossbars."""
        return self.k > 0

    @property
    def channelwise(self) -> bool:
        """Whether an output channel needs only the input channels of its own convolution group."""
        return not self.is_conv or self.groups > 1

    def input_channels(self, chans: Range, index: int = 0) -> Range:
        """Input channels that output channels ``chans`` need."""
        if not self.is_conv:
            return chans
        per_group = self.in_shapes[index][2] // self.groups
        return chans[0] // self.n * per_group, -(-chans[1] // self.n) * per_group


def is_virtual(op: Op) -> bool:
    """Concatenation is only a matter of where senders put their channels."""
    return isinstance(op, Concat)


def is_fused(graph: Graph, op: Op) -> bool:
    """Whether a table is applied in the tiles that make its input."""
    if not isinstance(op, Lut):
        return False
    producer = graph[op.inputs[0]]
    return not isinstance(producer, HostCall | Concat) and len(graph.users(producer.name)) == 1


def facts_of(graph: Graph, op: Op) -> Facts:
    """Collect the facts of an op that runs on tiles."""
    return replace(_geometry(graph, op), readers=max(1, _readers(graph, op.name)), tables=_tables(graph, op.name))


def _tables(graph: Graph, value: str) -> int:
    users = graph.users(value)
    return 1 + _tables(graph, users[0].name) if len(users) == 1 and is_fused(graph, users[0]) else 0


def _readers(graph: Graph, value: str) -> int:
    users = graph.users(value)
    return sum(_readers(graph, u.name) if is_virtual(u) or is_fused(graph, u) else 1 for u in users)


def _geometry(graph: Graph, op: Op) -> Facts:
    ins = tuple(graph[v].shape for v in op.inputs)
    if isinstance(op, Conv):
        k = ins[0][2] // op.groups * op.kernel[0] * op.kernel[1]
        n = op.shape[2] // op.groups
        return Facts(op.name, ins, op.shape, window_of(op), 1, k, n, op.groups, sums=True)
    if isinstance(op, MaxPool | AvgPool):
        return Facts(op.name, ins, op.shape, window_of(op), op.kernel[0] * op.kernel[1])
    if isinstance(op, Gap):
        h, w, _ = ins[0]
        return Facts(op.name, ins, op.shape, Window("w", (h, w)), h * w, sums=True)
    return Facts(op.name, ins, op.shape, Window("w", (1, 1)), 1)


def needed_rows(facts: Facts, index: int, row: int) -> int:
    """How many rows of input ``index`` must have arrived before output row ``row`` can be made."""
    height = facts.in_shapes[index][0]
    if height == 1 and facts.shape[0] > 1 and not facts.is_conv:
        return 1  # broadcast operand
    w = facts.window
    last = row * w.stride[0] - w.pads[0] + (w.kernel[0] - 1) * w.dilation[0] + 1
    return max(0, min(last, height))


def needed_columns(facts: Facts, index: int, cols: Range) -> Range:
    """Columns of input ``index`` that output columns ``cols`` read."""
    width = facts.in_shapes[index][1]
    if width == 1 and facts.shape[1] > 1 and not facts.is_conv:
        return 0, 1
    first, last = facts.window.cols(cols, width)
    return (first, last) if last > first else (min(first, width - 1), min(first, width - 1) + 1)


def split(total: int, pieces: int, unit: int = 1) -> tuple[Range, ...]:
    """Cut 0..total into up to ``pieces`` ranges that start at multiples of ``unit`` and differ by one unit at most."""
    units = -(-total // unit)
    pieces = max(1, min(pieces, units))
    edges = [min(total, units * p // pieces * unit) for p in range(pieces + 1)]
    return tuple(itertools.pairwise(edges))


def is_gate(op: Op, shapes: tuple[tuple[int, int, int], ...]) -> bool:
    """Whether the second operand of a multiplication is one value per channel."""
    return isinstance(op, Mul) and shapes[1][:2] == (1, 1)
