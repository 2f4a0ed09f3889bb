"""What the timing engine knows so far: lists of clock cycles that grow, and who waits for them to grow."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from pimc_isa.engines.cycles.links import Hold
from pimc_isa.engines.cycles.plan import StreamPlan
from pimc_isa.program import Tile

__all__ = ["Contender", "Moments", "Order", "Process", "Receiver", "Route", "SharedUnit", "TileState", "UnitState"]

#: A unit or dispatcher at work; it yields the list to park on, or None when the network will wake it.
Process = Generator["list[Process] | None", None, None]

#: (tile number, unit): who is first of those that are ready in the same cycle.
Order = tuple[int, int]


@dataclass(slots=True)
class Moments:
    """Clock cycles that become known one by one, and the processes that wait for more of them."""

    known: list[int] = field(default_factory=list)
    waiting: list[Process] = field(default_factory=list)


@dataclass(slots=True)
class Receiver:
    """One receiver of a channel: arrivals of messages, ends of their transfers, and the credit's way back."""

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
class SharedUnit:
    """A unit of a place with several streams: those that use it, and the cycle from which it is free."""

    users: list[tuple[TileState, int]] = field(default_factory=list)
    free: int = 0


@dataclass(slots=True)
class Contender:
    """The head of a stream's unit that competes: for links (``holds``), for a unit that streams share (``unit``).

    It is ready from some cycle on; ``start`` is set when it gets all of them, the unit for ``occupancy`` cycles.
    """

    order: Order
    unit: SharedUnit | None
    occupancy: int = 0
    holds: list[Hold] = field(default_factory=list)
    start: int = 0
    process: Process | None = None


@dataclass(slots=True)
class UnitState:
    """Starts and ends of a unit's nodes."""

    start: Moments = field(default_factory=Moments)
    end: Moments = field(default_factory=Moments)


@dataclass(slots=True)
class TileState:
    """One tile in flight. ``sources`` and ``routes`` are by position in its code: where recvs take from, sends go."""

    tile: Tile
    plan: StreamPlan
    dispatched: Moments
    units: list[UnitState]
    sources: dict[int, Receiver] = field(default_factory=dict)
    routes: dict[int, Route] = field(default_factory=dict)
