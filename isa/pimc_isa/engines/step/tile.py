"""One tile of the step engine: dispatcher, unit queues, and the scoreboard of instructions in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pimc_isa.define import Instr
from pimc_isa.engines.step.dots import Dots
from pimc_isa.engines.step.geometry import InTile, Row, is_sent, nbytes, row_at, rows_named
from pimc_isa.engines.step.referee import Restatement, restatement_of
from pimc_isa.engines.step.values import Memory, Values
from pimc_isa.instructions import End, Halt, Loop, Recv, Send
from pimc_isa.program import Program, Tile

__all__ = ["Execution", "TileMachine"]

Array = np.ndarray


@dataclass
class Execution:
    """One execution of an instruction, from its dispatch on.

    ``rows`` are those a ``recv`` has yet to move; ``idle``: a ``send`` whose row is none of those that it sends.
    """

    instr: Instr
    pc: int
    iteration: int
    image: int
    rule: Restatement
    unit: str
    cycles: int
    busy: int
    nbytes: int
    dispatched: int
    reads: set[Row]
    writes: set[Row]
    rows: list[Row] = field(default_factory=list)
    idle: bool = False
    started: int | None = None
    free_at: int | None = None
    busy_until: int | None = None
    ended: int | None = None
    values: Values | None = None

    def describe(self) -> str:
        """For error messages."""
        return f"{self.instr.mnemonic} at {self.pc}, iteration {self.iteration}, image {self.image}, waits"


#: Units of which every stream has its own, by the beginning of their names; a place has one of any other (rule 4).
_OWN = ("matrix.", "host.")


class TileMachine:
    """State of one tile; ``common`` is that of all streams of its place: from when on the units they share are free."""

    def __init__(self, program: Program, tile: Tile, images: int, dots: Dots, common: dict[str, int]) -> None:
        self.tile = tile
        self.images = images
        self.place = InTile(program, tile)
        self.common = common
        self.memory = Memory(program, tile, images, dots)
        self.queue_places = None if tile.kind == "host" else program.machine.tile.queue_depth
        self.queues: dict[str, deque[Execution]] = {}
        self.running: dict[str, Execution] = {}
        self.leaving: list[Execution] = []  # no longer occupy their unit, have not ended
        self.held: dict[str, int] = {}  # units that are not free yet although nothing runs in them
        self.flight: list[Execution] = []  # dispatched, not ended, in the order of the stream
        self.done: list[Execution] = []  # all ever dispatched
        self.pc = 0
        self.iteration = 0
        self.image = 0 if tile.code else images
        self.arrived: dict[str, int] = {}
        self.touched: dict[tuple[int, int], tuple[set[Row], set[Row]]] = {}  # by place in the code and iteration

    @property
    def finished(self) -> bool:
        """All images are through."""
        return self.image == self.images and not self.flight

    def moments(self) -> Iterable[int]:
        """When units will be free and instructions end."""
        running = list(self.running.values())
        times = [e.busy_until for e in running + self.leaving] + [e.free_at for e in running]
        return [t for t in [*times, *self.held.values()] if t is not None]

    def release(self, now: int) -> bool:
        """Let go of units whose next instruction may start although the last has not ended; returns whether any."""
        released = [e for e in self.running.values() if e.free_at == now and e.busy_until != now]
        for e in released:
            del self.running[e.unit]
        self.leaving += released
        return bool(released)

    def ending(self, now: int) -> list[Execution]:
        """What ends now, in the order it started."""
        return [e for e in self.leaving + list(self.running.values()) if e.busy_until == now]

    def heads(self) -> list[Execution]:
        """What stands first in each unit."""
        return [
            self.running[u] if u in self.running else q[0] for u, q in self.queues.items() if q or u in self.running
        ]

    # ---- dispatch ----

    def dispatch(self, now: int) -> bool:
        """Dispatch the next instruction of the stream if its unit's queue has room; returns whether it did."""
        if self.image == self.images:
            return False
        instr = self.tile.code[self.pc]
        if isinstance(instr, Loop):
            self.pc += 1
            self.iteration = 0
        elif isinstance(instr, End):
            self._close_loop()
        elif isinstance(instr, Halt):
            self._next_image()
        else:
            queue = self.queues.setdefault(restatement_of(instr, self.tile).unit(instr), deque())
            if self.queue_places is not None and len(queue) >= self.queue_places:
                return False
            execution = self._execution(instr, now)
            queue.append(execution)
            self.flight.append(execution)
            self.done.append(execution)
            self.pc += 1
        if self.image < self.images and self.pc == len(self.tile.code):
            self._next_image()  # a stream without halt
        return True

    def _close_loop(self) -> None:
        start = max(k for k in range(self.pc) if isinstance(self.tile.code[k], Loop))
        loop = self.tile.code[start]
        assert isinstance(loop, Loop)
        if self.iteration + 1 < loop.times:
            self.iteration += 1
            self.pc = start + 1
        else:
            self.iteration = 0
            self.pc += 1

    def _next_image(self) -> None:
        self.image += 1
        self.pc = 0
        self.arrived = {}

    def _execution(self, instr: Instr, now: int) -> Execution:
        rule, place, i = restatement_of(instr, self.tile), self.place, self.iteration
        size = nbytes(self.tile, instr.src) if isinstance(instr, Send) else 0
        idle = isinstance(instr, Send) and not is_sent(self.tile, instr, i)
        cycles = max(1, rule.cycles(place, instr))
        busy = cycles if rule.busy is None else max(1, rule.busy(place, instr))
        rows = self._rows_to_take(instr) if isinstance(instr, Recv) else []
        if (self.pc, i) not in self.touched:
            self.touched[self.pc, i] = set(rule.reads(place, instr, i)), set(rule.writes(place, instr, i))
        touched = self.touched[self.pc, i]
        at = instr, self.pc, i, self.image, rule
        return Execution(*at, rule.unit(instr), cycles, busy, size, now, *touched, rows, idle)

    def _rows_to_take(self, instr: Recv) -> list[Row]:
        """The rows that this ``recv`` still has to take: of those it names, in order, the ones below ``until``."""
        until, arrived = row_at(instr.until, self.iteration), self.arrived.get(instr.channel, 0)
        named = rows_named(instr.rows, self.tile.buffer[instr.dst.buffer].rows)
        rows = [row for row in named[arrived:] if row < until]
        self.arrived[instr.channel] = arrived + len(rows)
        return [(instr.dst.buffer, row) for row in rows]

    # ---- scoreboard ----

    def _earlier(self, e: Execution) -> list[Execution]:
        return self.flight[: next(n for n, other in enumerate(self.flight) if other is e)]

    def _slots(self, rows: Iterable[Row], image: int) -> set[tuple[str, int]]:
        return {(buffer, self.memory.rings[buffer].slot(image, row)) for buffer, row in rows}

    def may_read(self, e: Execution) -> bool:
        """Every row it reads is complete: no earlier instruction of this image has yet to write it."""
        return not any(e.reads & (o.writes | set(o.rows)) for o in self._earlier(e) if o.image == e.image)

    def may_write(self, e: Execution, rows: Iterable[Row]) -> bool:
        """The slots of ``rows`` are free: no earlier instruction has yet to read or write them."""
        mine = self._slots(rows, e.image)
        return not any(mine & self._slots(o.reads | o.writes | set(o.rows), o.image) for o in self._earlier(e))

    # ---- units ----

    def idle_executions(self, now: int) -> list[Execution]:
        """What each unit could start: the next transfer of its ``recv``, or the head of its queue."""
        found = []
        for unit, queue in self.queues.items():
            if unit in self.running:
                if self.running[unit].busy_until is None:
                    found.append(self.running[unit])
            elif queue and queue[0].dispatched < now and self.held.get(unit, 0) <= now:
                found.append(queue[0])
        return [e for e in found if self.common.get(e.unit, 0) <= now]

    def start(self, e: Execution, now: int, until: int, free_at: int | None = None) -> None:
        """Occupy the unit, until the end or until it is free for the next instruction."""
        if e.started is None:
            e.started = now
            self.queues[e.unit].popleft()
            self.running[e.unit] = e
        e.busy_until = until
        e.free_at = free_at
        if not e.unit.startswith(_OWN):
            self.common[e.unit] = until if free_at is None else free_at

    def end(self, e: Execution, now: int) -> None:
        """Leave the unit."""
        e.ended = now
        if e in self.leaving:
            self.leaving = [o for o in self.leaving if o is not e]
        else:
            del self.running[e.unit]
            if e.free_at is not None:
                self.held[e.unit] = e.free_at
        self.flight = [o for o in self.flight if o is not e]

    def values(self, e: Execution, inputs: Mapping[str, Array]) -> Values:
        """What its meaning reads and writes through."""
        return Values(self.memory, e.image, e.iteration, inputs)
