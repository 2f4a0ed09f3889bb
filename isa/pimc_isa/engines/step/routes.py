"""The network on paper: nodes, links, routes, and how long a message takes (the manual's rules 11, 12, 14 and 16).

A node is ``(chip, x, y)``; the host is ``(0, -1, 0)``. A link is a pair of neighbouring nodes, in one direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from pimc_isa.machine import Machine, Network
from pimc_isa.operands import Channel
from pimc_isa.program import Program, Tile

__all__ = ["HOST", "Link", "Node", "Way", "hop_cycles", "link_cycles", "off_chip", "route", "way_of"]

Node = tuple[int, int, int]
Link = tuple[Node, Node]

HOST: Node = (0, -1, 0)


@dataclass(frozen=True)
class Way:
    """A channel's way: for each receiver the links one after the other, and each link's hops before it in cycles."""

    routes: tuple[tuple[Link, ...], ...]
    reached: dict[Link, int]


def way_of(program: Program, channel: Channel) -> Way:
    """The union of the routes from the source to each receiver."""
    start = _node(program.tile[channel.source])
    routes = tuple(route(program.machine, start, _node(program.tile[dest])) for dest in channel.dests)
    reached: dict[Link, int] = {}
    for links in routes:
        for n, link in enumerate(links):
            reached[link] = sum(hop_cycles(program.machine.network, earlier) for earlier in links[:n])
    return Way(routes, reached)


def route(machine: Machine, start: Node, goal: Node) -> tuple[Link, ...]:
    """Links from ``start`` to ``goal``."""
    nodes = [start]
    if start == HOST and goal != HOST:
        nodes.append((0, 0, 0))
    chip_of_goal = 0 if goal == HOST else goal[0]
    last = machine.chip.mesh_columns - 1
    while nodes[-1][0] < chip_of_goal:  # leave by the right-hand corner of row 0
        nodes += _inside_chip(nodes[-1], last, 0)
        nodes.append((nodes[-1][0] + 1, 0, 0))
    while nodes[-1][0] > chip_of_goal:  # leave by the left-hand corner of row 0
        nodes += _inside_chip(nodes[-1], 0, 0)
        nodes.append((nodes[-1][0] - 1, last, 0))
    if goal == HOST and start != HOST:
        nodes += [*_inside_chip(nodes[-1], 0, 0), HOST]
    elif goal != HOST:
        nodes += _inside_chip(nodes[-1], goal[1], goal[2])
    return tuple(pairwise(nodes))


def _inside_chip(at: Node, x: int, y: int) -> list[Node]:
    """Nodes after ``at`` on the way to column ``x``, and then to row ``y`` of the same chip."""
    chip, here_x, here_y = at
    right, down = (1 if x > here_x else -1), (1 if y > here_y else -1)
    along_x = [(chip, column, here_y) for column in range(here_x + right, x + right, right) if here_x != x]
    along_y = [(chip, x, row) for row in range(here_y + down, y + down, down) if here_y != y]
    return along_x + along_y


def _node(tile: Tile) -> Node:
    return HOST if tile.kind == "host" else (tile.chip, tile.x, tile.y)


def off_chip(link: Link) -> bool:
    """Links between chips, and the host's, are of the second kind."""
    return HOST in link or link[0][0] != link[1][0]


def hop_cycles(network: Network, link: Link) -> int:
    """Cycles from one end of a link to the other."""
    return network.chip_hop_cycles if off_chip(link) else network.hop_cycles


def link_cycles(network: Network, link: Link, size: int) -> int:
    """Cycles for which a message of ``size`` bytes takes a link: bytes over the width, rounded up, at least 1."""
    width = network.chip_link_bytes_per_cycle if off_chip(link) else network.link_bytes_per_cycle
    return max(1, (size + width - 1) // width)
