"""Geometry of the network: nodes, links, XY routes, multicast trees. What goes where, never when.

A node is ``(chip, x, y)``. The host sits at ``(0, -1, 0)``, left of tile (0, 0) of chip 0. Chips stand in a row: the
node (last column, row 0) of chip c is linked to (0, 0) of chip c + 1. A link is a pair of neighbouring nodes; each
direction is a link of its own. Links that leave a chip, to another or to the host, have their own width and latency.
"""

from __future__ import annotations

from dataclasses import dataclass

from pimc_isa.errors import ProgramError
from pimc_isa.machine import Machine
from pimc_isa.operands import Channel
from pimc_isa.program import Program, Tile

__all__ = [
    "HOST",
    "Link",
    "Node",
    "Tree",
    "hop_cycles",
    "leaves_chip",
    "link_name",
    "multicast",
    "node_of",
    "occupancy",
    "route",
]

Node = tuple[int, int, int]
Link = tuple[Node, Node]

HOST: Node = (0, -1, 0)


def node_of(tile: Tile) -> Node:
    """The node a tile is attached to."""
    return HOST if tile.kind == "host" else (tile.chip, tile.x, tile.y)


def link_name(link: Link) -> str:
    """Text form of a link: ``0.3,1-0.4,1`` (chip.x,y of both ends; the host is ``host``)."""
    return "-".join("host" if n == HOST else f"{n[0]}.{n[1]},{n[2]}" for n in link)


def leaves_chip(link: Link) -> bool:
    """Whether a link joins two chips, or the host and a chip."""
    return link[0][0] != link[1][0] or HOST in link


def hop_cycles(machine: Machine, link: Link) -> int:
    """Clock cycles from one end of the link to the other."""
    net = machine.network
    return net.chip_hop_cycles if leaves_chip(link) else net.hop_cycles


def occupancy(machine: Machine, link: Link, nbytes: int) -> int:
    """Clock cycles for which a message of ``nbytes`` takes the link; at least 1."""
    net = machine.network
    width = net.chip_link_bytes_per_cycle if leaves_chip(link) else net.link_bytes_per_cycle
    return max(1, -(-nbytes // width))


def route(machine: Machine, start: Node, goal: Node) -> tuple[Link, ...]:
    """Links from ``start`` to ``goal``: x first, then y; chips one after another, through the corners of row 0."""
    links: list[Link] = []

    def step(to: Node) -> None:
        links.append((links[-1][1] if links else start, to))

    def mesh(at: Node, to: Node) -> None:
        chip, x, y = at
        while x != to[1]:
            x += 1 if to[1] > x else -1
            step((chip, x, y))
        while y != to[2]:
            y += 1 if to[2] > y else -1
            step((chip, x, y))

    if start == goal:
        return ()
    at = start
    if at == HOST:
        at = (0, 0, 0)
        step(at)
    inner = (0, 0, 0) if goal == HOST else goal
    last = machine.chip.mesh_columns - 1
    while at[0] != inner[0]:
        up = 1 if inner[0] > at[0] else -1
        mesh(at, (at[0], last if up > 0 else 0, 0))
        at = (at[0] + up, 0 if up > 0 else last, 0)
        step(at)
    mesh(at, inner)
    if goal == HOST:
        step(HOST)
    return tuple(links)


@dataclass(frozen=True)
class Tree:
    """The way of a channel's messages: the union of the XY routes from its source to each receiver.

    ``links`` pairs a link with the cycles after the start of a send at which the message reaches it; ``routes`` and
    ``latency`` (sum of hop latencies) are by receiver, in the order of the channel's ``dests``.
    """

    links: tuple[tuple[Link, int], ...]
    routes: tuple[tuple[Link, ...], ...]
    latency: tuple[int, ...]

    def arrival_delay(self, machine: Machine, receiver: int, nbytes: int) -> int:
        """Cycles from the start of a send to the arrival: hop latencies plus the slowest link's occupancy."""
        links = self.routes[receiver]
        own = max(1, -(-nbytes // machine.network.link_bytes_per_cycle))
        return self.latency[receiver] + max((occupancy(machine, k, nbytes) for k in links), default=own)

    def credit_delay(self, receiver: int) -> int:
        """Cycles from the end of a transfer at the receiver until the sender may use the place; at least 1."""
        return max(1, self.latency[receiver])


def multicast(program: Program, channel: Channel) -> Tree:
    """The tree of a channel; a channel to its own source, or twice to one receiver, is a ``ProgramError``."""
    if channel.source in channel.dests:
        raise ProgramError(f"channel {channel.name}: tile {channel.source} sends to itself; use copy inside a tile")
    if len(set(channel.dests)) != len(channel.dests):
        raise ProgramError(f"channel {channel.name}: a receiver is named twice in {channel.dests}")
    start = node_of(program.tile[channel.source])
    offsets: dict[Link, int] = {}
    routes: list[tuple[Link, ...]] = []
    latency: list[int] = []
    for dest in channel.dests:
        links = route(program.machine, start, node_of(program.tile[dest]))
        offset = 0
        for link in links:
            offsets[link] = offset
            offset += hop_cycles(program.machine, link)
        routes.append(links)
        latency.append(offset)
    return Tree(tuple(offsets.items()), tuple(routes), tuple(latency))
