"""The network at work: links that are taken for some cycles, FIFOs, and credits on their way back."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from pimc_isa.engines.step.routes import Link, Way, hop_cycles, link_cycles, off_chip, way_of
from pimc_isa.operands import Channel
from pimc_isa.program import Program

__all__ = ["StepWires"]

Array = np.ndarray


@dataclass
class _Fifo:
    """One receiver's end of a channel, and the sender's count of its free places."""

    places: int
    messages: deque[tuple[int, Array | None]] = field(default_factory=deque)  # arrival, values
    credits: list[int] = field(default_factory=list)  # cycles from which returned places may be used

    def free(self, now: int) -> int:
        """Places the sender knows to be free."""
        while self.credits and self.credits[0] <= now:
            self.credits.pop(0)
            self.places += 1
        return self.places


class StepWires:
    """All channels and links."""

    def __init__(self, program: Program) -> None:
        self.network = program.machine.network
        self.channels: dict[str, Channel] = {c.name: c for c in program.channels}
        self.ways: dict[str, Way] = {c.name: way_of(program, c) for c in program.channels}
        self.fifos = {(c.name, dest): _Fifo(c.depth) for c in program.channels for dest in c.dests}
        self.taken: dict[Link, list[tuple[int, int]]] = {}
        self.ahead: dict[Link, list[tuple[int, int]]] = {}  # those of `taken` that are not over
        self.hops: dict[Link, set[int]] = {}  # cycles from a send to its passing the link, over all channels
        for way in self.ways.values():
            for link, hops in way.reached.items():
                self.hops.setdefault(link, set()).add(hops)

    def may_send(self, channel: str, size: int, now: int) -> bool:
        """Every receiver has room (10), and every link is free when the message comes by (12, 13)."""
        if any(self.fifos[channel, dest].free(now) < 1 for dest in self.channels[channel].dests):
            return False
        for link, hops in self.ways[channel].reached.items():
            first = now + hops
            stop = first + link_cycles(self.network, link, size)
            if any(first < b and a < stop for a, b in self.ahead.get(link, [])):
                return False
        return True

    def send(self, channel: str, size: int, now: int, values: Array | None) -> None:
        """Take the links and one place at every receiver; the message arrives by rule 14."""
        way = self.ways[channel]
        for link, hops in way.reached.items():
            first = now + hops
            interval = (first, first + link_cycles(self.network, link, size))
            self.taken.setdefault(link, []).append(interval)
            self.ahead.setdefault(link, []).append(interval)
        for links, dest in zip(way.routes, self.channels[channel].dests, strict=True):
            within_host = -(-size // self.network.link_bytes_per_cycle)
            slowest = max((link_cycles(self.network, link, size) for link in links), default=max(1, within_host))
            fifo = self.fifos[channel, dest]
            fifo.places -= 1
            fifo.messages.append((now + self._latency(links) + slowest, values))

    def actions(self, channel: str, size: int) -> dict[str, float]:
        """Bytes over the links of a message's way, inside chips and off them."""
        found: dict[str, float] = {}
        for link in self.ways[channel].reached:
            action = "chip_link_byte" if off_chip(link) else "link_byte"
            found[action] = found.get(action, 0) + size
        return found

    def _latency(self, links: tuple[Link, ...]) -> int:
        return sum(hop_cycles(self.network, link) for link in links)

    def has_message(self, channel: str, dest: int, now: int) -> bool:
        """Whether a message has arrived."""
        messages = self.fifos[channel, dest].messages
        return bool(messages) and messages[0][0] <= now

    def take(self, channel: str, dest: int, now: int) -> Array | None:
        """Take the oldest message; its place is free, which the sender learns later (16)."""
        fifo = self.fifos[channel, dest]
        links = self.ways[channel].routes[self.channels[channel].dests.index(dest)]
        fifo.credits.append(now + max(1, self._latency(links)))
        return fifo.messages.popleft()[1]

    def moments(self, now: int) -> list[int]:
        """When something may change: arrivals, credits, and when a send would pass a link that is free again."""
        moments = [m[0] for f in self.fifos.values() for m in f.messages]
        moments += [c for f in self.fifos.values() for c in f.credits]
        for link, taken in self.ahead.items():
            self.ahead[link] = [(first, stop) for first, stop in taken if stop > now]
            moments += [stop - hops for _, stop in self.ahead[link] for hops in self.hops[link]]
        return moments
