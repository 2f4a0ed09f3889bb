"""The host's streams: model inputs in, rows out; result rows in, model outputs out; islands between layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pimc.analysis.wires import HOST, Piece, Wires, islands_of, pieces
from pimc.ir.graph import Graph
from pimc.ir.ops import HostCall, Op
from pimc_backends.kit.tilecode import TileCode, all_rows
from pimc_isa import instructions as isa
from pimc_isa.define import Instr
from pimc_isa.operands import Buffer, Call, View
from pimc_isa.program import Tile

__all__ = ["host_tiles"]

#: Rows that an island which runs by rows holds of each value: one it works on, one that comes or goes.
ROWS_AHEAD = 2

Array = np.ndarray


def host_tiles(
    graph: Graph, wires: Wires, tensors: dict[str, Array], views: Mapping[str, tuple[View, ...]]
) -> tuple[Tile, ...]:
    """The host's processes: what begins and ends every image, first; and one for each island (a call between layers).

    ``views``: the ONNX tensors that each value's buffers hold.
    """
    islands = islands_of(graph)
    main = _Host(graph, wires, tensors, views, HOST, "host")
    waiting: list[HostCall] = []
    for op in graph.of(HostCall):
        if op.name in islands:
            continue
        if op.inputs:
            main.send(waiting)
            waiting = []
        main.call(op)
        if op.type is not None:
            waiting.append(op)
    main.send(waiting)
    return (main.tile(), *(_island(graph, wires, tensors, views, name, n) for name, n in islands.items()))


def _island(
    graph: Graph,
    wires: Wires,
    tensors: dict[str, Array],
    views: Mapping[str, tuple[View, ...]],
    name: str,
    number: int,
) -> Tile:
    """A process that receives, calls and sends; with room for the next image's rows meanwhile."""
    op = graph[name]
    assert isinstance(op, HostCall)
    island = _Host(graph, wires, tensors, views, number, f"host {name}")
    if op.by_row:
        island.rows(op)
    else:
        island.call(op, images=2)
        island.send([op])
    return island.tile()


def _depths(graph: Graph) -> dict[str, int]:
    """How many ops lie between the model's inputs and each value, at most."""
    found: dict[str, int] = {}
    for op in graph.ops():
        found[op.name] = max((found[value] + 1 for value in op.inputs), default=0)
    return found


class _Host:
    def __init__(
        self,
        graph: Graph,
        wires: Wires,
        tensors: dict[str, Array],
        views: Mapping[str, tuple[View, ...]],
        number: int,
        name: str,
    ) -> None:
        self.graph, self.wires, self.tensors, self.views = graph, wires, tensors, views
        self.number = number
        self.code = TileCode(number, name, (0, 0, 0), kind="host")
        self.stream: list[tuple[Instr, str]] = []
        self.name: dict[str, str] = {}

    def call(self, op: HostCall, images: int = 1) -> None:
        """Receive what the call reads, into room for so many images, then run it.

        What is made first is received first: else its next rows would wait in their channels for those made last.
        """
        depth = _depths(self.graph)
        for index, value in sorted(enumerate(op.inputs), key=lambda pair: (depth[pair[1]], pair[0])):
            self._receive(op, index, value, images)
        if op.type is not None:
            self.name[op.name] = f"v{len(self.name)}"
            # Two images' rows: the next image's call may run while this image's rows are still being sent.
            self._whole(self.name[op.name], op, 2)
        self.stream.append((isa.CallHost(call=self._declare(op, op.operations)), op.node))

    def _declare(self, op: HostCall, operations: int) -> str:
        """Declare the call with its subgraph; returns its name."""
        name, model = f"f{len(self.code.calls)}", f"h{sum(name.startswith('h') for name in self.tensors)}"
        self.tensors[model] = self.graph.constants[op.model]
        feeds = tuple((t, self._place(v)) for t, v in op.feeds)
        fetches = tuple((t, self._place(v)) for t, v in op.fetches)
        self.code.calls.append(Call(name, model, feeds, fetches, operations))
        return name

    def rows(self, op: HostCall) -> None:
        """Receive, call and send row by row; with room for a next row meanwhile."""
        height = op.shape[0]
        self.code.rows = height
        body: list[tuple[Instr, str]] = []
        for index, value in enumerate(op.inputs):
            if value in self.name:
                continue
            self.name[value] = f"v{len(self.name)}"
            self._held(self.name[value], self.graph[value], ROWS_AHEAD)
            slab_row = self.code.row(self.name[value]).row
            for wire in self.wires.recvs.get((self.number, op.name, index), []):
                slab = self.code.part_of(self.name[value], slab_row, wire.cols, wire.chans_at_reader)
                until = replace(slab_row, b=slab_row.b + slab_row.d)
                body.append((isa.Recv(dst=slab, channel=wire.name, until=until), op.node))
        self.name[op.name] = f"v{len(self.name)}"
        self._held(self.name[op.name], op, ROWS_AHEAD)
        call = self._declare(op, -(-op.operations // height))
        row = self.code.row(self.name[op.name]).row
        body.append((isa.CallRow(call=call, row=row), op.node))
        for wire in self.wires.sends.get((self.number, op.name), []):
            src = self.code.part_of(self.name[op.name], row, wire.cols, wire.chans)
            body.append((isa.Send(channel=wire.name, src=src), op.node))
        self.stream += [(isa.Loop(times=height), ""), *body, (isa.End(), "")] if height > 1 else body

    def _receive(self, op: HostCall, index: int, value: str, images: int) -> None:
        if value in self.name:
            return
        self.name[value] = f"v{len(self.name)}"
        self._whole(self.name[value], self.graph[value], images)
        for wire in self.wires.recvs.get((self.number, op.name, index), []):
            slab = self.code.part_of(self.name[value], all_rows(0), wire.cols, wire.chans_at_reader)
            rows = self.graph[value].shape[0]
            self.stream.append((isa.Recv(dst=slab, channel=wire.name, until=all_rows(rows)), op.node))
        for piece in pieces(self.graph, value):
            if piece.tile == self.number:
                self._copy(op, value, piece)

    def _copy(self, op: HostCall, value: str, piece: Piece) -> None:
        """Bring a part of a concatenation to its place that the host has made itself."""
        rows = self.graph[value].shape[0]
        self.code.rows = rows
        row = self.code.row(self.name[value]).row
        chans = (piece.chans[0] + piece.shift, piece.chans[1] + piece.shift)
        dst = self.code.part_of(self.name[value], row, piece.cols, chans)
        src = self.code.part_of(self.name[piece.value], row, piece.cols, piece.chans)
        body: list[tuple[Instr, str]] = [(isa.Copy(dst=dst, src=src), op.node)]
        self.stream += [(isa.Loop(times=rows), ""), *body, (isa.End(), "")] if rows > 1 else body

    def _whole(self, name: str, op: Op, images: int) -> None:
        self._held(name, op, images * op.shape[0])

    def _held(self, name: str, op: Op, slots: int) -> None:
        h, w, c = op.shape
        self.code.buffers.append(Buffer(name, op.element.name, h, w, c, (0, w), (0, c), slots, self.views[op.name]))

    def _place(self, value: str) -> str:
        return value if value.startswith("$") else self.name[value]

    def send(self, ops: list[HostCall]) -> None:
        """Send the rows of finished calls, those of equal height side by side."""
        heights = list(dict.fromkeys(op.shape[0] for op in ops))
        for height in heights:
            body: list[tuple[Instr, str]] = []
            self.code.rows = height
            for op in (o for o in ops if o.shape[0] == height):
                name = self.name[op.name]
                row = self.code.row(name).row
                for wire in self.wires.sends.get((self.number, op.name), []):
                    src = self.code.part_of(name, row, wire.cols, wire.chans)
                    body.append((isa.Send(channel=wire.name, src=src), op.node))
            if not body:
                continue
            if height > 1:
                body = [(isa.Loop(times=height), ""), *body, (isa.End(), "")]
            self.stream += body

    def tile(self) -> Tile:
        """The finished host."""
        self.code.rows, self.code.body = 1, self.stream
        return self.code.tile()
