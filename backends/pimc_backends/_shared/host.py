"""The host's stream: model inputs in, quantised rows out; result rows in, model outputs out."""

from __future__ import annotations

import numpy as np

from pimc.analysis.wires import HOST, Wires
from pimc.ir.graph import Graph
from pimc.ir.ops import HostCall, Op
from pimc_backends._shared.tilecode import TileCode, all_rows
from pimc_isa import instructions as isa
from pimc_isa.define import Instr
from pimc_isa.operands import Buffer, Call
from pimc_isa.program import Tile

__all__ = ["host_tile"]

Array = np.ndarray


def host_tile(graph: Graph, wires: Wires, tensors: dict[str, Array]) -> Tile:
    """Host calls in order; rows of calls that need nothing are sent in one loop where their heights agree."""
    host = _Host(graph, wires, tensors)
    waiting: list[HostCall] = []
    for op in graph.of(HostCall):
        if op.inputs:
            host.send(waiting)
            waiting = []
        host.call(op)
        if op.type is not None:
            waiting.append(op)
    host.send(waiting)
    return host.tile()


class _Host:
    def __init__(self, graph: Graph, wires: Wires, tensors: dict[str, Array]) -> None:
        self.graph, self.wires, self.tensors = graph, wires, tensors
        self.code = TileCode(HOST, "host", (0, 0, 0), kind="host")
        self.stream: list[tuple[Instr, str]] = []
        self.name: dict[str, str] = {}

    def call(self, op: HostCall) -> None:
        """Receive what the call reads, then run it."""
        for index, value in enumerate(op.inputs):
            self._receive(op, index, value)
        number = len(self.code.calls)
        self.tensors[f"h{number}"] = self.graph.constants[op.model]
        if op.type is not None:
            self.name[op.name] = f"v{len(self.name)}"
            # Two images' rows: the next image's call may run while this image's rows are still being sent.
            self._whole(self.name[op.name], op, 2)
        feeds = tuple((t, self._place(v)) for t, v in op.feeds)
        fetches = tuple((t, self._place(v)) for t, v in op.fetches)
        self.code.calls.append(Call(f"f{number}", f"h{number}", feeds, fetches))
        self.stream.append((isa.CallHost(call=f"f{number}"), op.node))

    def _receive(self, op: HostCall, index: int, value: str) -> None:
        if value in self.name:
            return
        self.name[value] = f"v{len(self.name)}"
        self._whole(self.name[value], self.graph[value], 1)
        for wire in self.wires.recvs[HOST, op.name, index]:
            slab = self.code.part_of(self.name[value], all_rows(0), wire.cols, wire.chans_at_reader)
            rows = self.graph[value].shape[0]
            self.stream.append((isa.Recv(dst=slab, channel=wire.name, until=all_rows(rows)), op.node))

    def _whole(self, name: str, op: Op, images: int) -> None:
        h, w, c = op.shape
        self.code.buffers.append(Buffer(name, "u8", h, w, c, (0, w), (0, c), images * h, op.views))

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
                for wire in self.wires.sends.get((HOST, op.name), []):
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
