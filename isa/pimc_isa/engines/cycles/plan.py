"""The part of timing that does not depend on time: each tile's stream unrolled, with the dependences of every node.

A node is one occupation of a unit: an instruction, or one row transfer of a ``recv``. Nodes of a unit run in order, and
end in order, so of all the nodes of a unit that a node must wait for, only the latest counts, and only if no earlier
node of its own unit has waited for it already. Tiles whose streams differ in names only share one plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pimc_isa.define import Context, Instr, Touch, fields_of
from pimc_isa.engines.timing import unit_of
from pimc_isa.instructions import Recv, Send, blocks
from pimc_isa.operands import ALL_ROWS, Window

__all__ = ["Node", "Static", "StreamPlan", "StreamPlanner"]

#: (position in the dispatch order or -1, cycles, ((unit, node), ...), code index, message number or -1, cycles until
#: the unit can start its next node)
Node = tuple[int, int, tuple[tuple[int, int], ...], int, int, int]

#: (buffer, first row, end row, of each iteration)
Span = tuple[int, list[int], list[int]]


@dataclass(frozen=True)
class Static:
    """One instruction of the code: unit, cycles, rows touched by iteration, and for recv and send its channel.

    ``until``: messages taken after each iteration, and ``rows`` the row of each (recv); ``sends``: messages of an
    image, and ``idle`` the iterations that send nothing (send).
    """

    unit: int
    cycles: int
    occupancy: int
    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()
    channel: str = ""
    until: tuple[int, ...] = ()
    rows: range = range(0)
    sends: int = 0
    idle: frozenset[int] = frozenset()


@dataclass(frozen=True)
class StreamPlan:
    """A tile's stream over all images.

    ``dispatch``: per instruction the cycles since the one before, and the unit and node that must have started for its
    queue to have room (node -1: none). ``executed`` [n]: unit, first and last node of each instruction. ``sent``: the
    messages of each send, by its place in the code.
    """

    units: list[str]
    dispatch: list[tuple[int, int, int]] = field(default_factory=list)
    nodes: list[list[Node]] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    iteration: list[int] = field(default_factory=list)
    executed: list[tuple[int, int, int]] = field(default_factory=list)
    sent: dict[int, int] = field(default_factory=dict)


def unroll(code: tuple[Instr, ...]) -> tuple[list[tuple[int, int, int]], int]:
    """(code index, iteration, cycles since the last dispatch) of one image's instructions, and the cycles left over."""
    stream: list[tuple[int, int, int]] = []
    gap = 1
    for block in blocks(code):
        gap += block.looped  # the loop's own cycle; an end's is after each iteration
        for i in range(block.times):
            for k in block.positions:
                stream.append((k, i, gap))
                gap = 1
            gap += block.looped
    return stream, gap


def _spans(touches: list[list[Touch]], buffers: dict[str, int]) -> tuple[Span, ...]:
    """Touches by iteration as spans; the n-th touch of every iteration is of the same buffer."""
    return tuple(
        (buffers[column[0].buffer], [t.rows[0] for t in column], [t.rows[1] for t in column])
        for column in zip(*touches, strict=True)
    )


def _rows(instr: Instr, ctx: Context, times: int, buffers: dict[str, int]) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Rows read and written in each iteration; instructions with rows of their own kind are asked one by one.

    A ``send`` reads its row; iterations that send nothing are left out by others.
    """
    special = type(instr).reads is not Instr.reads or type(instr).writes is not Instr.writes
    if special and not isinstance(instr, Send):
        return (
            _spans([instr.reads(ctx, i) for i in range(times)], buffers),
            _spans([instr.writes(ctx, i) for i in range(times)], buffers),
        )
    reads: list[Span] = []
    writes: list[Span] = []
    for name, spec in fields_of(type(instr)):
        value = getattr(instr, name)
        if spec.kind == "slab" and spec.access:
            first = [value.row.at(i) for i in range(times)]
            span = (buffers[value.buffer], first, [r + 1 for r in first])
            if "r" in spec.access:
                reads.append(span)
            if "w" in spec.access:
                writes.append(span)
        elif spec.window:
            window, height = ctx.window(getattr(instr, spec.window)), ctx.tile.buffer[value].rows
            ranges = [window.rows(instr.destination.row.at(i), height) for i in range(times)]
            reads.append((buffers[value], [r[0] for r in ranges], [r[1] for r in ranges]))
    return tuple(reads), tuple(writes)


def _key(ctx: Context) -> tuple[object, ...]:
    """Equal for tiles with equal plans but for the names of channels, numbered in order of appearance."""
    tile = ctx.tile
    names: dict[str, int] = {}
    code: list[object] = []
    for instr in tile.code:
        part: list[object] = [type(instr), instr.cycles(ctx), instr.occupancy(ctx)]
        for name, spec in fields_of(type(instr)):
            value = getattr(instr, name)
            if spec.kind == "slab":
                part.append((value.buffer, value.row))
            elif spec.kind == "rows":
                part.append((value.first, value.stop, value.step))
            elif spec.space == "channel":
                part.append(names.setdefault(value, len(names)))
            else:
                part.append(value)
        code.append(tuple(part))
    windows: list[Window] = sorted(tile.windows, key=lambda w: w.name)
    return tuple(code), tuple((b.name, b.rows, b.slots) for b in tile.buffers), tuple(windows), tile.kind


class StreamPlanner:
    """Makes plans; tiles with the same stream get the same object."""

    def __init__(self, images: int, queue_depth: int) -> None:
        """Plans for ``images`` images on tiles with unit queues of ``queue_depth``; the host's are unbounded."""
        self.images = images
        self.queue_depth = queue_depth
        self._plans: dict[tuple[object, ...], StreamPlan] = {}

    def plan(self, ctx: Context) -> StreamPlan:
        """The plan of a tile."""
        key = _key(ctx)
        if key not in self._plans:
            self._plans[key] = _Builder(ctx, self.images, self.queue_depth).build()
        return self._plans[key]


class _Builder:
    """The scoreboard of one tile, run over its stream: who last wrote a row, who last touched a slot."""

    def __init__(self, ctx: Context, images: int, queue_depth: int) -> None:
        self.images = images
        self.queue_depth = _UNBOUNDED if ctx.tile.kind == "host" else queue_depth
        self.buffers = ctx.tile.buffers
        self.stream, self.tail = unroll(ctx.tile.code)
        units: dict[str, int] = {}
        times: dict[int, int] = {}
        for k, i, _ in self.stream:
            times[k] = i + 1
            units.setdefault(unit_of(ctx.tile.code[k]), len(units))
        self.units = list(units)
        self.static = {k: _static(ctx, k, units, n) for k, n in times.items()}
        # Per slot and, for the present image, per row: the latest node of each unit.
        self.touched: list[list[dict[int, int]]] = [[{} for _ in range(b.slots)] for b in self.buffers]
        self.written: list[dict[int, dict[int, int]]] = []
        # waited[u][v]: the latest node of unit v that unit u has waited for; itself: always, unless it is pipelined.
        pipelined = {st.unit for st in self.static.values() if st.occupancy < st.cycles}
        self.waited = [
            [1 << 60 if u == v and u not in pipelined else -1 for v in range(len(units))] for u in range(len(units))
        ]
        self.base: list[int] = []

    def build(self) -> StreamPlan:
        """Unroll all images."""
        plan = StreamPlan(self.units, nodes=[[] for _ in self.units])
        firsts: list[list[int]] = [[] for _ in self.units]
        messages: dict[str, int] = {}
        carry = 0
        for image in range(self.images):
            self.written = [{} for _ in self.buffers]
            self.base = [image * b.rows for b in self.buffers]
            arrived: dict[str, int] = {}
            for k, i, gap in self.stream:
                st = self.static[k]
                u = st.unit
                nodes = plan.nodes[u]
                full = len(firsts[u]) - self.queue_depth
                pos = len(plan.dispatch)
                plan.dispatch.append((gap + carry, u, firsts[u][full] if full >= 0 else -1))
                carry = 0
                firsts[u].append(len(nodes))
                if st.until:
                    self._transfers(st, k, i, pos, nodes, arrived, messages)
                elif st.idle and i in st.idle:
                    nodes.append((pos, 1, (), k, -1, 1))
                else:
                    message = -1
                    if st.channel:
                        message = messages.get(st.channel, 0)
                        messages[st.channel] = message + 1
                    deps = self._node(st, i, len(nodes))
                    nodes.append((pos, st.cycles, deps, k, message, st.occupancy))
                plan.executed.append((u, firsts[u][-1], len(nodes) - 1))
            carry = self.tail
        plan.sent.update({k: self.images * st.sends for k, st in self.static.items() if st.sends})
        plan.index.extend(k for k, _, _ in self.stream)
        plan.iteration.extend(i for _, i, _ in self.stream)
        return plan

    def _transfers(
        self, st: Static, k: int, i: int, pos: int, nodes: list[Node], arrived: dict[str, int], messages: dict[str, int]
    ) -> None:
        """The rows of a ``recv``; with none left, one cycle."""
        first = arrived.get(st.channel, 0)
        stop = st.until[i]
        if stop <= first:
            nodes.append((pos, 1, (), k, -1, 1))
            return
        message = messages.get(st.channel, 0)
        ((buffer, _, _),) = st.writes
        for row in st.rows[first:stop]:
            deps = self._write(st.unit, len(nodes), [(buffer, row, row + 1)])
            nodes.append((pos, st.cycles, deps, k, message, st.occupancy))
            pos = -1
            message += 1
        arrived[st.channel] = stop
        messages[st.channel] = message

    def _node(self, st: Static, i: int, node: int) -> tuple[tuple[int, int], ...]:
        u = st.unit
        waited = self.waited[u]
        need: dict[int, int] = {}
        reads = [(b, first[i], stop[i]) for b, first, stop in st.reads]
        for b, first, stop in reads:
            written = self.written[b]
            for row in range(first, stop):
                for v, m in written.get(row, _NONE).items():
                    if m > waited[v]:
                        need[v] = waited[v] = m
        if st.writes:
            need.update(self._write(u, node, [(b, first[i], stop[i]) for b, first, stop in st.writes]))
        for b, first, stop in reads:
            touched, base = self.touched[b], self.base[b]
            for row in range(base + first, base + stop):
                touched[row % len(touched)][u] = node
        return tuple(need.items())

    def _write(self, u: int, node: int, spans: list[tuple[int, int, int]]) -> tuple[tuple[int, int], ...]:
        """Wait for the slots' last users; then this node is the rows' last writer and the slots' last user."""
        waited = self.waited[u]
        need: dict[int, int] = {}
        for b, first, stop in spans:
            touched, written, base = self.touched[b], self.written[b], self.base[b]
            for row in range(first, stop):
                slot = touched[(base + row) % len(touched)]
                for v, m in slot.items():
                    if m > waited[v]:
                        need[v] = waited[v] = m
                slot[u] = node
                written.setdefault(row, {})[u] = node
        return tuple(need.items())


_NONE: dict[int, int] = {}
_UNBOUNDED = 1 << 60


def _static(ctx: Context, k: int, units: dict[str, int], times: int) -> Static:
    instr = ctx.tile.code[k]
    buffers = {b.name: n for n, b in enumerate(ctx.tile.buffers)}
    unit, cycles, occupancy = units[unit_of(instr)], max(1, instr.cycles(ctx)), max(1, instr.occupancy(ctx))
    if isinstance(instr, Recv):
        until = tuple(instr.taken_until(ctx, i) for i in range(times))
        to: tuple[Span, ...] = ((buffers[instr.dst.buffer], [], []),)
        return Static(unit, cycles, occupancy, (), to, instr.channel, until, instr.row_of_message(ctx))
    reads, writes = _rows(instr, ctx, times, buffers)
    if isinstance(instr, Send):
        some = range(times) if instr.rows != ALL_ROWS else ()
        idle = frozenset(i for i in some if not instr.sends(ctx, i))
        return Static(unit, cycles, occupancy, reads, writes, instr.channel, sends=times - len(idle), idle=idle)
    return Static(unit, cycles, occupancy, reads, writes)
