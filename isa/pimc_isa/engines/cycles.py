"""When: the event-driven timing engine. Exact with respect to the timing rules of the ISA, independent of data.

Every unit and every dispatcher is a process (a generator) that works off its part of the plan as far as times are
known, and parks itself on the list of whoever has to tell it more. Inside a tile a start is a maximum over known ends,
so the order of processing does not matter. Only sends compete, for links: they start in order of time, then of tile
number. A send can only cause sends later than itself, so the earliest of those that are ready is always next.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pimc_isa.define import Context
from pimc_isa.engines.cycles_links import Hold, Network
from pimc_isa.engines.cycles_plan import Node, Plan, Planner
from pimc_isa.engines.timing import TileTiming, Timing
from pimc_isa.errors import DeadlockError
from pimc_isa.instructions import Recv, Send
from pimc_isa.program import Program, Tile

__all__ = ["simulate"]

Process = Generator["list[Process] | None", None, None]


@dataclass(slots=True)
class Moments:
    """Clock cycles that become known one by one, and the processes that wait for more of them."""

    known: list[int] = field(default_factory=list)
    waiting: list[Process] = field(default_factory=list)


@dataclass(slots=True)
class Receiver:
    """One receiver of a channel: arrivals of messages, ends of their transfers, and the way's delays."""

    credit_delay: int
    arrivals: Moments = field(default_factory=Moments)
    taken: Moments = field(default_factory=Moments)


@dataclass(slots=True)
class Route:
    """What one send instruction needs: its channel's receivers with arrival delays, depth, and contended links."""

    depth: int
    receivers: list[tuple[Receiver, int]]
    holds: list[Hold]


@dataclass(slots=True)
class Unit:
    """Starts and ends of a unit's nodes."""

    start: Moments = field(default_factory=Moments)
    end: Moments = field(default_factory=Moments)


@dataclass(slots=True)
class TileState:
    """One tile in flight."""

    tile: Tile
    plan: Plan
    dispatched: Moments
    units: list[Unit]


@dataclass(slots=True)
class Sender:
    """The head of a tile's net-out unit: ready from some cycle on; ``start`` is set when it gets the links."""

    start: int = 0
    route: Route | None = None
    process: Process | None = None


class _Simulation:
    def __init__(self, program: Program, images: int) -> None:
        self.program = program
        self.images = images
        self.network = Network(program)
        self.ready: list[Process] = []
        self.lazy: list[Process] = []  # dispatchers: run when nothing else can, so that they do many at once
        self.heap: list[tuple[int, int, Sender]] = []
        self.receivers = {
            (c.name, dest): Receiver(self.network.tree(c.name).credit_delay(n))
            for c in program.channels
            for n, dest in enumerate(c.dests)
        }
        planner = Planner(images, program.machine.tile.queue_depth)
        self.tiles: list[TileState] = []
        for tile in program.tiles:
            plan = planner.plan(Context(program, tile))
            state = TileState(tile, plan, Moments(), [Unit() for _ in plan.units])
            self.tiles.append(state)
            self.lazy.append(self._dispatcher(state))
            for u, name in enumerate(plan.units):
                self.ready.append(self._process(state, u, name))

    def _process(self, state: TileState, u: int, name: str) -> Process:
        if name == "net-in":
            return self._net_in(state, u)
        if name == "net-out":
            sender = Sender()
            sender.process = self._net_out(state, u, sender)
            return sender.process
        return self._unit(state, u)

    def run(self) -> None:
        """Until every process has ended."""
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
                now, tile, sender = heapq.heappop(heap)
                assert sender.route is not None and sender.process is not None
                free = self.network.first_free(now, sender.route.holds)
                if free > now:
                    heapq.heappush(heap, (free, tile, sender))
                    continue
                self.network.take(now, sender.route.holds)
                sender.start = now
                ready.append(sender.process)
            else:
                return

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

    def _unit(self, state: TileState, u: int) -> Process:
        ready, lazy = self.ready, self.lazy
        dispatched, dispatch_wait = state.dispatched.known, state.dispatched.waiting
        ends = [v.end.known for v in state.units]
        end_waits = [v.end.waiting for v in state.units]
        start, start_wait = state.units[u].start.known, state.units[u].start.waiting
        end, end_wait = ends[u], end_waits[u]
        free = 0
        for pos, cycles, deps, _, _ in state.plan.nodes[u]:
            while pos >= len(dispatched):
                yield dispatch_wait
            now = dispatched[pos] + 1
            if free > now:
                now = free
            for v, m in deps:
                other = ends[v]
                while m >= len(other):
                    yield end_waits[v]
                if other[m] > now:
                    now = other[m]
            free = now + cycles
            start.append(now)
            end.append(free)
            if end_wait:
                ready.extend(end_wait)
                end_wait.clear()
            if start_wait:
                lazy.extend(start_wait)
                start_wait.clear()

    def _net_in(self, state: TileState, u: int) -> Process:
        ready, lazy = self.ready, self.lazy
        code, number = state.tile.code, state.tile.number
        sources = {
            k: self.receivers[instr.channel, number] for k, instr in enumerate(code) if isinstance(instr, Recv)
        }
        dispatched, dispatch_wait = state.dispatched.known, state.dispatched.waiting
        ends = [v.end.known for v in state.units]
        end_waits = [v.end.waiting for v in state.units]
        start, start_wait = state.units[u].start.known, state.units[u].start.waiting
        end, end_wait = ends[u], end_waits[u]
        free = 0
        for pos, cycles, deps, k, message in state.plan.nodes[u]:
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
                source = sources[k]
                arrivals = source.arrivals.known
                while message >= len(arrivals):
                    yield source.arrivals.waiting
                if arrivals[message] > now:
                    now = arrivals[message]
                source.taken.known.append(now + cycles)
                if source.taken.waiting:
                    ready.extend(source.taken.waiting)
                    source.taken.waiting.clear()
            free = now + cycles
            start.append(now)
            end.append(free)
            if end_wait:
                ready.extend(end_wait)
                end_wait.clear()
            if start_wait:
                lazy.extend(start_wait)
                start_wait.clear()

    def _net_out(self, state: TileState, u: int, sender: Sender) -> Process:
        ready, lazy, heap = self.ready, self.lazy, self.heap
        number = state.tile.number
        routes = {k: self._route(state, k) for k, instr in enumerate(state.tile.code) if isinstance(instr, Send)}
        dispatched, dispatch_wait = state.dispatched.known, state.dispatched.waiting
        ends = [v.end.known for v in state.units]
        end_waits = [v.end.waiting for v in state.units]
        start, start_wait = state.units[u].start.known, state.units[u].start.waiting
        end, end_wait = ends[u], end_waits[u]
        free = 0
        for pos, cycles, deps, k, message in state.plan.nodes[u]:
            while pos >= len(dispatched):
                yield dispatch_wait
            now = dispatched[pos] + 1
            if free > now:
                now = free
            for v, m in deps:
                other = ends[v]
                while m >= len(other):
                    yield end_waits[v]
                if other[m] > now:
                    now = other[m]
            route = routes[k]
            place = message - route.depth
            if place >= 0:
                for receiver, _ in route.receivers:
                    taken = receiver.taken.known
                    while place >= len(taken):
                        yield receiver.taken.waiting
                    credit = taken[place] + receiver.credit_delay
                    if credit > now:
                        now = credit
            sender.route = route
            heapq.heappush(heap, (now, number, sender))
            yield None
            now = sender.start
            free = now + cycles
            start.append(now)
            end.append(free)
            for receiver, delay in route.receivers:
                arrivals = receiver.arrivals
                arrivals.known.append(now + delay)
                if arrivals.waiting:
                    ready.extend(arrivals.waiting)
                    arrivals.waiting.clear()
            if end_wait:
                ready.extend(end_wait)
                end_wait.clear()
            if start_wait:
                lazy.extend(start_wait)
                start_wait.clear()

    def _route(self, state: TileState, k: int) -> Route:
        instr = state.tile.code[k]
        assert isinstance(instr, Send)
        channel = self.program.channel[instr.channel]
        nbytes = Context(self.program, state.tile).nbytes(instr.src)
        tree = self.network.tree(channel.name)
        receivers = [
            (self.receivers[channel.name, dest], tree.arrival_delay(self.program.machine, n, nbytes))
            for n, dest in enumerate(channel.dests)
        ]
        return Route(channel.depth, receivers, self.network.holds(state.tile.number, k))


def simulate(program: Program, images: int = 2) -> Timing:
    """Start and end of every instruction over a stream of ``images`` images (at least 1).

    Raises ``DeadlockError`` if the program comes to a halt before its end.
    """
    simulation = _Simulation(program, images)
    simulation.run()
    if any(len(n) > len(u.end.known) for t in simulation.tiles for n, u in zip(t.plan.nodes, t.units, strict=True)):
        from pimc_isa.engines.cycles_deadlock import explain

        raise DeadlockError(explain(program, simulation.tiles))
    return _timing(simulation)


def _trace(state: TileState, images: int) -> TileTiming:
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


def _busy(nodes: Sequence[Node]) -> int:
    return sum(node[1] for node in nodes)


def _timing(simulation: _Simulation) -> Timing:
    images = simulation.images
    traces = tuple(_trace(t, images) for t in simulation.tiles)
    hosts = {t.number for t in simulation.program.tiles if t.kind == "host"}
    outs = [t.end.max(axis=1) for t in traces if t.end.size and (t.tile in hosts or not hosts)]
    ends = np.max(outs, axis=0) if outs else np.zeros(images, np.int64)
    unit_busy = {
        (t.tile.number, name): _busy(nodes)
        for t in simulation.tiles
        for name, nodes in zip(t.plan.units, t.plan.nodes, strict=True)
    }
    sends = {
        t.tile.number: np.bincount(t.plan.index, minlength=len(t.tile.code)) * images for t in simulation.tiles
    }
    return Timing(images, traces, tuple(int(e) for e in ends), unit_busy, simulation.network.busy(sends))
