"""When: the event-driven timing engine. Exact with respect to the timing rules of the ISA, independent of data.

Every unit and every dispatcher is a process (a generator) that works off its part of the plan as far as times are
known, and parks itself on the list of whoever has to tell it more. Inside a tile a start is a maximum over known ends,
so the order of processing does not matter. Only sends compete, for links, and the streams of one place, for the units
they share: these start in order of time, then of tile number. A start can only cause later ones, so the earliest of
those that are ready is always next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np

from pimc_isa.define import Context
from pimc_isa.engines.cycles.deadlock import explain
from pimc_isa.engines.cycles.links import LinkTimes
from pimc_isa.engines.cycles.plan import StreamPlanner
from pimc_isa.engines.cycles.state import (
    Contender,
    Moments,
    Process,
    Receiver,
    Route,
    SharedUnit,
    TileState,
    UnitState,
)
from pimc_isa.engines.memory import need
from pimc_isa.engines.timing import TileTiming, Timing, is_shared
from pimc_isa.errors import DeadlockError, RunError
from pimc_isa.instructions import Recv, Send, executed_instructions
from pimc_isa.program import Program

__all__ = ["Simulation", "finished_simulation", "simulate"]


Progress = Callable[[int, int], None]

#: Starts that are competed for between two words of progress.
_STARTS_TOLD = 1 << 12

#: Instructions from which memory may be short, and bytes that each of them takes.
_MANY, _NODE_BYTES = 1 << 20, 500


class Simulation:
    """A program under way."""

    def __init__(self, program: Program, images: int, progress: Progress | None = None) -> None:
        self.program = program
        self.images = images
        self.progress = progress
        self.started = self.starts = 0
        self.network = LinkTimes(program)
        self.ready: list[Process] = []
        self.lazy: list[Process] = []  # dispatchers: run when nothing else can, so that they do many at once
        self.heap: list[tuple[int, int, int, Contender]] = []
        self.shared: dict[tuple[tuple[int, ...], str], SharedUnit] = {}  # by tiles of a place, and unit
        receivers = {
            (c.name, dest): Receiver(self.network.tree(c.name).credit_delay(n))
            for c in program.channels
            for n, dest in enumerate(c.dests)
        }
        planner = StreamPlanner(images, program.machine.tile.queue_depth)
        self.tiles: list[TileState] = []
        for tile in program.tiles:
            plan = planner.plan(Context(program, tile))
            state = TileState(tile, plan, Moments(), [UnitState() for _ in plan.units])
            for k, instr in enumerate(tile.code):
                if isinstance(instr, Recv):
                    state.sources[k] = receivers[instr.channel, tile.number]
                elif isinstance(instr, Send):
                    state.routes[k] = self._route(Context(program, tile), k, instr, receivers)
            self.tiles.append(state)
            self.lazy.append(self._dispatcher(state))
            for u, name in enumerate(plan.units):
                head = Contender((tile.number, u), self._shared_unit(state, u))
                sent = sum(plan.sent.values()) if name == Send.unit else 0
                self.starts += sent if head.unit is None else len(plan.nodes[u])
                head.process = self._unit(state, u, head)
                self.ready.append(head.process)

    def _shared_unit(self, state: TileState, u: int) -> SharedUnit | None:
        """What a unit of a tile is to all streams of its place; None where there is one stream, or it is its own."""
        place, unit = self.program.sharing[state.tile.number], state.plan.units[u]
        if len(place) == 1 or not is_shared(unit):
            return None
        shared = self.shared.setdefault((place, unit), SharedUnit())
        shared.users.append((state, u))
        return shared

    def _route(self, ctx: Context, k: int, send: Send, receivers: dict[tuple[str, int], Receiver]) -> Route:
        channel, tree = self.program.channel[send.channel], self.network.tree(send.channel)
        delays = [tree.arrival_delay(ctx.machine, n, ctx.nbytes(send.src)) for n in range(len(channel.dests))]
        ends = [receivers[channel.name, dest] for dest in channel.dests]
        return Route(channel.depth, list(zip(ends, delays, strict=True)), self.network.holds(ctx.tile.number, k))

    def run(self) -> None:
        """Until nothing can go on."""
        ready, heap = self.ready, self.heap
        while True:
            while ready:
                process = ready.pop()
                parked = next(process, None)
                if parked is not None:
                    parked.append(process)
            if self.lazy:
                ready.extend(self.lazy)
                self.lazy.clear()
            elif heap:
                self._next_start(*heapq.heappop(heap))
            else:
                return

    def _next_start(self, now: int, tile: int, u: int, head: Contender) -> None:
        """Start the earliest head that is ready, or put it off until its unit and its links are free."""
        assert head.process is not None
        unit, holds = head.unit, head.holds
        if holds or unit is not None:
            free = self.network.first_free(now if unit is None else max(now, unit.free), holds)
            if free > now:
                heapq.heappush(self.heap, (free, tile, u, head))
                return
            self.network.take(now, holds)
            if unit is not None:
                unit.free = now + head.occupancy
        head.start = now
        self.ready.append(head.process)
        self.started += 1
        if self.progress and self.started % _STARTS_TOLD == 0:
            self.progress(self.started, self.starts)

    def _dispatcher(self, state: TileState) -> Process:
        known, waiting = state.dispatched.known, state.dispatched.waiting
        starts = [u.start for u in state.units]
        now = -1
        for gap, u, node in state.plan.dispatch:
            now += gap
            if node >= 0:
                start = starts[u].known
                while node >= len(start):
                    yield starts[u].waiting
                if start[node] >= now:
                    now = start[node] + 1
            known.append(now)
            if waiting:
                self.ready.extend(waiting)
                waiting.clear()

    def _turn(self, now: int, occupancy: int, head: Contender) -> Process:
        """Wait for a unit that streams share with a node that is ready ``now``."""
        head.holds, head.occupancy = [], occupancy
        heapq.heappush(self.heap, (now, *head.order, head))
        yield None

    def _unit(self, state: TileState, u: int, head: Contender) -> Process:
        ready, lazy = self.ready, self.lazy
        heap, number, shared = self.heap, state.tile.number, head.unit is not None
        dispatched, dispatch_wait = state.dispatched.known, state.dispatched.waiting
        ends = [v.end.known for v in state.units]
        end_waits = [v.end.waiting for v in state.units]
        start, start_wait = state.units[u].start.known, state.units[u].start.waiting
        end, end_wait = ends[u], end_waits[u]
        sources = state.sources
        now = free = 0
        for pos, cycles, deps, k, message, occupancy in state.plan.nodes[u]:
            now = free
            if pos >= 0:
                while pos >= len(dispatched):
                    yield dispatch_wait
                if dispatched[pos] >= now:
                    now = dispatched[pos] + 1
            for v, m in deps:
                other = ends[v]
                while m >= len(other):
                    yield end_waits[v]
                if other[m] > now:
                    now = other[m]
            if message >= 0:
                if k in sources:
                    arrivals = sources[k].arrivals.known
                    while message >= len(arrivals):
                        yield sources[k].arrivals.waiting
                    if arrivals[message] > now:
                        now = arrivals[message]
                    if shared:
                        yield from self._turn(now, occupancy, head)
                        now = head.start
                    taken = sources[k].taken
                    taken.known.append(now + cycles)
                    if taken.waiting:
                        ready.extend(taken.waiting)
                        taken.waiting.clear()
                else:
                    route = state.routes[k]
                    place = message - route.depth
                    if place >= 0:
                        for receiver, _ in route.receivers:
                            taken = receiver.taken
                            while place >= len(taken.known):
                                yield taken.waiting
                            credit = taken.known[place] + receiver.credit_delay
                            if credit > now:
                                now = credit
                    head.holds = route.holds
                    if shared:
                        head.occupancy = occupancy
                    heapq.heappush(heap, (now, number, u, head))
                    yield None
                    now = head.start
                    for receiver, delay in route.receivers:
                        receiver.arrivals.known.append(now + delay)
                        if receiver.arrivals.waiting:
                            ready.extend(receiver.arrivals.waiting)
                            receiver.arrivals.waiting.clear()
            elif shared:
                yield from self._turn(now, occupancy, head)
                now = head.start
            free = now + occupancy
            start.append(now)
            end.append(now + cycles)
            if end_wait:
                ready.extend(end_wait)
                end_wait.clear()
            if start_wait:
                lazy.extend(start_wait)
                start_wait.clear()

    @property
    def finished(self) -> bool:
        """Every node of every unit has run."""
        return all(len(n) == len(u.end.known) for t in self.tiles for n, u in zip(t.plan.nodes, t.units, strict=True))


def simulate(program: Program, images: int = 2, progress: Progress | None = None) -> Timing:
    """Start and end of every instruction over a stream of ``images`` images (at least 1).

    ``progress(started, starts)`` is told now and then how many of all starts that are competed for there have been.
    Raises ``DeadlockError`` if the program comes to a halt before its end.
    """
    simulation = finished_simulation(program, images, progress)
    try:
        return _timing(simulation)
    except OverflowError:
        raise RunError(f"{images} images take more than 2^63 clock cycles; use larger rates or shorter steps") from None


def finished_simulation(program: Program, images: int, progress: Progress | None = None) -> Simulation:
    """The engine after its run. Raises ``DeadlockError``, RunError."""
    executed = sum(executed_instructions(tile) for tile in program.tiles)
    if images * executed > _MANY:
        need(images * executed * _NODE_BYTES, f"the timing of {images * executed} instructions")
    simulation = Simulation(program, images, progress)
    simulation.run()
    if not simulation.finished:
        raise DeadlockError(explain(program, simulation.tiles))
    return simulation


def _tile_timing(state: TileState, images: int) -> TileTiming:
    plan = state.plan
    start = np.zeros(len(plan.executed), np.int64)
    end = np.zeros_like(start)
    executed = np.array(plan.executed, np.int64).reshape(-1, 3)
    for u, unit in enumerate(state.units):
        own = executed[:, 0] == u
        start[own] = np.array(unit.start.known, np.int64)[executed[own, 1]]
        end[own] = np.array(unit.end.known, np.int64)[executed[own, 2]]
    return TileTiming(
        state.tile.number,
        np.array(plan.index, np.int32),
        np.array(plan.iteration, np.int32),
        start.reshape(images, -1),
        end.reshape(images, -1),
    )


def _timing(simulation: Simulation) -> Timing:
    images = simulation.images
    tiles = tuple(_tile_timing(t, images) for t in simulation.tiles)
    hosts = {t.number for t in simulation.program.tiles if t.kind == "host"}
    outs = [t.end.max(axis=1) for t in tiles if t.end.size and (t.tile in hosts or not hosts)]
    ends = np.max(outs, axis=0) if outs else np.zeros(images, np.int64)
    unit_busy = {
        (t.tile.number, name): sum(node[5] for node in nodes)
        for t in simulation.tiles
        for name, nodes in zip(t.plan.units, t.plan.nodes, strict=True)
    }
    sent = {(t.tile.number, k): t.plan.sent.get(k, 0) for t in simulation.tiles for k in t.routes}
    link_busy = simulation.network.busy(sent)
    sharing = tuple(sorted({place for place in simulation.program.sharing.values() if len(place) > 1}))
    return Timing(images, tiles, tuple(int(e) for e in ends), unit_busy, link_busy, sharing)
