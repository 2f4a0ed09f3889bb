"""Random small programs, built instruction by instruction without the compiler, for tests that engines agree.

A program is a network of layers: convolutions (strides, pads, dilation, groups, copies, several matrix groups, partial
sums over two tiles), pools, tables, additions, products, concatenations and row maps, in column strips on several
tiles and chips; windows may hang over the edge (ceil_mode). Flows convert single columns, folded or buffered sums, W+
and W- together or apart, into units or into codes of a range. Rings and channels are anything from too tight to
generous, so some programs deadlock.
"""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any

import numpy as np

from pimc_isa.define import Instr
from pimc_isa.instructions import (
    CallHost,
    End,
    Halt,
    Loop,
    Mvm,
    Mvma,
    PoolAvg,
    PoolMax,
    PoolSum,
    Quant,
    Recv,
    Send,
)
from pimc_isa.machine import Component, Energy
from pimc_isa.operands import (
    Buffer,
    Call,
    Channel,
    Group,
    Range,
    RowExpr,
    Slab,
    Weights,
    Window,
)
from pimc_isa.program import Port, Program, Tile
from tests.properties.drafts import (
    NEXT,
    I,
    Piece,
    Tensor,
    TileDraft,
    identity_model,
    make_machine,
    strips,
    with_views,
)
from tests.properties.drafts_flows import GUARDED, KINDS, SIGNED, make_cells, make_flow, make_guarded, make_signed
from tests.properties.drafts_rows import RowLayers

Array = np.ndarray


#: What makes a machine count levels of cells.
CHARGED: dict[str, Any] = {
    "components": (Component("cells", "array", 1, 0.0, 0.0, "a part"),),
    "energies": (Energy("cell_charge", "cells", 0.5, "a price"),),
}


class Drafter(RowLayers):
    """Builds one program, layer by layer."""

    ranges = (0.0, 1.0)  # v_max and gain of the layer's groups
    guarded = False  # flows with guarded conversions
    signed = False  # flows that drive parts of inputs
    zero = 0  # the zero point of the layer's inputs

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
        kind = rng.choice(KINDS) if rng.random() < 0.7 else "offset"
        kind = rng.choice(SIGNED if self.signed else GUARDED) if self.guarded else kind
        cells = make_cells(kind, values, slices, block_rows)
        weights = Weights(f"w{len(self.weights)}", groups, k, n, block_rows, slices, kind != "offset")
        self.weights.append(weights)
        for part in ("codes", "polarity", "centre"):
            self.tensors[f"{weights.name}.{part}"] = getattr(cells, part)
        name = f"f{len(self.flows)}"
        exact = rng.random() < 0.6
        if self.signed:
            flow, self.zero = make_signed(rng, name, kind, slices), rng.choice([w.pad_value, rng.randint(0, 255)])
        else:
            flow = make_guarded(rng, name, kind, slices) if self.guarded else make_flow(rng, name, kind, slices, exact)
        self.flows.append(flow)
        v_max, gain = rng.choice([0.5, 0.125, 0.02]), rng.choice([1.0, 3.0, 17.0])
        self.ranges = (v_max, gain) if "ranged" in kind else (0.0, 1.0)
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
            t.groups.append(
                Group(
                    f"g{m}",
                    weights.name,
                    flow,
                    (0, weights.k),
                    n,
                    groups,
                    rng.randint(1, 3),
                    *self.ranges,
                    zero=self.zero,
                )
            )
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
        first.groups.append(
            Group(
                "g",
                weights.name,
                flow,
                (0, cut),
                (0, weights.n),
                (0, 1),
                rng.randint(1, 3),
                *self.ranges,
                zero=self.zero,
            )
        )
        body = [*self.receive(first, until), Mvm(Slab("acc", I), "x", "w", "g"), Send(link, Slab("acc", I))]
        self.finish(first, y.rows, body)
        until = self.window_source(second, x, w, cols)
        body = self.receive(second, until)
        self.ring(second, "acc", y, cols, "i32")
        self.ring(second, "y", y, cols)
        self.requant(second, y.channels)
        rows = cut, weights.k
        second.groups.append(
            Group("g", weights.name, flow, rows, (0, weights.n), (0, 1), 1, *self.ranges, zero=self.zero)
        )
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

    def drop_unheard(self, code: list[Instr]) -> list[Instr]:
        """Without the sends of pieces that nobody wants (a stride may step over them)."""
        return [s for s in code if not isinstance(s, Send) or self.dests[s.channel]]

    def assemble(self, x: Tensor, buffers: list[Buffer], moves: list[Instr], results: list[Tensor]) -> Program:
        rng = self.rng
        machine, places = make_machine(rng, len(self.tiles))
        if self.guarded:
            columns = rng.choice([12, 128])  # few: an input drives word lines in several crossbars
            array = dataclasses.replace(machine.array, dac_pulses=rng.randint(0, 2), columns=columns)
            machine = dataclasses.replace(machine, array=array, **(CHARGED if rng.random() < 0.5 else {}))
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
        code = (CallHost("head"), *self.drop_unheard(moves), CallHost("tail"), Halt())
        tiles = [
            Tile(0, "host", "host", 0, 0, 0, with_views(0, buffers), calls=calls, code=code, nodes=("",) * len(code))
        ]
        for t, (chip, column, row) in zip(self.tiles, places, strict=True):
            t.code = self.drop_unheard(t.code)
            tiles.append(
                Tile(
                    number[t.number],
                    t.name,
                    "tile",
                    chip,
                    column,
                    row,
                    buffers=with_views(number[t.number], t.buffers),
                    windows=tuple(t.windows),
                    groups=tuple(t.groups),
                    requants=tuple(t.requants),
                    elementwises=tuple(t.elementwises),
                    tables=tuple(t.tables),
                    code=tuple(t.code),
                    nodes=("",) * len(t.code),
                )
            )
        channels = tuple(
            Channel(c, number[s], tuple(number[d] for d in self.dests[c]), 1 + self.extra(3))
            for c, s in self.sources.items()
            if self.dests[c]
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


def random_program(rng: Random, most_layers: int = 5, guarded: bool = False, signed: bool = False) -> Program:
    """A program of up to ``most_layers`` layers; ``guarded``: conversions are, and DACs may send pulses.

    ``signed``: so are those of the positive and the negative parts of inputs.
    """
    drafter = Drafter(rng)
    drafter.guarded, drafter.signed = guarded or signed, signed
    return drafter.program(rng.randint(1, most_layers))


def random_images(rng: Random, program: Program, images: int) -> dict[str, Array]:
    """Inputs for a program."""
    (port,) = program.inputs
    values = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, (images, *port.shape), np.uint8)
    return {port.name: values}
