"""The network of the step engine: links that are taken for some cycles, FIFOs, and credits on their way back."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from pimc_isa.operands import Channel
from pimc_isa.program import Program
from pimc_isa.route import Link, Tree, multicast, occupancy

__all__ = ["Wires"]

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


class Wires:
    """All channels and links."""

    def __init__(self, program: Program) -> None:
        self.machine = program.machine
        self.channels: dict[str, Channel] = {c.name: c for c in program.channels}
        self.trees: dict[str, Tree] = {c.name: multicast(program, c) for c in program.channels}
        self.fifos = {(c.name, dest): _Fifo(c.depth) for c in program.channels for dest in c.dests}
        self.taken: dict[Link, list[tuple[int, int]]] = {}

    def may_send(self, channel: str, nbytes: int, now: int) -> bool:
        """Every receiver has room, and every link is free when the message comes by."""
        if any(self.fifos[channel, dest].free(now) < 1 for dest in self.channels[channel].dests):
            return False
        for link, offset in self.trees[channel].links:
            first = now + offset
            stop = first + occupancy(self.machine, link, nbytes)
            if any(first < b and a < stop for a, b in self.taken.get(link, [])):
                return False
        return True

    def send(self, channel: str, nbytes: int, now: int, values: Array | None) -> None:
        """Take the links and one place at every receiver."""
        tree = self.trees[channel]
        for link, offset in tree.links:
            first = now + offset
            self.taken.setdefault(link, []).append((first, first + occupancy(self.machine, link, nbytes)))
        for number, dest in enumerate(self.channels[channel].dests):
            fifo = self.fifos[channel, dest]
            fifo.places -= 1
            fifo.messages.append((now + tree.arrival_delay(self.machine, number, nbytes), values))

    def has_message(self, channel: str, dest: int, now: int) -> bool:
        """Whether a message has arrived."""
        messages = self.fifos[channel, dest].messages
        return bool(messages) and messages[0][0] <= now

    def take(self, channel: str, dest: int, now: int) -> Array | None:
        """Take the oldest message; its place is free, which the sender learns later."""
        fifo = self.fifos[channel, dest]
        delay = self.trees[channel].credit_delay(self.channels[channel].dests.index(dest))
        fifo.credits.append(now + delay)
        return fifo.messages.popleft()[1]

    def moments(self, now: int) -> list[int]:
        """When something may change: arrivals, credits; while a link is taken, every cycle."""
        moments = [m[0] for f in self.fifos.values() for m in f.messages]
        moments += [c for f in self.fifos.values() for c in f.credits]
        if any(stop > now for taken in self.taken.values() for _, stop in taken):
            moments.append(now + 1)
        return moments
