"""What every unit did when, and what it waited for: the timing engine's run, read afterwards.

Nothing is recorded while it runs, so that it is no slower: a start is the largest of a few known cycles, and which one
it was can be told later.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pimc_isa.define import Context
from pimc_isa.engines.cycles.engine import Simulation, finished_simulation
from pimc_isa.engines.cycles.state import TileState
from pimc_isa.instructions import Recv, Send
from pimc_isa.program import Program
from pimc_isa.route import Link, multicast, occupancy

__all__ = ["REASONS", "Record", "Slice", "record"]

REASONS = ("unit", "dispatch", "data", "message", "credit", "stream", "link")
"""What a start waited for last: what its unit did for its stream before, its turn to be dispatched, rows of its tile, a
message, room at a reader, another stream of its place that had the unit, or a link that another message had."""


#: By tile number and unit: cycles [start, end), in order.
Taken = dict[tuple[int, int], list[tuple[int, int]]]


@dataclass(frozen=True)
class Slice:
    """One occupation of a unit: an instruction, or one row's transfer of a ``recv``, in cycles [``start``, ``end``).

    ``index`` is the instruction's place in its tile's code, ``iteration`` its loop counter; ``message`` the number of
    the message that it sends or takes, -1 for others. ``reason`` is one of `REASONS`; ``waited`` the cycles for which
    its unit did nothing for its stream before it.
    """

    tile: int
    unit: str
    start: int
    end: int
    index: int
    iteration: int
    image: int
    message: int
    reason: str
    waited: int


@dataclass(frozen=True)
class Record:
    """All slices, by tile, unit and start; and of each link the cycles [start, end) in which messages took it."""

    images: int
    slices: tuple[Slice, ...]
    links: dict[Link, tuple[tuple[int, int], ...]]


def record(program: Program, images: int = 1, progress: Callable[[int, int], None] | None = None) -> Record:
    """Run the timing engine over ``images`` images, and tell what happened. Raises as `simulate` does."""
    simulation = finished_simulation(program, images, progress)
    taken = _taken(simulation)
    slices = [s for state in simulation.tiles for s in _slices(state, images, taken)]
    slices.sort(key=lambda s: (s.tile, s.unit, s.start, s.end))
    return Record(images, tuple(slices), _links(program, slices))


def _taken(simulation: Simulation) -> Taken:
    """Units that streams share: when any of these had them."""
    found: Taken = {}
    for unit in simulation.shared.values():
        runs = [(state.units[u].start.known, state.plan.nodes[u]) for state, u in unit.users]
        spans = sorted((s, s + node[5]) for starts, nodes in runs for s, node in zip(starts, nodes, strict=True))
        found |= {(state.tile.number, u): spans for state, u in unit.users}
    return found


def _slices(state: TileState, images: int, taken: Taken) -> Iterator[Slice]:
    each = len(state.plan.executed) // images
    for n, (u, first, last) in enumerate(state.plan.executed):
        for node in range(first, last + 1):
            start, end = state.units[u].start.known[node], state.units[u].end.known[node]
            reason, free = _reason(state, u, node, taken.get((state.tile.number, u), []))
            k, iteration = state.plan.index[n % each], state.plan.iteration[n % each]
            message, name = state.plan.nodes[u][node][4], state.plan.units[u]
            yield Slice(state.tile.number, name, start, end, k, iteration, n // each, message, reason, start - free)


def _reason(state: TileState, u: int, node: int, taken: list[tuple[int, int]]) -> tuple[str, int]:
    """Which of the cycles that a node's start is the largest of it was, and when its unit was done for its stream."""
    starts = state.units[u].start.known
    pos, _, deps, k, message, _ = state.plan.nodes[u][node]
    free = starts[node - 1] + state.plan.nodes[u][node - 1][5] if node else 0
    found = {"unit": free}
    if pos >= 0:
        found["dispatch"] = state.dispatched.known[pos] + 1
    found["data"] = max((state.units[v].end.known[m] for v, m in deps), default=0)
    if message >= 0 and k in state.sources:
        found["message"] = state.sources[k].arrivals.known[message]
    elif message >= 0:
        route = state.routes[k]
        place = message - route.depth
        if place >= 0:
            found["credit"] = max(r.taken.known[place] + r.credit_delay for r, _ in route.receivers)
    before = bisect_left(taken, (starts[node],)) - 1
    if before >= 0:
        found["stream"] = taken[before][1]
    if starts[node] > max(found.values()):
        found["link"] = starts[node]
    latest = max(found.values())
    return next(reason for reason in REASONS if found.get(reason) == latest), free


def _links(program: Program, slices: list[Slice]) -> dict[Link, tuple[tuple[int, int], ...]]:
    trees = {c.name: multicast(program, c) for c in program.channels}
    taken: dict[Link, list[tuple[int, int]]] = {}
    tiles = {tile.number: tile for tile in program.tiles}
    for one in slices:
        tile = tiles[one.tile]
        instr = tile.code[one.index]
        if not isinstance(instr, Send) or one.message < 0:
            continue
        nbytes = Context(program, tile).nbytes(instr.src)
        for link, offset in trees[instr.channel].links:
            first = one.start + offset
            taken.setdefault(link, []).append((first, first + occupancy(program.machine, link, nbytes)))
    return {link: tuple(sorted(intervals)) for link, intervals in sorted(taken.items())}


def channel_of(program: Program, one: Slice) -> str:
    """The channel that a slice sends to or takes from; '' for others."""
    instr = program.tile[one.tile].code[one.index]
    return instr.channel if isinstance(instr, Send | Recv) else ""
