"""Lower a scheduled graph to a program: one stream per tile, channels between them, weights, tables, the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pimc.analysis.connect import connect
from pimc.analysis.facts import Facts, facts_of, is_fused
from pimc.analysis.wires import need_of
from pimc.ir.graph import Graph
from pimc.ir.ops import Add, AvgPool, Conv, Gap, Lut, Max, MaxPool, Min, Mul, Op, Part, Relay, Sub, Sum, TwoInputs
from pimc.passes.target import Target, TargetError
from pimc_backends.kit.host import host_tiles
from pimc_backends.kit.tilecode import TileCode, all_rows, up_to
from pimc_isa import instructions as isa
from pimc_isa.element import I32
from pimc_isa.operands import Elementwise, Group, Range, Requant, Rounds, RowExpr, Slab, Table, View, Weights
from pimc_isa.program import Program, Tile

__all__ = ["WRITERS", "Emitter", "emit", "next_row", "writes"]

Array = np.ndarray


def emit(graph: Graph, target: Target) -> Program:
    """Lower a graph at stage 'scheduled' to a program."""
    return Emitter(graph, target).program()


class Emitter:
    """State of one lowering: names of tensors, channels, tiles under construction."""

    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph, self.target = graph, target
        self.tensors: dict[str, Array] = {}
        self.weights: dict[str, Weights] = {}
        self.rounds: dict[str, Rounds] = {}
        self.tiles: dict[int, TileCode] = {}
        self.ops = [op for op in graph.ops() if not (op.is_host or op.is_virtual)]
        self.dtypes = {op.name: op.type.dtype for op in graph.ops() if op.type is not None}
        self.number = {op.name: n for n, op in enumerate(graph.ops())}
        self.facts = {op.name: facts_of(graph, op) for op in self.ops}
        self.views = _all_views(graph)
        made = connect(graph, self.facts)
        self.wires, self.sums = made.wires, made.sums

    def program(self) -> Program:
        """Write every tile."""
        host, *islands = host_tiles(self.graph, self.wires, self.tensors, self.views)
        for op in self.ops:
            if is_fused(self.graph, op):
                assert isinstance(op, Lut)
                self._fused(op)
            else:
                for part in op.placement or ():
                    self.tile(op, part)
        tiles = (host, *(self._finished(code) for _, code in sorted(self.tiles.items())), *islands)
        self.tensors["reference"] = np.frombuffer(self.graph.reference, np.uint8)
        read = {g.flow for t in tiles for g in t.groups}
        narrow = sorted(read - set(self.target.flow))
        flows = tuple(self.target.named(name) for name in (*self.target.flow, *narrow) if name in read)
        return Program(
            machine=self.target.machine,
            tiles=tiles,
            channels=tuple(w.channel for w in self.wires.all),
            flows=flows,
            weights=tuple(self.weights.values()),
            inputs=self.graph.inputs,
            outputs=self.graph.outputs,
            tensors=self.tensors,
            meta={"target": self.target.name, "network": self.graph.name, **self.graph.meta},
            rounds=tuple(self.rounds.values()),
        )

    def tile(self, op: Op, part: Part) -> None:
        """Write one tile. Raises TargetError for an op whose tiles nobody writes."""
        code = TileCode.at(part, op.name, op.shape[0], op.node)
        self.tiles[part.tile] = code
        if type(op) not in WRITERS:
            raise TargetError(f"target {self.target.name} cannot write the tiles of {op.kind} ({op.name})")
        WRITERS[type(op)](self, op, part, code)

    def inputs(self, op: Op, part: Part, code: TileCode, names: tuple[str, ...], until: tuple[RowExpr, ...]) -> None:
        """Declare and receive every input."""
        facts, schedule = self.facts[op.name], op.schedule
        assert schedule is not None
        for index, (name, rows) in enumerate(zip(names, until, strict=True)):
            shape = facts.in_shapes[index]
            _, cols, chans = need_of(facts, part, index)
            code.buffer(name, self.dtypes[op.inputs[index]], shape, cols, chans, schedule.slots[index])
            wires = self.wires.recvs.get((part.tile, op.name, index), [])
            drained = rows.at(op.shape[0] - 1) >= shape[0]
            code.receive(name, wires, rows, shape[0], drained)

    def result(self, op: Op, part: Part, code: TileCode, name: str = "y") -> str:
        """Declare the ring of the result; returns its name."""
        assert op.schedule is not None
        dtype, slots, views = self.dtypes[op.name], op.schedule.out_slots, self.views[op.name]
        return code.buffer(name, dtype, op.shape, part.cols, part.chans, slots, views)

    def _requant(self, op: Conv | Gap, multiplier: Array, bias: Array) -> Requant:
        stem = f"q{self.number[op.name]}"
        self.tensors[f"{stem}.multiplier"] = multiplier
        self.tensors[f"{stem}.bias"] = bias
        return Requant("q", stem, op.y_zero, op.lo, op.hi)

    def send(self, op: Op, part: Part, code: TileCode, name: str) -> None:
        """Send a row of a ring to all who read it."""
        code.send(name, self.wires.sends.get((part.tile, op.name), []))

    def conv(self, op: Conv, part: Part, code: TileCode) -> None:
        """Receive, multiply, (pass sums along the chain,) requantise, send."""
        facts = self.facts[op.name]
        assert op.schedule is not None
        assert op.mapping is not None
        w = facts.window
        code.windows.append(w)
        code.groups.append(self._group(op, part))
        tall = (w.kernel[0] - 1) * w.dilation[0] + 1
        self.inputs(op, part, code, ("x",), (up_to(w.stride[0], tall - w.pads[0]),))
        code.buffer("acc", I32.name, op.shape, part.cols, part.chans, op.schedule.out_slots)
        before = next((wire for (_, b), wire in self.sums.items() if b == part.tile), None)
        after = next((wire for (a, _), wire in self.sums.items() if a == part.tile), None)
        if before is not None:
            code.do(isa.Recv(dst=Slab("acc", RowExpr()), channel=before.name, until=next_row(code)))
        multiply = isa.Mvm if before is None else isa.Mvma
        code.do(multiply(dst=code.row("acc"), src="x", window="w", group="g"))
        if after is not None:
            code.do(isa.Send(channel=after.name, src=code.row("acc")))
            return
        weights = self.graph.constants[op.weights]
        zero_point = op.x_zero - self._driven_zero(op)
        products = zero_point * weights.reshape(weights.shape[0], -1).sum(axis=1, dtype=np.int64)
        bias = (self.graph.constants[op.bias].astype(np.int64) - products).astype(np.int32)
        code.requants.append(self._requant(op, self.graph.constants[op.multiplier], bias))
        self.result(op, part, code)
        code.do(isa.Quant(dst=code.row("y"), src=code.row("acc"), requant="q"))
        self.send(op, part, code, "y")

    def _group(self, op: Conv, part: Part) -> Group:
        facts, cells = self.facts[op.name], op.cells
        assert cells is not None
        assert op.mapping is not None
        assert op.flow is not None
        name = f"w{self.number[op.name]}"
        if name not in self.weights:
            self.weights[name] = Weights(
                name, facts.groups, facts.k, facts.n, cells.block_rows, cells.slices, cells.bipolar
            )
            for field in ("codes", "polarity", "centre"):
                self.tensors[f"{name}.{field}"] = self.graph.constants[getattr(cells, field)]
        outputs, groups = _held(facts, part)
        v_max, gain = op.scale or (0.0, 1.0)
        copies, zero, rounds = op.mapping.copies, self._driven_zero(op), self._rounds(op, part)
        return Group("g", name, op.flow, part.rows_k, outputs, groups, copies, v_max, gain, rounds, zero)

    def _rounds(self, op: Conv, part: Part) -> str:
        """The name of the rounds of a tile's rows; '' where the layer has none."""
        if op.rounds is None:
            return ""
        assert op.mapping is not None
        first, last = part.rows_k
        name = f"r{self.number[op.name]}" + (f".{first}" if len(op.mapping.chain) > 1 else "")
        if name not in self.rounds:
            tables = op.rounds.tables(self.graph.constants).within((first, last))
            inputs = op.kernel[0] * op.kernel[1] * self.facts[op.name].in_shapes[0][2]
            self.rounds[name] = Rounds(name, inputs, (0, op.shape[2]), tables.count)
            self.tensors |= tables.named(name)
        return name

    def _driven_zero(self, op: Conv) -> int:
        """The part of the inputs' zero point that the crossbars take off: all of it, or nothing."""
        assert op.flow is not None
        return op.x_zero if self.target.named(op.flow).signed else 0

    def elementwise(self, op: TwoInputs, part: Part, code: TileCode) -> None:
        """Receive both operands, combine, send."""
        gate = 1 in self.facts[op.name].geometry.whole
        self.inputs(op, part, code, ("a", "b"), (next_row(code), all_rows(1) if gate else next_row(code)))
        code.elementwises.append(op.scales("s"))
        self.result(op, part, code)
        second = code.row("b", RowExpr() if gate else None)
        code.do(type(op).instruction(dst=code.row("y"), a=code.row("a"), b=second, scales="s"))
        self.send(op, part, code, "y")

    def windowed(self, op: Op, part: Part, code: TileCode) -> None:
        """Declare the window and receive the rows it needs."""
        w = self.facts[op.name].window
        code.windows.append(w)
        tall = (w.kernel[0] - 1) * w.dilation[0] + 1
        self.inputs(op, part, code, ("x",), (up_to(w.stride[0], tall - w.pads[0]),))

    def maxpool(self, op: MaxPool, part: Part, code: TileCode) -> None:
        """Receive, pool, send."""
        self.windowed(op, part, code)
        self.result(op, part, code)
        code.do(isa.PoolMax(dst=code.row("y"), src="x", window="w"))
        self.send(op, part, code, "y")

    def avgpool(self, op: AvgPool, part: Part, code: TileCode) -> None:
        """Receive, pool, send."""
        self.windowed(op, part, code)
        count_rule = (1.0, int(op.count_include_pad))
        x, y = (op.x_scale, op.x_zero), (op.y_scale, op.y_zero)
        code.elementwises.append(Elementwise("s", x, count_rule, y, op.lo, op.hi, offset=op.offset))
        self.result(op, part, code)
        code.do(isa.PoolAvg(dst=code.row("y"), src="x", window="w", scales="s"))
        self.send(op, part, code, "y")

    def gap(self, op: Gap, part: Part, code: TileCode) -> None:
        """Receive all rows, sum, requantise, send."""
        self.windowed(op, part, code)
        code.buffer("acc", I32.name, op.shape, part.cols, part.chans, 1)
        constants = self.graph.constants
        code.requants.append(self._requant(op, constants[op.multiplier], constants[op.bias]))
        self.result(op, part, code)
        code.do(isa.PoolSum(dst=code.row("acc"), src="x", window="w"))
        code.do(isa.Quant(dst=code.row("y"), src=code.row("acc"), requant="q"))
        self.send(op, part, code, "y")

    def lut(self, op: Lut, part: Part, code: TileCode) -> None:
        """Receive, look up, send: a table with tiles of its own."""
        self.inputs(op, part, code, ("x",), (next_row(code),))
        self.look_up(op, part, code, "x", "y")

    def relay(self, op: Relay, part: Part, code: TileCode) -> None:
        """Receive and send: the channel in front holds the rows that wait."""
        self.inputs(op, part, code, ("x",), (next_row(code),))
        self.send(op, part, code, "x")

    def _fused(self, op: Lut) -> None:
        """A table applied in the tiles that make its input."""
        for part in op.placement or ():
            code = self.tiles[part.tile]
            code.node = op.node
            source = next(b.name for b in reversed(code.buffers) if b.views == self.views[op.inputs[0]])
            self.look_up(op, part, code, source, f"z{len(code.tables)}")

    def look_up(self, op: Lut, part: Part, code: TileCode, source: str, result: str) -> None:
        """Apply a table to a ring's row, and send what comes out."""
        data = f"t{self.number[op.name]}"
        self.tensors[data] = self.graph.constants[op.table]
        table = f"t{len(code.tables)}"
        code.tables.append(Table(table, data))
        self.result(op, part, code, result)
        code.do(isa.Lut(dst=code.row(result), src=code.row(source), table=table))
        self.send(op, part, code, result)

    def _finished(self, code: TileCode) -> Tile:
        return code.tile()


def _held(facts: Facts, part: Part) -> tuple[Range, Range]:
    """The outputs of the weights that a tile holds, and the convolution groups."""
    if facts.rounds is not None:
        return (0, facts.n), (0, 1)
    first, last = part.chans[0] // facts.n, -(-part.chans[1] // facts.n)
    one = part.chans[0] - first * facts.n, part.chans[1] - first * facts.n
    return (0, facts.n) if last - first > 1 else one, (first, last)


def next_row(code: TileCode) -> RowExpr:
    """One row for each step of the loop."""
    return RowExpr(1, 1) if code.rows > 1 else all_rows(1)


def _all_views(graph: Graph) -> dict[str, tuple[View, ...]]:
    """ONNX tensors held by each value's buffers, including those of concatenations it is a part of."""
    views = {op.name: list(op.views) for op in graph.ops()}
    for op in reversed(list(graph.ops())):
        if not op.is_virtual:
            continue
        first = 0
        for n, lo, hi in op.parts([graph[v].shape[2] for v in op.inputs]):
            if lo == 0 and hi == graph[op.inputs[n]].shape[2]:
                views[op.inputs[n]] += [replace(v, channel=v.channel + first) for v in views[op.name]]
            first += hi - lo
    return {name: tuple(v) for name, v in views.items()}


Writer = Callable[[Emitter, Any, Part, TileCode], None]

WRITERS: dict[type[Op], Writer] = {}
"""How each op's tiles are written."""


def writes(*ops: type[Op]) -> Callable[[Writer], Writer]:
    """Say that a function writes the tiles of these ops. An op whose tiles nobody writes is an error in `emit`."""

    def entered(writer: Writer) -> Writer:
        for op in ops:
            if WRITERS.setdefault(op, writer) is not writer:
                raise TypeError(f"tiles of {op.kind} have two writers")
        return writer

    return entered


writes(Conv)(Emitter.conv)
writes(Add, Max, Min, Mul, Sub, Sum)(Emitter.elementwise)
writes(MaxPool)(Emitter.maxpool)
writes(AvgPool)(Emitter.avgpool)
writes(Gap)(Emitter.gap)
writes(Lut)(Emitter.lut)
writes(Relay)(Emitter.relay)
