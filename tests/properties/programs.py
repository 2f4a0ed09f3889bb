"""Random small programs, built instruction by instruction without the compiler, for tests that engines agree.

A program is a network of layers: convolutions (strides, pads, dilation, groups, copies, several matrix groups, partial
sums over two tiles), pools, tables, additions, products, concatenations and row maps, in column strips on several
tiles and chips. Rings and channels are anything from too tight to generous, so some programs deadlock.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cache
from random import Random

import numpy as np
import onnx
from onnx import TensorProto, helper

from pimc_isa.define import Instr, fields_of
from pimc_isa.encode import encode
from pimc_isa.flow import Flow, MicroOp
from pimc_isa.instructions import Add, CallHost, Copy, End, Halt, Loop, Lut, Mul, Mvm, Mvma, PoolAvg, PoolMax
from pimc_isa.instructions import PoolSum, Quant, Recv, Send
from pimc_isa.machine import Array as Crossbar
from pimc_isa.machine import Chip, Host, Machine, Network, TileSpec
from pimc_isa.operands import Buffer, Call, Channel, Elementwise, Group, Range, Requant, RowExpr, Slab, Table, Weights
from pimc_isa.operands import View, Window
from pimc_isa.program import Port, Program, Tile

Array = np.ndarray
I = RowExpr(1)  # noqa: E741
NEXT = RowExpr(1, 1)


@dataclass(frozen=True)
class Piece:
    """A part of every row of a tensor, and the channel it travels on."""

    channel: str
    cols: Range
    chans: Range


@dataclass
class Tensor:
    """What one layer makes: rows x width x channels of u8, in pieces."""

    rows: int
    width: int
    channels: int
    pieces: list[Piece] = field(default_factory=list)
    used: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.rows, self.width, self.channels


@dataclass
class TileDraft:
    """A tile being built."""

    number: int
    name: str
    buffers: list[Buffer] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    requants: list[Requant] = field(default_factory=list)
    elementwises: list[Elementwise] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    recvs: list[tuple[Slab, str]] = field(default_factory=list)
    code: list[Instr] = field(default_factory=list)


def moved(instr: Instr, by: int, scale: int = 1) -> Instr:
    """The instruction with ``i`` replaced by ``scale*i + by``."""
    changes: dict[str, object] = {}
    for name, spec in fields_of(type(instr)):
        value = getattr(instr, name)
        if spec.kind == "slab":
            row = value.row
            changes[name] = dataclasses.replace(value, row=RowExpr(row.a * scale, row.a * by + row.b, row.d))
        elif spec.kind == "until":
            changes[name] = RowExpr(value.a * scale, value.a * by + value.b, value.d)
    return dataclasses.replace(instr, **changes)  # type: ignore[arg-type]


def strips(rng: Random, width: int, most: int) -> list[Range]:
    """Cut ``width`` columns into at most ``most`` ranges."""
    cuts = sorted(rng.sample(range(1, width), min(rng.randint(1, most), width) - 1))
    edges = [0, *cuts, width]
    return list(zip(edges, edges[1:], strict=False))


@cache
def identity_model(count: int, shapes: tuple[tuple[int, ...], ...]) -> bytes:
    """A subgraph that hands ``count`` u8 tensors on: in0 -> out0, ..."""
    made = []
    for letter in ("in", "out"):
        made.append(
            [helper.make_tensor_value_info(f"{letter}{n}", TensorProto.UINT8, (1, *shapes[n])) for n in range(count)]
        )
    nodes = [helper.make_node("Identity", [f"in{n}"], [f"out{n}"]) for n in range(count)]
    graph = helper.make_graph(nodes, "identity", made[0], made[1])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def make_flow(rng: Random, name: str, slices: tuple[int, ...], exact: bool) -> Flow:
    """8-bit inputs in equal slices; the converters are wide enough for anything here, or far too narrow."""
    bits = rng.choice([1, 2, 4])
    convert = ("unsigned", "14") if exact else ("unsigned", str(rng.randint(3, 6)), *rng.choice([(), ("step=2",)]))
    ops = [MicroOp(0, "load")]
    last = 8 // bits
    for n in range(last):
        ops += [MicroOp(n + 1, "drive", (f"{n * bits}:{n * bits + bits}",)), MicroOp(n + 1, "read")]
        ops += [MicroOp(n + 2, "convert", convert)]
        ops += [MicroOp(n + 3, "accumulate", (f"<<{n * bits}",)), MicroOp(n + 3, "sum-inputs", (f"<<{n * bits}",))]
    ops += [MicroOp(last + 3, "correct"), MicroOp(last + 3, "merge"), MicroOp(last + 4, "store")]
    return Flow(name, 8, slices, rng.randint(1, 3), last + 5 + rng.randint(0, 2), last + 5, tuple(ops))


def make_machine(rng: Random, tiles: int) -> tuple[Machine, list[tuple[int, int, int]]]:
    """A machine with small rates and room for ``tiles`` tiles, and where they sit."""
    chip = Chip(rng.randint(1, 3), rng.randint(1, 3))
    places = [(c, x, y) for c in range(9) for x in range(chip.mesh_columns) for y in range(chip.mesh_rows)]
    spread = chip.tiles * -(-tiles // chip.tiles) + (chip.tiles if rng.random() < 0.3 else 0)
    net = Network(rng.randint(1, 16), rng.randint(0, 3), rng.randint(1, 16), rng.randint(1, 8))
    spec = TileSpec(64, 1 << 20, rng.randint(1, 32), rng.randint(1, 16), rng.randint(1, 4))
    machine = Machine("random", 1e9, Crossbar(128, 128, 8, 1, 1, 1e6, 16, 8), spec, chip, net, Host(rng.randint(1, 64)))
    while len(places) < max(spread, tiles):
        places.append((places[-1][0] + 1, 0, 0))
    return machine, rng.sample(places[: max(spread, tiles)], tiles)


class Drafter:
    """Builds one program."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.tight = rng.random()  # how much memory beyond the least: 1 none, 0 plenty
        self.tiles: list[TileDraft] = []
        self.sources: dict[str, int] = {}
        self.dests: dict[str, list[int]] = {}
        self.tensors: dict[str, Array] = {}
        self.weights: list[Weights] = []
        self.flows: list[Flow] = []
        self.made: list[Tensor] = []
        self.host_code: list[Instr] = []

    # ---- parts ----

    def extra(self, most: int) -> int:
        return 0 if self.rng.random() < self.tight else self.rng.randint(0, most)

    def tile(self, kind: str) -> TileDraft:
        draft = TileDraft(len(self.tiles) + 1, f"{kind}{len(self.tiles)}")
        self.tiles.append(draft)
        return draft

    def channel(self, tile: int) -> str:
        name = f"c{len(self.sources)}"
        self.sources[name] = tile
        self.dests[name] = []
        return name

    def data(self, kind: str, values: Array) -> str:
        name = f"{kind}{len(self.tensors)}"
        self.tensors[name] = values
        return name

    def source(self, t: TileDraft, x: Tensor, name: str, cols: Range, slots: int, chans: Range | None = None) -> None:
        """A ring for ``x`` and what the tile receives into it."""
        x.used = True
        chans = chans or (0, x.channels)
        cols = (min(cols[0], x.width - 1), max(cols[1], min(cols[0], x.width - 1) + 1))
        wanted = [p for p in x.pieces if _meet(p.cols, cols) and _meet(p.chans, chans)]
        hull = [(min(r[0] for r in ranges), max(r[1] for r in ranges)) for ranges in
                ([p.cols for p in wanted], [p.chans for p in wanted])]
        t.buffers.append(Buffer(name, "u8", x.rows, x.width, x.channels, hull[0], hull[1], slots))
        for p in wanted:
            self.dests[p.channel].append(t.number)
            t.recvs.append((Slab(name, RowExpr(), p.cols, p.chans), p.channel))

    def ring(self, t: TileDraft, name: str, y: Tensor, cols: Range, dtype: str = "u8") -> None:
        t.buffers.append(
            Buffer(name, dtype, y.rows, y.width, y.channels, cols, (0, y.channels), 1 + self.extra(2))
        )

    def sends(self, t: TileDraft, y: Tensor, cols: Range) -> list[Instr]:
        """Send y[i], in one part or two."""
        chans = strips(self.rng, y.channels, 2) if self.rng.random() < 0.2 else [(0, y.channels)]
        made: list[Instr] = []
        for part in chans:
            name = self.channel(t.number)
            y.pieces.append(Piece(name, cols, part))
            made.append(Send(name, Slab("y", I, None, part if len(chans) > 1 else None)))
        return made

    def receive(self, t: TileDraft, until: RowExpr) -> list[Instr]:
        return [Recv(dst, channel, until) for dst, channel in t.recvs]

    def finish(self, t: TileDraft, rows: int, body: list[Instr]) -> None:
        """The loop over ``rows``, perhaps with its first row peeled, then what is left to receive."""
        if rows > 1 and self.rng.random() < 0.3:
            t.code += [moved(instr, 0, 0) for instr in body]
            t.code += [Loop(rows - 1), *[moved(instr, 1) for instr in body], End()]
        elif rows % 2 == 0 and self.rng.random() < 0.2:
            t.code += [Loop(rows // 2), *[moved(s, 0, 2) for s in body], *[moved(s, 1, 2) for s in body], End()]
        else:
            t.code += [Loop(rows), *body, End()]
        t.code += [Recv(dst, channel, RowExpr(0, 1 << 12)) for dst, channel in t.recvs]
        t.code.append(Halt())

    # ---- layers ----

    def window(self, x: Tensor, pad_value: int) -> Window:
        rng = self.rng
        kernel = (rng.randint(1, min(3, x.rows)), rng.randint(1, min(3, x.width)))
        dilation = tuple(rng.choice([1, 1, 1, 2]) if (k - 1) * 2 < n else 1 for k, n in zip(kernel, x.shape, strict=False))
        pads = tuple(rng.randint(0, k - 1) for k in (*kernel, *kernel))
        stride = (rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2]))
        return Window("w", kernel, stride, pads, dilation, pad_value)  # type: ignore[arg-type]

    def windowed(self, x: Tensor, w: Window, channels: int) -> Tensor:
        size = [
            (n + w.pads[d] + w.pads[d + 2] - (w.kernel[d] - 1) * w.dilation[d] - 1) // w.stride[d] + 1
            for d, n in enumerate(x.shape[:2])
        ]
        return Tensor(size[0], size[1], channels)

    def window_source(self, t: TileDraft, x: Tensor, w: Window, cols: Range) -> RowExpr:
        """The ring that a window needs, and the rows it needs for output row i."""
        extent = (w.kernel[0] - 1) * w.dilation[0] + 1
        ahead = self.extra(2)
        self.source(t, x, "x", w.cols(cols, x.width), extent + ahead + self.extra(2))
        t.windows.append(w)
        return RowExpr(w.stride[0], extent - w.pads[0] + ahead)

    def requant(self, t: TileDraft, channels: int) -> None:
        rng = np.random.default_rng(self.rng.randrange(1 << 30))
        name = self.data("m", np.zeros(0))
        self.tensors[f"{name}.multiplier"] = (rng.random(channels) * 0.01).astype(np.float32)
        self.tensors[f"{name}.bias"] = rng.integers(-500, 500, channels).astype(np.int32)
        del self.tensors[name]
        t.requants.append(Requant("q", name, self.rng.randint(0, 255)))

    def elementwise(self) -> Elementwise:
        rng = self.rng
        sides = [(float(np.float32(rng.uniform(0.01, 0.1))), rng.randint(0, 255)) for _ in range(3)]
        return Elementwise("e", sides[0], sides[1], sides[2])

    def conv(self, x: Tensor) -> Tensor:
        rng = self.rng
        w = self.window(x, rng.randint(0, 255))
        grouped = x.channels > 1 and rng.random() < 0.3
        groups = x.channels if grouped else 1
        n = rng.randint(1, 4) if not grouped else rng.randint(1, 2)
        k = w.kernel[0] * w.kernel[1] * x.channels // groups
        y = self.windowed(x, w, groups * n)
        slices = rng.choice([(2, 2, 2, 2), (4, 4), (1, 3, 4), (8,)])
        block_rows = rng.randint(max(1, k // 2), max(2, k))
        values = np.random.default_rng(rng.randrange(1 << 30)).integers(-128, 128, (groups, k, n)).astype(np.int8)
        cells = encode(values, slices, block_rows)
        weights = Weights(f"w{len(self.weights)}", groups, k, n, block_rows, slices)
        self.weights.append(weights)
        for part in ("codes", "polarity", "centre"):
            self.tensors[f"{weights.name}.{part}"] = getattr(cells, part)
        flow = make_flow(rng, f"f{len(self.flows)}", slices, rng.random() < 0.6)
        self.flows.append(flow)
        for cols in strips(rng, y.width, 3):
            if not grouped and block_rows < k and rng.random() < 0.6:
                self._conv_chained(x, y, w, weights, flow.name, cols)
            else:
                self._conv_tile(x, y, w, weights, flow.name, cols)
        return y

    def _conv_tile(self, x: Tensor, y: Tensor, w: Window, weights: Weights, flow: str, cols: Range) -> None:
        rng, t = self.rng, self.tile("conv")
        until = self.window_source(t, x, w, cols)
        self.ring(t, "y", y, cols)
        self.requant(t, y.channels)
        split = (0, weights.groups) if weights.groups > 1 else (0, weights.n)
        parts = strips(rng, split[1], 2)
        body = self.receive(t, until)
        quants: list[Instr] = []
        shared = rng.random() < 0.5
        if shared:
            self.ring(t, "acc", y, cols, "i32")
        for m, part in enumerate(parts):
            groups, n = (part, (0, weights.n)) if weights.groups > 1 else ((0, 1), part)
            t.groups.append(Group(f"g{m}", weights.name, flow, (0, weights.k), n, groups, rng.randint(1, 3)))
            chans = (part[0] * weights.n, part[1] * weights.n) if weights.groups > 1 else part
            acc = "acc" if shared else f"acc{m}"
            if not shared:
                self.ring(t, acc, y, cols, "i32")
            body.append(Mvm(Slab(acc, I, None, chans), "x", "w", f"g{m}"))
            quants.append(Quant(Slab("y", I, None, chans), Slab(acc, I, None, chans), "q"))
        self.finish(t, y.rows, [*body, *quants, *self.sends(t, y, cols)])

    def _conv_chained(self, x: Tensor, y: Tensor, w: Window, weights: Weights, flow: str, cols: Range) -> None:
        """The first rows of the weights on one tile, the others on a second that takes the first one's sums."""
        rng, first, second = self.rng, self.tile("partial"), self.tile("sum")
        cut = weights.block_rows * rng.randint(1, weights.blocks - 1)
        link = self.channel(first.number)
        until = self.window_source(first, x, w, cols)
        self.ring(first, "acc", y, cols, "i32")
        first.groups.append(Group("g", weights.name, flow, (0, cut), (0, weights.n), (0, 1), rng.randint(1, 3)))
        body = [*self.receive(first, until), Mvm(Slab("acc", I), "x", "w", "g"), Send(link, Slab("acc", I))]
        self.finish(first, y.rows, body)
        until = self.window_source(second, x, w, cols)
        body = self.receive(second, until)
        self.ring(second, "acc", y, cols, "i32")
        self.ring(second, "y", y, cols)
        self.requant(second, y.channels)
        second.groups.append(Group("g", weights.name, flow, (cut, weights.k), (0, weights.n), (0, 1), 1))
        second.recvs.append((Slab("acc", RowExpr()), link))
        self.dests[link].append(second.number)
        body += [Recv(Slab("acc", RowExpr()), link, NEXT), Mvma(Slab("acc", I), "x", "w", "g")]
        body += [Quant(Slab("y", I), Slab("acc", I), "q"), *self.sends(second, y, cols)]
        self.finish(second, y.rows, body)

    def pool(self, x: Tensor) -> Tensor:
        rng = self.rng
        kind = rng.choice(["max", "avg", "sum"])
        scales = self.elementwise()
        scales = dataclasses.replace(scales, b=(1.0, rng.randint(0, 1)))
        w = self.window(x, {"max": 0, "avg": scales.a[1], "sum": rng.randint(0, 255)}[kind])
        y = self.windowed(x, w, x.channels)
        for cols in strips(rng, y.width, 2):
            t = self.tile("pool")
            body = self.receive_window(t, x, w, cols)
            self.ring(t, "y", y, cols)
            if kind == "max":
                body.append(PoolMax(Slab("y", I), "x", "w"))
            elif kind == "avg":
                t.elementwises.append(scales)
                body.append(PoolAvg(Slab("y", I), "x", "w", "e"))
            else:
                self.ring(t, "acc", y, cols, "i32")
                self.requant(t, y.channels)
                body += [PoolSum(Slab("acc", I), "x", "w"), Quant(Slab("y", I), Slab("acc", I), "q")]
            self.finish(t, y.rows, [*body, *self.sends(t, y, cols)])
        return y

    def receive_window(self, t: TileDraft, x: Tensor, w: Window, cols: Range) -> list[Instr]:
        until = self.window_source(t, x, w, cols)
        return self.receive(t, until)

    def lut(self, x: Tensor) -> Tensor:
        y = Tensor(*x.shape)
        table = self.data("t", np.random.default_rng(self.rng.randrange(1 << 30)).integers(0, 256, 256, np.uint8))
        for cols in strips(self.rng, y.width, 2):
            t = self.tile("lut")
            t.tables.append(Table("t", table))
            self.source(t, x, "x", cols, 1 + self.extra(3))
            self.ring(t, "y", y, cols)
            body = [*self.receive(t, NEXT), Lut(Slab("y", I), Slab("x", I, cols), "t"), *self.sends(t, y, cols)]
            self.finish(t, y.rows, body)
        return y

    def pair(self, a: Tensor, b: Tensor) -> Tensor:
        """Add, multiply or concatenate two tensors."""
        rng = self.rng
        kind = rng.choice(["add", "mul", "concat"]) if a.shape == b.shape else "concat"
        y = Tensor(a.rows, a.width, a.channels + b.channels if kind == "concat" else a.channels)
        scales = self.elementwise()
        for cols in strips(rng, y.width, 2):
            t = self.tile(kind)
            t.elementwises.append(scales)
            for name, x in (("a", a), ("b", b)):
                self.source(t, x, name, cols, 1 + (a.rows if rng.random() < 0.5 else self.extra(4)))
            self.ring(t, "y", y, cols)
            body = self.receive(t, NEXT)
            if kind == "concat":
                body.append(Copy(Slab("y", I, None, (0, a.channels)), Slab("a", I, cols)))
                body.append(Copy(Slab("y", I, None, (a.channels, y.channels)), Slab("b", I, cols)))
            else:
                op = Add if kind == "add" else Mul
                body.append(op(Slab("y", I), Slab("a", I, cols), Slab("b", I, cols), "e"))
            self.finish(t, y.rows, [*body, *self.sends(t, y, cols)])
        return y

    def stretch(self, x: Tensor) -> Tensor:
        """Every row twice."""
        y = Tensor(2 * x.rows, x.width, x.channels)
        t = self.tile("stretch")
        cols = (0, x.width)
        self.source(t, x, "x", cols, 1 + self.extra(3))
        self.ring(t, "y", y, cols)
        body = [*self.receive(t, RowExpr(1, 2, 2)), Copy(Slab("y", I), Slab("x", RowExpr(1, 0, 2)))]
        self.finish(t, y.rows, [*body, *self.sends(t, y, cols)])
        return y

    def layer(self) -> Tensor:
        rng = self.rng
        x = self.made[-1] if rng.random() < 0.8 else rng.choice(self.made)
        others = [o for o in self.made if o is not x and o.shape[:2] == x.shape[:2]]
        if others and rng.random() < 0.7:
            return self.pair(x, rng.choice(others))
        kind = rng.choice(["conv", "conv", "conv", "pool", "lut", "stretch"])
        if kind == "stretch" and x.rows > 12:
            kind = "conv"
        made: Tensor = getattr(self, kind)(x)
        return made

    # ---- the whole ----

    def program(self, layers: int) -> Program:
        rng = self.rng
        x = Tensor(rng.randint(1, 8), rng.randint(1, 6), rng.randint(1, 3))
        buffers = [Buffer("x", "u8", *x.shape, (0, x.width), (0, x.channels), x.rows * rng.randint(1, 2))]
        feeds: list[Instr] = []
        for cols in strips(rng, x.width, 2):
            name = self.channel(0)
            x.pieces.append(Piece(name, cols, (0, x.channels)))
            feeds.append(Send(name, Slab("x", I, cols)))
        self.made.append(x)
        for _ in range(layers):
            self.made.append(self.layer())
        recvs: list[Instr] = []
        results = [t for t in self.made if not t.used]
        for n, y in enumerate(results):
            buffers.append(Buffer(f"y{n}", "u8", *y.shape, (0, y.width), (0, y.channels), y.rows * rng.randint(1, 2)))
            for p in y.pieces:
                self.dests[p.channel].append(0)
                recvs.append(Recv(Slab(f"y{n}", RowExpr(), p.cols, p.chans), p.channel, RowExpr(0, y.rows)))
        rng.shuffle(recvs)
        move = [Loop(x.rows), *feeds, End()]
        return self.assemble(x, buffers, [*recvs, *move] if rng.random() < 0.5 else [*move, *recvs], results)

    def assemble(self, x: Tensor, buffers: list[Buffer], moves: list[Instr], results: list[Tensor]) -> Program:
        rng = self.rng
        machine, places = make_machine(rng, len(self.tiles))
        numbers = rng.sample(range(1, len(self.tiles) + 1), len(self.tiles))
        number = {0: 0} | {t.number: n for t, n in zip(self.tiles, numbers, strict=True)}
        shapes = [(t.channels, t.rows, t.width) for t in (x, *results)]
        self.tensors["head"] = np.frombuffer(identity_model(1, (shapes[0],)), np.uint8)
        self.tensors["tail"] = np.frombuffer(identity_model(len(results), tuple(shapes[1:])), np.uint8)
        calls = (
            Call("head", "head", (("in0", "$image"),), (("out0", "x"),)),
            Call(
                "tail",
                "tail",
                tuple((f"in{n}", f"y{n}") for n in range(len(results))),
                tuple((f"out{n}", f"$out{n}") for n in range(len(results))),
            ),
        )
        code = (CallHost("head"), *moves, CallHost("tail"), Halt())
        tiles = [Tile(0, "host", "host", 0, 0, 0, with_views(0, buffers), calls=calls, code=code, nodes=("",) * len(code))]
        for t, (chip, column, row) in zip(self.tiles, places, strict=True):
            parts = (t.windows, t.groups, t.requants, t.elementwises, t.tables)
            tiles.append(
                Tile(
                    number[t.number], t.name, "tile", chip, column, row, with_views(number[t.number], t.buffers),
                    *(tuple(p) for p in parts),  # type: ignore[arg-type]
                    code=tuple(t.code), nodes=("",) * len(t.code),
                )
            )
        channels = tuple(
            Channel(c, number[s], tuple(number[d] for d in self.dests[c]), 1 + self.extra(3))
            for c, s in self.sources.items()
        )
        outputs = tuple(Port(f"out{n}", "uint8", shape) for n, shape in enumerate(shapes[1:]))
        return Program(
            machine,
            tuple(sorted(tiles, key=lambda t: t.number)),
            channels,
            tuple(self.flows),
            tuple(self.weights),
            (Port("image", "uint8", shapes[0]),),
            outputs,
            self.tensors,
        )


def with_views(number: int, buffers: list[Buffer]) -> tuple[Buffer, ...]:
    """Each buffer holds a tensor of its own, so that the values engine can hand it out; the host's as ONNX has them."""

    def view(b: Buffer) -> View:
        if number == 0:
            return View(f"0.{b.name}", "CHW", (b.channels, b.rows, b.width))
        return View(f"{number}.{b.name}", "HWC", (b.rows, b.width, b.channels))

    return tuple(dataclasses.replace(b, views=(view(b),)) for b in buffers)


def _meet(a: Range, b: Range) -> bool:
    return max(a[0], b[0]) < min(a[1], b[1])


def random_program(rng: Random, most_layers: int = 5) -> Program:
    """A program of up to ``most_layers`` layers."""
    return Drafter(rng).program(rng.randint(1, most_layers))


def random_images(rng: Random, program: Program, images: int) -> dict[str, Array]:
    """Inputs for a program."""
    (port,) = program.inputs
    values = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, (images, *port.shape), np.uint8)
    return {port.name: values}
