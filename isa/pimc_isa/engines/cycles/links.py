"""Links of the network over time: who needs which link, and when a message may have them all.

Most links cannot be contended: only one tile uses them, and it sends one message at a time. Links that the same sends
use, always the same number of cycles apart, are free at the same time; one of them stands for all.
"""

from __future__ import annotations

from collections.abc import Mapping

from pimc_isa.define import Context
from pimc_isa.instructions import Send
from pimc_isa.program import Program
from pimc_isa.route import Link, Tree, multicast, occupancy

__all__ = ["Hold", "LinkTimes"]

#: A send instruction: (tile number, index in its code).
Site = tuple[int, int]


class LinkState:
    """Reservations of one link: intervals [start, end) that may still matter, and the latest end."""

    __slots__ = ("last", "taken")

    def __init__(self) -> None:
        """A link nobody has used."""
        self.last = 0
        self.taken: list[tuple[int, int]] = []


#: (link, cycles after the start of the send, cycles for which the link is taken)
Hold = tuple[LinkState, int, int]


class LinkTimes:
    """All links, and for each send instruction the ones it competes for."""

    def __init__(self, program: Program) -> None:
        """Find the links that can be contended."""
        self._trees = {c.name: multicast(program, c) for c in program.channels}
        users: dict[Link, dict[Site, tuple[int, int]]] = {}
        own_cycles: dict[Site, int] = {}
        for tile in program.tiles:
            ctx = Context(program, tile)
            for k, instr in enumerate(tile.code):
                if not isinstance(instr, Send):
                    continue
                nbytes = ctx.nbytes(instr.src)
                own_cycles[tile.number, k] = instr.cycles(ctx)
                for link, offset in self._trees[instr.channel].links:
                    users.setdefault(link, {})[tile.number, k] = offset, occupancy(program.machine, link, nbytes)
        self._users = users
        self._holds: dict[Site, list[Hold]] = {site: [] for site in own_cycles}
        seen: set[tuple[tuple[Site, int, int], ...]] = set()
        for uses in users.values():
            one_tile = len({tile for tile, _ in uses}) == 1
            if one_tile and all(cycles <= own_cycles[site] for site, (_, cycles) in uses.items()):
                continue
            base = next(iter(uses.values()))[0]
            pattern = tuple((site, offset - base, cycles) for site, (offset, cycles) in uses.items())
            if pattern in seen:
                continue
            seen.add(pattern)
            state = LinkState()
            for site, (offset, cycles) in uses.items():
                self._holds[site].append((state, offset, cycles))

    def tree(self, channel: str) -> Tree:
        """The multicast tree of a channel."""
        return self._trees[channel]

    def holds(self, tile: int, index: int) -> list[Hold]:
        """The contended links of a send instruction."""
        return self._holds[tile, index]

    def first_free(self, now: int, holds: list[Hold]) -> int:
        """The first cycle from ``now`` on at which a send finds all its links free, as reserved so far."""
        again = True
        while again:
            again = False
            for state, offset, cycles in holds:
                if state.last <= now + offset:
                    continue
                for start, end in state.taken:
                    if start < now + offset + cycles and now + offset < end:
                        now = end - offset
                        again = True
        return now

    def take(self, now: int, holds: list[Hold]) -> None:
        """Reserve the links of a send that starts ``now``; starts never decrease."""
        for state, offset, cycles in holds:
            taken = state.taken
            if state.last <= now:
                taken.clear()
            elif len(taken) > 16:
                taken[:] = [t for t in taken if t[1] > now]
            end = now + offset + cycles
            taken.append((now + offset, end))
            if end > state.last:
                state.last = end

    def busy(self, sent: Mapping[Site, int]) -> dict[Link, int]:
        """Cycles each link that was used was taken, given how many messages each send instruction has sent."""
        busy = {
            link: sum(sent[site] * cycles for site, (_, cycles) in uses.items()) for link, uses in self._users.items()
        }
        return {link: cycles for link, cycles in busy.items() if cycles}
