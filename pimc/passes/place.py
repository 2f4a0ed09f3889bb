"""Give every piece of every op a tile, and every tile a place in a chip's mesh.

Tile 0 is the host. Tiles are numbered in the order of the ops and laid along the curve whose busiest link is least
busy; the links of a chain of partial sums are next to each other. Tables that are applied where their input is made
share those tiles.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from pimc.analysis.connect import connect
from pimc.analysis.facts import facts_of, is_fused
from pimc.analysis.placement import Curve, best_curve
from pimc.analysis.wires import islands_of
from pimc.ir.graph import Graph
from pimc.ir.ops import Mapping, Op, Part
from pimc.passes.base import Pass
from pimc.passes.target import Target
from pimc_isa.machine import Machine

__all__ = ["Place", "lay_out"]


@dataclass(frozen=True)
class Place(Pass):
    """Put every piece of every op on a tile, and the tiles where the network's links are least busy."""

    name = "place"
    from_stage = "sliced"
    to_stage = "placed"
    decides = ("placement",)

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Number tiles in the order of the ops, then choose the curve."""
        graph = graph.copy()
        curve, load = lay_out(graph, target.machine)
        graph.meta["busiest_link_cycles"] = str(load)
        for op in [op for op in graph.ops() if op.placement]:
            at = ((p, curve.node(p.tile - 1, target.machine.chip)) for p in op.placement or ())
            _put(graph, op, tuple(replace(p, chip=chip, x=x, y=y) for p, (chip, x, y) in at))
        return graph


def lay_out(graph: Graph, machine: Machine) -> tuple[Curve, int]:
    """Number the tiles of a mapped graph in place; returns the best curve and its busiest link's cycles per image."""
    tiles = _number(graph)
    facts = {op.name: facts_of(graph, op) for op in graph.ops() if op.placement}
    heights = {op.name: op.shape[0] for op in graph.ops() if op.type is not None}
    heights |= {f"{name}#sums": rows for name, rows in heights.items()}
    return best_curve(machine, connect(graph, facts), tiles, heights, len(islands_of(graph)))


def _put(graph: Graph, op: Op, parts: tuple[Part, ...]) -> None:
    graph.update(replace(op, placement=parts))


def _number(graph: Graph) -> int:
    """Give every piece a tile number; returns how many there are."""
    numbers = itertools.count(1)
    for op in list(graph.ops()):
        if op.is_host or op.is_virtual:
            continue
        assert op.mapping is not None
        if is_fused(graph, op):
            _put(graph, op, _beside(graph[op.inputs[0]].placement or (), op.mapping))
            continue
        m = op.mapping
        pieces = itertools.product(m.strips, m.parts, m.chain)
        _put(graph, op, tuple(Part(next(numbers), 0, 0, 0, cols, chans, k) for cols, chans, k in pieces))
    return next(numbers) - 1


def _beside(made: tuple[Part, ...], mapping: Mapping) -> tuple[Part, ...]:
    """The tiles that hold the finished result: the last link of each chain."""
    last = max((p.rows_k for p in made), default=(0, 0))
    return tuple(replace(p, rows_k=mapping.chain[0]) for p in made if p.rows_k == last)
