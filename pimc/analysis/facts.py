"""What the mapper needs to know of an op: its geometry, and the hardware it is to be cut for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from pimc.ir.graph import Graph
from pimc.ir.ops import Geometry, Op, Reach, RoundPlan
from pimc_isa.element import U8, Element
from pimc_isa.errors import FlowError
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine
from pimc_isa.operands import Range, Window

Array = np.ndarray

__all__ = ["Facts", "Resources", "facts_of", "is_fused", "needed_columns", "on_tiles", "rows_needed", "split"]


@dataclass(frozen=True)
class Resources:
    """The machine, the flows that layers have, and how many chips there are (``None``: as many as one copy needs).

    ``link_share`` is the part of a link's bandwidth that a tile may count on; other tiles' messages take the rest.
    ``tiles`` is the most tiles that may be used, ``None`` for all of the chips'.
    """

    machine: Machine
    flows: tuple[Flow, ...]
    chips: int | None = None
    link_share: float = 1.0
    tiles: int | None = None

    def __hash__(self) -> int:
        """Of what differs between searches; the machine is compared where that is equal."""
        return hash((self.machine.name, self._names, self.chips, self.link_share, self.tiles))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(flow.name for flow in self.flows)

    def flow(self, facts: Facts) -> Flow:
        """The flow of a layer on crossbars. Raises FlowError for one that is not among these."""
        for flow in self.flows:
            if flow.name == facts.flow:
                return flow
        raise FlowError(f"layer {facts.name} has flow {facts.flow!r}, but there are {', '.join(self._names) or 'none'}")


@dataclass(frozen=True)
class Facts:
    """An op as the mapper sees it: its geometry, and what its neighbours ask of it."""

    name: str
    in_shapes: tuple[tuple[int, int, int], ...]
    shape: tuple[int, int, int]
    geometry: Geometry
    in_elements: tuple[Element, ...] = (U8,)
    element: Element = U8
    readers: int = 1  # ops that each get the result over channels of their own
    tables: int = 0  # tables that are applied in this op's tiles
    flow: str | None = None  # that reads its crossbars, once it is chosen
    bits: int | None = None  # of its weights' codes, where they are known to be few

    def __hash__(self) -> int:
        """Made once: searches ask for the same facts again and again."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.in_shapes, self.shape, self.geometry, self.readers, self.tables, self.flow))

    @property
    def window(self) -> Window:
        """Through which it sees its inputs."""
        return self.geometry.window

    @property
    def taps(self) -> int:
        """Of the window, those that cost time."""
        return self.geometry.taps

    @property
    def k(self) -> int:
        """Weight rows of one convolution group; 0 where there are no weights."""
        return self.geometry.k

    @property
    def n(self) -> int:
        """Outputs of one convolution group; 0 where there are no weights."""
        return self.geometry.n

    @property
    def groups(self) -> int:
        """Convolution groups."""
        return self.geometry.groups

    @property
    def sums(self) -> bool:
        """Whether there are i32 sums beside the 8-bit result."""
        return self.geometry.sums

    @property
    def is_conv(self) -> bool:
        """Whether it uses crossbars."""
        return self.k > 0

    @property
    def reach(self) -> Reach | None:
        """What it reads, for a movement of data."""
        return self.geometry.reach

    @property
    def rounds(self) -> RoundPlan | None:
        """How it works with an epitome, which k and n are then those of; ``None`` where it does not."""
        return self.geometry.rounds

    @property
    def channelwise(self) -> bool:
        """Whether an output channel needs only the input channels of its own convolution group."""
        return not self.is_conv or self.groups > 1

    def input_channels(self, chans: Range, index: int = 0) -> Range:
        """Input channels that output channels ``chans`` need."""
        if self.reach is not None:
            return self.reach.channels(index, chans)
        if not self.is_conv:
            return chans
        if self.groups == 1:
            return 0, self.in_shapes[index][2]
        per_group = self.in_shapes[index][2] // self.groups
        return chans[0] // self.n * per_group, -(-chans[1] // self.n) * per_group


def is_fused(graph: Graph, op: Op) -> bool:
    """Whether a table is applied in the tiles that make its input."""
    if not op.is_table:
        return False
    producer = graph[op.inputs[0]]
    fits = producer.takes_tables and not (producer.is_host or producer.is_virtual)
    return fits and len(graph.users(producer.name)) == 1


def on_tiles(graph: Graph, op: Op) -> bool:
    """Whether the op has tiles of its own."""
    return not (op.is_host or op.is_virtual or is_fused(graph, op))


def facts_of(graph: Graph, op: Op) -> Facts:
    """Collect the facts of an op that runs on tiles."""
    read = [graph[v] for v in op.inputs]
    shapes = tuple(value.shape for value in read)
    return Facts(
        op.name,
        shapes,
        op.shape,
        op.geometry(shapes, graph.constants),
        tuple(value.element for value in read),
        op.element,
        max(1, _readers(graph, op.name)),
        _tables(graph, op.name),
        getattr(op, "flow", None),
        getattr(op, "bits", None),
    )


def _tables(graph: Graph, value: str) -> int:
    users = graph.users(value)
    return 1 + _tables(graph, users[0].name) if len(users) == 1 and is_fused(graph, users[0]) else 0


def _readers(graph: Graph, value: str) -> int:
    users = graph.users(value)
    return sum(_readers(graph, u.name) if u.is_virtual or is_fused(graph, u) else 1 for u in users)


@lru_cache(maxsize=1 << 14)
def rows_needed(facts: Facts, index: int) -> Array:
    """How many rows of input ``index`` must have arrived before each output row can be made."""
    height, rows = facts.in_shapes[index][0], facts.shape[0]
    if index in facts.geometry.whole:
        return np.full(rows, height)
    if facts.reach is not None:
        return np.array(facts.reach.until[index])
    w = facts.window
    last = np.arange(rows) * w.stride[0] - w.pads[0] + (w.kernel[0] - 1) * w.dilation[0] + 1
    return np.clip(last, 0, height)


@lru_cache(maxsize=1 << 16)
def needed_columns(facts: Facts, index: int, cols: Range) -> Range:
    """Columns of input ``index`` that output columns ``cols`` read."""
    width = facts.in_shapes[index][1]
    if index in facts.geometry.whole:
        return 0, width
    if facts.reach is not None:
        return facts.reach.columns(index, cols)
    first, last = facts.window.cols(cols, width)
    return (first, last) if last > first else (min(first, width - 1), min(first, width - 1) + 1)


@lru_cache(maxsize=1 << 16)
def split(total: int, pieces: int, unit: int = 1) -> tuple[Range, ...]:
    """Cut 0..total into up to ``pieces`` ranges that start at multiples of ``unit`` and differ by one unit at most."""
    units = -(-total // unit)
    pieces = max(1, min(pieces, units))
    edges = [min(total, units * p // pieces * unit) for p in range(pieces + 1)]
    return tuple(itertools.pairwise(edges))
