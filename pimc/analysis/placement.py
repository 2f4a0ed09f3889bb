"""Where tiles stand in the mesh: curves that keep neighbours in the graph close, judged by the busiest link.

A curve winds through bands of ``band`` mesh rows; wider bands let skip connections take another row than the main
branch. The load of a link is the cycles per image that messages take it, over the multicast trees of all channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pimc.analysis.connect import Connections
from pimc.analysis.wires import HOST
from pimc_isa.machine import Chip, Machine
from pimc_isa.route import HOST as HOST_NODE
from pimc_isa.route import Link, Node, leaves_chip, occupancy, route

__all__ = ["Curve", "best_curve", "link_loads"]


@dataclass(frozen=True)
class Curve:
    """A way through a chip's mesh: columns within bands of ``band`` rows, back and forth."""

    band: int

    def node(self, index: int, chip: Chip) -> Node:
        """Chip, x and y of the ``index``-th tile."""
        number, inside = divmod(index, chip.tiles)
        number_of_band, within = divmod(inside, self.band * chip.mesh_columns)
        height = min(self.band, chip.mesh_rows - number_of_band * self.band)
        column, row = divmod(within, height)
        if number_of_band % 2:
            column = chip.mesh_columns - 1 - column
        if within // height % 2:
            row = height - 1 - row
        return number, column, number_of_band * self.band + row


def link_loads(
    machine: Machine, made: Connections, where: Mapping[int, Node], heights: Mapping[str, int]
) -> Counter[Link]:
    """Cycles per image each link is taken. ``heights``: rows of each value (and of partial sums)."""
    loads: Counter[Link] = Counter()
    ways: dict[tuple[Node, Node], tuple[Link, ...]] = {}
    for wire in made.wires.all:
        start, links = where[wire.source], set[Link]()
        for goal in {where[d] for d in wire.dests}:
            if (start, goal) not in ways:
                ways[start, goal] = route(machine, start, goal)
            links.update(ways[start, goal])
        cycles = dict[bool, int]()  # of links within a chip, and between chips
        for link in links:
            kind = leaves_chip(link)
            if kind not in cycles:
                cycles[kind] = heights[wire.value] * occupancy(machine, link, wire.row_bytes)
            loads[link] += cycles[kind]
    return loads


def best_curve(
    machine: Machine, made: Connections, tiles: int, heights: Mapping[str, int], islands: int = 0
) -> tuple[Curve, int]:
    """The curve whose busiest link is least busy (narrowest band among equals), and that link's cycles per image.

    Behind the ``tiles`` come ``islands``, processes of the host.
    """
    hosts = dict.fromkeys((HOST, *range(tiles + 1, tiles + islands + 1)), HOST_NODE)
    scored = []
    for band in range(1, min(6, machine.chip.mesh_rows) + 1):
        curve = Curve(band)
        where = {n: curve.node(n - 1, machine.chip) for n in range(1, tiles + 1)} | hosts
        loads = link_loads(machine, made, where, heights)
        scored.append((max(loads.values(), default=0), band))
    load, band = min(scored)
    return Curve(band), load
