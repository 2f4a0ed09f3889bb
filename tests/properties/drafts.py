"""Parts of random programs: tensors in pieces, tiles being built, rings, windows, flows, machines."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from functools import cache
from random import Random

import numpy as np
import onnx
from onnx import TensorProto, helper

from pimc_isa.define import Instr, fields_of
from pimc_isa.flow import Flow
from pimc_isa.instructions import (
    End,
    Halt,
    Loop,
    Recv,
    Send,
)
from pimc_isa.machine import Array as Crossbar
from pimc_isa.machine import Chip, Host, Machine, Network, TileSpec
from pimc_isa.operands import (
    Buffer,
    Elementwise,
    Group,
    Range,
    Requant,
    RowExpr,
    Slab,
    Table,
    View,
    Weights,
    Window,
)

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
    return dataclasses.replace(instr, **changes)


def strips(rng: Random, width: int, most: int) -> list[Range]:
    """Cut ``width`` columns into at most ``most`` ranges."""
    cuts = sorted(rng.sample(range(1, width), min(rng.randint(1, most), width) - 1))
    edges = [0, *cuts, width]
    return list(itertools.pairwise(edges))


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


def make_machine(rng: Random, tiles: int) -> tuple[Machine, list[tuple[int, int, int]]]:
    """A machine with small rates and room for ``tiles`` tiles, and where they sit: packed, or on chips far apart."""
    chip = Chip(rng.randint(1, 3), rng.randint(1, 3))
    places = [(c, x, y) for c in range(9) for x in range(chip.mesh_columns) for y in range(chip.mesh_rows)]
    spread = chip.tiles * -(-tiles // chip.tiles) + (chip.tiles * rng.randint(1, 3) if rng.random() < 0.4 else 0)
    net = Network(rng.randint(1, 16), rng.randint(0, 3), rng.randint(1, 16), rng.choice([0, 0, 1, 2, 5, 8]))
    spec = TileSpec(4096, 1 << 20, rng.randint(1, 32), rng.randint(1, 16), rng.randint(1, 4))
    array = Crossbar(128, 128, 8, 1, 1, 1e6, 16, 8, 1e6, 1, 64, 16, 1e6, 128)
    machine = Machine("random", 1e9, array, spec, chip, net, Host(rng.randint(1, 64)))
    while len(places) < max(spread, tiles):
        places.append((places[-1][0] + 1, 0, 0))
    return machine, rng.sample(places[: max(spread, tiles)], tiles)


class Draft:
    """A program being built: its parts."""

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
        hull = [
            (min(r[0] for r in ranges), max(r[1] for r in ranges))
            for ranges in ([p.cols for p in wanted], [p.chans for p in wanted])
        ]
        t.buffers.append(Buffer(name, "u8", x.rows, x.width, x.channels, hull[0], hull[1], slots))
        for p in wanted:
            self.dests[p.channel].append(t.number)
            t.recvs.append((Slab(name, RowExpr(), p.cols, p.chans), p.channel))

    def ring(self, t: TileDraft, name: str, y: Tensor, cols: Range, dtype: str = "u8") -> None:
        t.buffers.append(Buffer(name, dtype, y.rows, y.width, y.channels, cols, (0, y.channels), 1 + self.extra(2)))

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

    # ---- windows and scales ----

    def window(self, x: Tensor, pad_value: int) -> Window:
        rng = self.rng
        kernel = (rng.randint(1, min(3, x.rows)), rng.randint(1, min(3, x.width)))
        dilation = tuple(
            rng.choice([d for d in (1, 1, 2, 3) if (k - 1) * d < n] or [1])
            for k, n in zip(kernel, x.shape, strict=False)
        )
        pads = tuple(rng.randint(0, k - 1) for k in (*kernel, *kernel))
        stride = (rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2]))
        return Window("w", kernel, stride, pads, dilation, pad_value)  # type: ignore[arg-type]

    def windowed(self, x: Tensor, w: Window, channels: int) -> Tensor:
        size = []
        for d, n in enumerate(x.shape[:2]):
            room = n + w.pads[d] + w.pads[d + 2] - (w.kernel[d] - 1) * w.dilation[d] - 1
            outputs = room // w.stride[d] + 1
            starts_inside = outputs * w.stride[d] < n + w.pads[d]
            if room % w.stride[d] and starts_inside and self.rng.random() < 0.3:
                outputs += 1  # ceil_mode: the last window hangs over the edge
            size.append(outputs)
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
        scales = rng.random(channels) * 0.01 if self.rng.random() < 0.6 else 2.0 ** -rng.integers(3, 10, channels)
        self.tensors[f"{name}.multiplier"] = scales.astype(np.float32)  # powers of two bring halves to round
        self.tensors[f"{name}.bias"] = rng.integers(-500, 500, channels).astype(np.int32)
        del self.tensors[name]
        t.requants.append(Requant("q", name, self.rng.randint(0, 255)))

    def elementwise(self) -> Elementwise:
        rng = self.rng
        any_scale = rng.random() < 0.6
        scales = [float(np.float32(rng.uniform(0.01, 0.1))) if any_scale else 2.0 ** -rng.randint(3, 6) for _ in "aby"]
        sides = [(scale, rng.randint(0, 255)) for scale in scales]
        return Elementwise("e", sides[0], sides[1], sides[2])


def with_views(number: int, buffers: list[Buffer]) -> tuple[Buffer, ...]:
    """Each buffer holds a tensor of its own, so that the values engine can hand it out; the host's as ONNX has them."""

    def view(b: Buffer) -> View:
        if number == 0:
            return View(f"0.{b.name}", "CHW", (b.channels, b.rows, b.width))
        return View(f"{number}.{b.name}", "HWC", (b.rows, b.width, b.channels))

    return tuple(dataclasses.replace(b, views=(view(b),)) for b in buffers)


def _meet(a: Range, b: Range) -> bool:
    return max(a[0], b[0]) < min(a[1], b[1])
