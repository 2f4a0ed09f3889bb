"""Random programs in which tiles share out the rows of a layer: by strides, by halves, or both.

A network (tables, pools, convolutions and host calls, one after the other) is drawn by one random number generator, and
how it is cut by another: which tile makes which rows of which columns, who is dealt what over how many channels, how
ranges are spelled, how large rings and channels are. Networks of one seed have the same values however they are cut.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from pimc_isa.check import check
from pimc_isa.define import Instr
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import CallHost, CallRow, End, Halt, Loop, Lut, Mvm, PoolMax, Quant, Recv, Send
from pimc_isa.operands import (
    ALL_ROWS,
    Buffer,
    Call,
    Channel,
    Group,
    Range,
    Requant,
    RowExpr,
    RowRange,
    Slab,
    Table,
    View,
    Weights,
    Window,
)
from pimc_isa.program import Port, Program, Tile
from tests.properties.drafts import Draft, Tensor, TileDraft, identity_model, make_machine, strips
from tests.properties.drafts_flows import make_cells, make_flow

ALL = RowExpr(0, 1 << 12)


@dataclass(frozen=True)
class Layer:
    """What is computed: the window (1x1 for a table or a call), and the name of a table, a model or weights."""

    kind: str
    window: Window
    data: str
    flow: str


@dataclass
class Share:
    """Some rows of some columns of a tensor, made by a tile; the channels on which it is dealt out, and their rows."""

    tile: TileDraft
    buffer: str
    rows: range
    cols: Range
    dealt: dict[str, range] = field(default_factory=dict)


@dataclass
class Link:
    """Rows of a share that a tile wants in a ring of its own, and the channel that brings them (among others)."""

    share: Share
    tile: TileDraft
    ring: str
    wanted: list[int]
    channel: str = ""


@dataclass
class Part:
    """A tile's stream for later, when all channels are known: its rows, what is done for each, rows needed for that."""

    tile: TileDraft
    rows: range
    body: list[Instr]
    until: RowExpr
    share: Share


def cut_rows(rng: Random, rows: range, parts: int) -> list[range]:
    """Deal rows out, or cut them, into at most so many parts."""
    if parts <= 1 or len(rows) == 1:
        return [rows]
    if rng.random() < 0.6:
        step = rng.randint(2, min(parts, len(rows)))
        return [part for n in range(step) for part in cut_rows(rng, rows[n::step], parts // step)]
    at = rng.randint(1, len(rows) - 1)
    return [*cut_rows(rng, rows[:at], parts // 2), *cut_rows(rng, rows[at:], parts - parts // 2)]


def cover(rows: Sequence[int]) -> range:
    """The shortest range that has all of these rows."""
    ordered = sorted(set(rows))
    step = math.gcd(*(b - a for a, b in itertools.pairwise(ordered))) or 1
    return range(ordered[0], ordered[-1] + 1, step)


def spelled(rng: Random, rows: range, height: int) -> RowRange:
    """One of the ways to write a range of the rows of a tensor."""
    step = rows.step if len(rows) > 1 else rng.randint(1, 3)
    stops: list[int | None] = [*range(rows[-1] + 1, min(rows[-1] + step, height) + 1)]
    return RowRange(rows.start, rng.choice([*stops, None] if rows[-1] + step >= height else stops), step)


class RowShares(Draft):
    """Builds one program; ``net`` decides what it computes, ``rng`` how. ``most``: parts of a layer."""

    def __init__(self, net: Random, rng: Random, most: int) -> None:
        super().__init__(rng)
        self.net, self.most = net, most
        self.links: list[Link] = []
        self.parts: list[Part] = []
        self.host = TileDraft(0, "host")
        self.calls: dict[int, Call] = {}  # of processes of the host, which stand where the host does
        self.shared: dict[tuple[int, str], str] = {}  # the ONNX tensor that a buffer holds a part of

    # ---- what is computed ----

    def layer(self, x: Tensor) -> tuple[Layer, Tensor]:
        kind = self.net.choice(["lut", "pool", "conv", "lut", "pool", "conv", "call"])
        w = self.layer_window(x, kind)
        rows, width = (
            (n + w.pads[d] + w.pads[d + 2] - w.kernel[d]) // w.stride[d] + 1 for d, n in enumerate(x.shape[:2])
        )
        y = Tensor(rows, width, self.net.randint(1, 3) if kind == "conv" else x.channels)
        rng = np.random.default_rng(self.net.randrange(1 << 30))
        if kind == "conv":
            return self.conv(w, w.kernel[0] * w.kernel[1] * x.channels, y.channels, rng), y
        if kind == "call":
            return Layer(
                kind, w, self.data("m", np.frombuffer(identity_model(1, ((1, *x.shape[1:]),)), np.uint8)), ""
            ), y
        return Layer(kind, w, self.data("t", rng.integers(0, 256, 256, np.uint8)), ""), y

    def layer_window(self, x: Tensor, kind: str) -> Window:
        if kind in ("lut", "call"):
            return Window("w", (1, 1))
        kernel = (self.net.randint(1, min(3, x.rows)), self.net.randint(1, min(3, x.width)))
        pads = tuple(self.net.randint(0, k - 1) for k in (*kernel, *kernel))
        stride = (self.net.choice([1, 1, 2, 3]), 1)
        return Window("w", kernel, stride, pads, pad_value=7 if kind == "conv" else 0)  # type: ignore[arg-type]

    def conv(self, w: Window, k: int, n: int, rng: np.random.Generator) -> Layer:
        cells = make_cells("offset", rng.integers(-128, 128, (1, k, n)).astype(np.int8), (2, 2, 2, 2), 64)
        name, flow = f"w{len(self.weights)}", make_flow(self.net, f"f{len(self.flows)}", "offset", (2, 2, 2, 2), True)
        self.weights.append(Weights(name, 1, k, n, 64, (2, 2, 2, 2)))
        self.flows.append(flow)
        for part in ("codes", "polarity", "centre"):
            self.tensors[f"{name}.{part}"] = getattr(cells, part)
        self.tensors[f"{name}.multiplier"] = (rng.random(n) * 0.01).astype(np.float32)
        self.tensors[f"{name}.bias"] = rng.integers(-500, 500, n).astype(np.int32)
        return Layer("conv", w, name, flow.name)

    # ---- who computes it ----

    def share(
        self, number: int, layer: Layer, x: Tensor, y: Tensor, of: list[Share], rows: range, cols: Range
    ) -> Share:
        """One tile: these rows of these columns."""
        t, w, ahead = self.tile(layer.kind), layer.window, self.extra(2)
        seen = sorted({row for out in rows for row in range(*w.rows(out, x.rows))})
        self.reads(t, "x", x, of, seen, w.cols(cols, x.width), w.kernel[0] + ahead + self.extra(3))
        self.ring(t, "y", y, cols)
        self.shared |= {(t.number, "x"): f"L{number - 1}", (t.number, "y"): f"L{number}"}
        until = RowExpr(w.stride[0] * rows.step, w.stride[0] * rows.start + w.kernel[0] - w.pads[0] + ahead)
        share = Share(t, "y", rows, cols)
        self.parts.append(Part(t, rows, self.work(t, layer, y, cols, RowExpr(rows.step, rows.start)), until, share))
        return share

    def work(self, t: TileDraft, layer: Layer, y: Tensor, cols: Range, row: RowExpr) -> list[Instr]:
        t.windows.append(layer.window)
        if layer.kind == "lut":
            t.tables.append(Table("t", layer.data))
            return [Lut(Slab("y", row), Slab("x", row, cols), "t")]
        if layer.kind == "call":
            self.calls[t.number] = Call("row", layer.data, (("in0", "x"),), (("out0", "y"),))
            return [CallRow("row", row)]
        if layer.kind == "pool":
            return [PoolMax(Slab("y", row), "x", "w")]
        self.ring(t, "acc", y, cols, "i32")
        weights = next(w for w in self.weights if w.name == layer.data)
        t.groups.append(Group("g", layer.data, layer.flow, (0, weights.k), (0, weights.n), (0, 1)))
        t.requants.append(Requant("q", layer.data, 9))
        return [Mvm(Slab("acc", row), "x", "w", "g"), Quant(Slab("y", row), Slab("acc", row), "q")]

    def reads(
        self, t: TileDraft, name: str, x: Tensor, of: list[Share], seen: list[int], cols: Range, slots: int
    ) -> None:
        """A ring for rows of a tensor, and whose shares they are."""
        cols = (min(cols[0], x.width - 1), max(cols[1], min(cols[0], x.width - 1) + 1))
        wanted = [
            (s, [row for row in seen if row in s.rows]) for s in of if s.cols[0] < cols[1] and cols[0] < s.cols[1]
        ]
        self.links += [Link(s, t, name, rows) for s, rows in wanted if rows]
        hull = min(s.cols[0] for s, _ in wanted), max(s.cols[1] for s, _ in wanted)
        t.buffers.append(Buffer(name, "u8", x.rows, x.width, x.channels, hull, (0, x.channels), slots))

    def open_channels(self) -> None:
        """Each share's readers: together on one channel, or on several; a channel brings what any of them wants."""
        for share in {id(link.share): link.share for link in self.links}.values():
            readers = [link for link in self.links if link.share is share]
            self.rng.shuffle(readers)
            while readers:
                some = [readers.pop() for _ in range(self.rng.randint(1, len(readers)))]
                some = list({link.tile.number: link for link in some}.values())
                name = self.channel(share.tile.number)
                share.dealt[name] = cover([row for link in some for row in link.wanted])
                self.dests[name] = [link.tile.number for link in some]
                for link in some:
                    link.channel = name

    def takes(self, t: TileDraft, until: RowExpr, height: int) -> list[Instr]:
        """Receive what all shares bring, in any order."""
        mine = [link for link in self.links if link.tile is t]
        self.rng.shuffle(mine)
        return [
            Recv(
                Slab(m.ring, RowExpr(), m.share.cols), m.channel, until, self.spelling(m.share.dealt[m.channel], height)
            )
            for m in mine
        ]

    def spelling(self, rows: range, height: int) -> RowRange:
        return ALL_ROWS if rows == range(height) and self.rng.random() < 0.5 else spelled(self.rng, rows, height)

    def gives(self, share: Share, row: RowExpr, height: int) -> list[Instr]:
        """Send a row to those who want it."""
        made: list[Instr] = []
        for channel, rows in share.dealt.items():
            every = rows == share.rows and self.rng.random() < 0.5
            said = ALL_ROWS if every else self.spelling(rows, height)
            made.append(Send(channel, Slab(share.buffer, row, share.cols), said))
        return made

    # ---- the whole ----

    def program(self, layers: int) -> Program:
        x = Tensor(self.net.randint(2, 12), self.net.randint(1, 5), self.net.randint(1, 2))
        self.host.buffers.append(Buffer("x", "u8", *x.shape, (0, x.width), (0, x.channels), x.rows))
        first = of = [Share(self.host, "x", range(x.rows), cols) for cols in strips(self.rng, x.width, 2)]
        y = x
        heights: dict[int, tuple[int, int]] = {}
        for number in range(1, layers + 1):
            layer, y_ = self.layer(y)
            cuts = cut_rows(self.rng, range(y_.rows), self.rng.randint(1, self.most))
            made = [self.share(number, layer, y, y_, of, rows, c) for rows in cuts for c in self.cols(layer, y_)]
            heights |= {s.tile.number: (y.rows, y_.rows) for s in made}
            y, of = y_, made
        self.reads(self.host, "y", y, of, [*range(y.rows)], (0, y.width), y.rows)
        self.shared |= {(0, "x"): "L0", (0, "y"): f"L{layers}"}
        self.open_channels()
        for part in self.parts:
            before, after = heights[part.tile.number]
            row = RowExpr(part.rows.step, part.rows.start)
            body = [*self.takes(part.tile, part.until, before), *part.body, *self.gives(part.share, row, after)]
            self.finish(part.tile, len(part.rows), body)
            part.tile.code[-1:] = [*self.takes_rest(body), Halt()]
        feeds = [Loop(x.rows), *(i for s in first for i in self.gives(s, RowExpr(1), x.rows)), End()]
        return self.assemble(x, y, [*feeds, *self.takes(self.host, ALL, y.rows)])

    def cols(self, layer: Layer, y: Tensor) -> list[Range]:
        return strips(self.rng, y.width, 2 if self.rng.random() < 0.3 and layer.kind != "call" else 1)

    def takes_rest(self, body: list[Instr]) -> list[Instr]:
        return [dataclasses.replace(i, until=ALL) for i in body if isinstance(i, Recv)]

    def assemble(self, x: Tensor, y: Tensor, moves: list[Instr]) -> Program:
        machine, places = make_machine(self.rng, len(self.tiles))
        shapes = [(t.channels, t.rows, t.width) for t in (x, y)]
        for name, shape in zip(("head", "tail"), shapes, strict=True):
            self.tensors[name] = np.frombuffer(identity_model(1, (shape,)), np.uint8)
        calls = (
            Call("head", "head", (("in0", "$image"),), (("out0", "x"),)),
            Call("tail", "tail", (("in0", "y"),), (("out0", "$out0"),)),
        )
        code = (CallHost("head"), *moves, CallHost("tail"), Halt())
        tiles = [Tile(0, "host", "host", 0, 0, 0, self.viewed(self.host), calls=calls, code=code)]
        for t, place in zip(self.tiles, places, strict=True):
            tile = Tile(t.number, t.name, "tile", *place, self.viewed(t), tuple(t.windows), tuple(t.groups))
            tile = dataclasses.replace(tile, requants=tuple(t.requants), tables=tuple(t.tables), code=tuple(t.code))
            if t.number in self.calls:
                tile = dataclasses.replace(tile, kind="host", chip=0, x=0, y=0, calls=(self.calls[t.number],))
            tiles.append(tile)
        channels = [Channel(c, s, tuple(self.dests[c]), self.depth()) for c, s in self.sources.items()]
        inputs, outputs = ((Port(n, "uint8", shape),) for n, shape in zip(("image", "out0"), shapes, strict=True))
        parts = tuple(tiles), tuple(channels), tuple(self.flows), tuple(self.weights)
        return Program(machine, *parts, inputs, outputs, self.tensors)

    def depth(self) -> int:
        return 1 + self.extra(12)

    def viewed(self, t: TileDraft) -> tuple[Buffer, ...]:
        """Each buffer holds a tensor of its own, and most a part of a layer's."""
        found = []
        for b in t.buffers:
            shape, own = (b.rows, b.width, b.channels), f"{t.number}.{b.name}"
            order, shape = ("CHW", (shape[2], *shape[:2])) if t.number == 0 else ("HWC", shape)
            names = [own, self.shared[t.number, b.name]] if (t.number, b.name) in self.shared and t.number else [own]
            found.append(dataclasses.replace(b, views=tuple(View(name, order, shape) for name in names)))
        return tuple(found)


def shared_rows(net: int, cut: int, most: int = 4, layers: int = 0) -> Program:
    """A program that the checks accept; its rings are enlarged where rows would not lie in them in time."""
    found = RowShares(Random(net), Random(cut), most).program(layers or 1 + net % 4)
    if _ring_too_small(found):
        found = dataclasses.replace(found, tiles=tuple(map(_enlarged, found.tiles)))
    check(found)
    return found


def _ring_too_small(program: Program) -> bool:
    try:
        check(program)
    except ProgramError as error:
        return "the ring has" in str(error)
    return False


def _enlarged(tile: Tile) -> Tile:
    buffers = (dataclasses.replace(b, slots=max(b.slots, b.rows)) if b.name == "x" else b for b in tile.buffers)
    return dataclasses.replace(tile, buffers=tuple(buffers))
