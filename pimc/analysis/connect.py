"""Connects a placed graph: every channel of the program it will become, before any instruction is written."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from pimc.analysis.facts import Facts, is_fused
from pimc.analysis.wires import Wire, Wires, host_tile_of, need_of
from pimc.ir.graph import Graph
from pimc.ir.ops import Op

__all__ = ["Connections", "connect"]


class Connections:
    """The wires of a graph, and of each chain of partial sums: ``sums[giver, taker]`` by tile."""

    def __init__(self) -> None:
        self.wires = Wires()
        self.sums: dict[tuple[int, int], Wire] = {}


def connect(graph: Graph, facts: Mapping[str, Facts]) -> Connections:
    """Wire every input of every op; depths are those of the schedule, or 1 where there is none yet."""
    made = Connections()
    for op in graph.ops():
        if op.is_virtual or is_fused(graph, op):
            continue
        for index, value in enumerate(op.inputs):
            if op.is_host:
                h, w, c = graph[value].shape
                made.wires.connect(graph, op, index, [(host_tile_of(graph, op), (0, w), (0, c))], h)
                continue
            need = [need_of(facts[op.name], p, index) for p in op.placement or ()]
            made.wires.connect(graph, op, index, need, op.schedule.depth[index] if op.schedule else 1)
        _chain(made, op)
    return made


def _chain(made: Connections, op: Op) -> None:
    parts = op.placement or ()
    for a, b in itertools.pairwise(parts):
        if (a.cols, a.chans) == (b.cols, b.chans):
            made.sums[a.tile, b.tile] = made.wires.partial_sums(a.tile, b.tile, op, a)
