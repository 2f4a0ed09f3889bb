"""CPU time of the timing engine on a program of ResNet-18's size: rows, strips and traffic, without weights."""

from __future__ import annotations

import argparse
import itertools
import time

from pimc_isa.define import Instr
from pimc_isa.engines.cycles import simulate
from pimc_isa.flow import Flow
from pimc_isa.instructions import Add, End, Halt, Loop, Mvm, PoolMax, Quant, Recv, Send
from pimc_isa.machine import Array, Chip, Host, Machine, Network, TileSpec
from pimc_isa.operands import Buffer, Channel, Group, RowExpr, Slab, Weights, Window
from pimc_isa.program import Program, Tile

MACHINE = Machine(
    "benchmark", 1e9, Array(128, 128, 2), TileSpec(96, 65536, 64, 64, 4), Chip(14, 12), Network(32, 1, 4, 10), Host(64)
)

#: height of the output, kernel, stride, strips, channels
LAYERS = [(112, 7, 2, 16, 64), (56, 0, 2, 1, 64), *[(56, 3, 1, 14, 64)] * 4]
LAYERS += [(28, 3, 2, 7, 128), *[(28, 3, 1, 7, 128)] * 3, (14, 3, 2, 3, 256), *[(14, 3, 1, 4, 256)] * 3]
LAYERS += [(7, 3, 2, 4, 512), *[(7, 3, 1, 4, 512)] * 3]


def _strips(width: int, count: int) -> list[tuple[int, int]]:
    edges = [width * n // count for n in range(count + 1)]
    return list(itertools.pairwise(edges))


class _Builder:
    def __init__(self) -> None:
        self.tiles: list[Tile] = []
        self.codes: list[list[Instr]] = []
        self.sources: dict[str, int] = {}
        self.dests: dict[str, list[int]] = {}

    def recv(self, tile: int, channel: str, dst: Slab, until: RowExpr) -> Instr:
        self.dests.setdefault(channel, []).append(tile)
        return Recv(dst, channel, until)


def build() -> Program:
    """The program: a host, convolutions cut into strips, a pooling tile, and an addition every second layer."""
    b = _Builder()
    place = iter(range(14 * 12))
    tiles: list[Tile] = []
    x0 = Buffer("x", "u8", 224, 224, 3, (0, 224), (0, 3), 224)
    feeds = [("in", (0, 224))]
    b.sources["in"] = 0
    below, channels = 224, 3
    skip: list[tuple[str, tuple[int, int]]] = []
    number = 1
    for n, (rows, kernel, stride, strips, outs) in enumerate(LAYERS):
        made: list[tuple[str, tuple[int, int]]] = []
        for cols in _strips(rows, strips):
            p = next(place)
            k = kernel or 3
            window = Window("w", (k, k), (stride, stride), (k // 2,) * 4)
            needs = window.cols(cols, below)
            ring = k + stride + 1
            buffers = [
                Buffer("x", "u8", below, below, channels, needs, (0, channels), ring),
                Buffer("y", "u8", rows, rows, outs, cols, (0, outs), 2),
            ]
            until = RowExpr(stride, k - k // 2)
            body: list[Instr] = []
            for channel, part in feeds:
                lo, hi = max(part[0], needs[0]), min(part[1], needs[1])
                if lo < hi:
                    body.append(b.recv(number, channel, Slab("x", RowExpr(), part), until))
            i = RowExpr(1)
            groups: tuple[Group, ...] = ()
            if kernel:
                buffers.append(Buffer("acc", "i32", rows, rows, outs, cols, (0, outs), 2))
                groups = (Group("g", "w", "f", (0, 9), (0, outs), (0, 1)),)
                body += [Mvm(Slab("acc", i), "x", "w", "g"), Quant(Slab("y", i), Slab("acc", i), "q")]
            else:
                body += [PoolMax(Slab("y", i), "x", "w")]
            name = f"c{n}.{cols[0]}"
            if kernel and n % 2 and LAYERS[n - 2][0] == rows:
                buffers.append(Buffer("s", "u8", rows, rows, outs, cols, (0, outs), rows))
                for channel, part in skip:
                    if max(part[0], cols[0]) < min(part[1], cols[1]):
                        body.append(b.recv(number, channel, Slab("s", RowExpr(), part), RowExpr(1, 1)))
                body.append(Add(Slab("y", i), Slab("y", i), Slab("s", i), "e"))
            body.append(Send(name, Slab("y", i)))
            b.sources[name] = number
            made.append((name, cols))
            code = (Loop(rows), *body, End(), Halt())
            tiles.append(
                Tile(number, f"layer{n}", "tile", 0, p % 14, p // 14, tuple(buffers), (window,), groups, code=code)
            )
            number += 1
        if n % 2:
            skip = made
        feeds, below, channels = made, rows, outs
    host: list[Instr] = []
    y = Buffer("y", "u8", 7, 7, 512, (0, 7), (0, 512), 7)
    for channel, part in feeds:
        host.append(b.recv(0, channel, Slab("y", RowExpr(), part), RowExpr(0, 7)))
    host = [*host, Loop(224), Send("in", Slab("x", RowExpr(1))), End(), Halt()]
    tiles.insert(0, Tile(0, "host", "host", 0, 0, 0, (x0, y), code=tuple(host)))
    chans = tuple(Channel(c, s, tuple(b.dests.get(c, ())), 4) for c, s in b.sources.items())
    flow = Flow("f", 8, (2, 2, 2, 2), 10, 8, 20, ())
    return Program(MACHINE, tuple(tiles), chans, (flow,), (Weights("w", 1, 9, 9, 128, (0,)),), (), (), {})


def main() -> None:
    """Print the size of the program and the CPU time per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    program = build()
    static = sum(len(t.code) for t in program.tiles)
    seconds = []
    for _ in range(args.repeat):
        begin = time.process_time()
        timing = simulate(program, args.images)
        seconds.append(time.process_time() - begin)
    print(f"{len(program.tiles)} tiles, {static} instructions, {timing.executed} executed in {args.images} images")
    print(f"latency {timing.latency_cycles} interval {timing.interval_cycles} cycles")
    print(f"CPU seconds: first {seconds[0]:.3f}, median {sorted(seconds)[len(seconds) // 2]:.3f}")


if __name__ == "__main__":
    main()
