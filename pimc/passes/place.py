"""Give every piece of every op a tile: layer after layer along a snake through each chip's mesh.

Tile 0 is the host. Neighbours in the graph become neighbours in the mesh, and the links of a chain of partial sums are
one hop long. Tables that are applied where their input is made share those tiles.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from pimc.analysis.facts import is_fused, is_virtual
from pimc.ir.graph import Graph
from pimc.ir.ops import HostCall, Mapping, Part
from pimc.passes.base import Pass
from pimc.passes.target import Target
from pimc_isa.machine import Chip

__all__ = ["Place", "place_of"]


def place_of(index: int, chip: Chip) -> tuple[int, int, int]:
    """Chip, x and y of the ``index``-th tile along the snake (rows of the mesh alternate in direction)."""
    number, inside = divmod(index, chip.tiles)
    y, x = divmod(inside, chip.mesh_columns)
    return number, (x if y % 2 == 0 else chip.mesh_columns - 1 - x), y


@dataclass(frozen=True)
class Place(Pass):
    """Put every piece of every op on a tile."""

    name = "place"
    from_stage = "sliced"
    to_stage = "placed"

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Number tiles in the order of the ops."""
        graph = graph.copy()
        numbers = itertools.count(1)
        for op in list(graph.ops()):
            if isinstance(op, HostCall) or is_virtual(op):
                continue
            assert op.mapping is not None
            if is_fused(graph, op):
                parts = _beside(graph[op.inputs[0]].placement or (), op.mapping)
            else:
                parts = tuple(_part(next(numbers), target.machine.chip, *piece) for piece in _pieces(op.mapping))
            graph.update(replace(op, placement=parts))  # type: ignore[type-var]
        return graph


def _pieces(mapping: Mapping) -> itertools.product[tuple[tuple[int, int], ...]]:
    return itertools.product(mapping.strips, mapping.parts, mapping.chain)


def _part(
    tile: int, chip: Chip, cols: tuple[int, int], chans: tuple[int, int], rows_k: tuple[int, int]
) -> Part:
    number, x, y = place_of(tile - 1, chip)
    return Part(tile, number, x, y, cols, chans, rows_k)


def _beside(made: tuple[Part, ...], mapping: Mapping) -> tuple[Part, ...]:
    """The tiles that hold the finished result: the last link of each chain."""
    last = max((p.rows_k for p in made), default=(0, 0))
    return tuple(replace(p, rows_k=mapping.chain[0]) for p in made if p.rows_k == last)
