"""Who waits for whom when a program stands still: the message of a ``DeadlockError``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pimc_isa.define import Context, Instr, Touch, fields_of
from pimc_isa.instructions import Recv, Send
from pimc_isa.operands import ALL_ROWS
from pimc_isa.program import Program
from pimc_isa.text.operands import show_range

if TYPE_CHECKING:
    from pimc_isa.engines.cycles.plan import Node
    from pimc_isa.engines.cycles.state import TileState

__all__ = ["explain"]

_MOST_LINES = 6

#: (tile number, unit)
Waiter = tuple[int, int]


@dataclass(frozen=True)
class _Wait:
    """What a unit's next node waits for, and whose next node that is (None: nobody will ever provide it)."""

    instr: Instr
    iteration: int
    image: int
    what: str
    on: Waiter | None


def explain(program: Program, tiles: list[TileState]) -> str:
    """One cycle of waits, or the chain that ends at a tile that has finished; tile by tile, at most 6 lines."""
    states = {t.tile.number: t for t in tiles}
    start = next((n, u) for n, t in sorted(states.items()) for u in range(len(t.units)) if _next(t, u) is not None)
    chain: list[Waiter] = [start]
    waits = {start: _wait(program, states, start)}
    while (on := waits[chain[-1]].on) is not None and on not in waits:
        waits[on] = _wait(program, states, on)
        chain.append(on)
    if on is None:
        head = "deadlock: the last of these waits for what never comes; sends and recvs of an image must match"
    else:
        chain = chain[chain.index(on) :]
        head = "deadlock: these wait for each other; a deeper channel or a larger ring among them may free them"
    shown = chain if len(chain) < _MOST_LINES else [*chain[: _MOST_LINES - 2], chain[-1]]
    lines = [_line(states[w[0]], waits[w]) for w in shown]
    if len(shown) < len(chain):
        lines.insert(-1, f"  ... {len(chain) - len(shown)} more ...")
    return "\n".join([head, *lines])


def _next(state: TileState, u: int) -> Node | None:
    nodes, done = state.plan.nodes[u], len(state.units[u].end.known)
    return nodes[done] if done < len(nodes) else None


def _line(state: TileState, wait: _Wait) -> str:
    where = f'tile {state.tile.number} "{state.tile.name}"'
    return f"  {where}, image {wait.image}: {_text(wait.instr, wait.iteration)} waits for {wait.what}"


def _text(instr: Instr, i: int) -> str:
    """The instruction with its rows in iteration ``i``."""
    parts: list[str] = []
    for name, spec in fields_of(type(instr)):
        value = getattr(instr, name)
        if spec.kind == "slab":
            parts.append(f"{value.buffer}[{value.row.at(i)}]" if spec.access else value.buffer)
        elif spec.kind == "until":
            parts.append(f"until={value.at(i)}")
        elif spec.kind == "rows":
            parts += [f"{name}={show_range(value)}"] if value != ALL_ROWS else []
        else:
            parts.append(str(value))
    return f"`{instr.mnemonic} {', '.join(parts)}`"


def _wait(program: Program, states: dict[int, TileState], waiter: Waiter) -> _Wait:
    number, u = waiter
    state = states[number]
    node = _next(state, u)
    assert node is not None
    pos, _, deps, k, message, _ = node
    instr = state.tile.code[k]
    iteration, image = _place(state, u, len(state.units[u].end.known))

    def found(what: str, on: Waiter | None) -> _Wait:
        return _Wait(instr, iteration, image, what, on)

    dispatched = len(state.dispatched.known)
    if pos >= dispatched:
        full = state.plan.dispatch[dispatched][1]
        return found(f"its turn: the queue of {state.plan.units[full]} is full", (number, full))
    for v, m in deps:
        if m >= len(state.units[v].end.known):
            return found(_data(program, state, u, (v, m)), (number, v))
    if isinstance(instr, Recv):
        source = program.channel[instr.channel].source
        on = _unit(states[source], "net-out")
        end = "" if on is not None else ", which sends no more"
        return found(f"a message on channel {instr.channel} from tile {source}{end}", on)
    assert isinstance(instr, Send)
    channel = program.channel[instr.channel]
    dest = next(d for d in channel.dests if _taken(states[d], channel.name) <= message - channel.depth)
    on = _unit(states[dest], "net-in")
    end = "" if on is not None else ", which takes no more"
    return found(f"room in channel {channel.name} (depth {channel.depth}) at tile {dest}{end}", on)


def _taken(state: TileState, channel: str) -> int:
    """Messages of a channel that a tile has taken."""
    if "net-in" not in state.plan.units:
        return 0
    u = state.plan.units.index("net-in")
    done = state.plan.nodes[u][: len(state.units[u].end.known)]
    recvs = {k for k, i in enumerate(state.tile.code) if isinstance(i, Recv) and i.channel == channel}
    return sum(1 for node in done if node[3] in recvs and node[4] >= 0)


def _unit(state: TileState, name: str) -> Waiter | None:
    """The unit, if it has anything left to do."""
    if name not in state.plan.units:
        return None
    u = state.plan.units.index(name)
    return (state.tile.number, u) if _next(state, u) is not None else None


def _place(state: TileState, u: int, node: int) -> tuple[int, int]:
    """Iteration and image of the instruction a node belongs to."""
    n = next(n for n, (v, first, last) in enumerate(state.plan.executed) if v == u and first <= node <= last)
    image, position = divmod(n, len(state.plan.index))
    return state.plan.iteration[position], image


def _data(program: Program, state: TileState, u: int, other: tuple[int, int]) -> str:
    """The row or slot that another unit's node has yet to write or leave."""
    ctx = Context(program, state.tile)
    node = len(state.units[u].end.known)
    k, k_other = state.plan.nodes[u][node][3], state.plan.nodes[other[0]][other[1]][3]
    (i, image), (i_other, image_other) = _place(state, u, node), _place(state, *other)
    mine, theirs = state.tile.code[k], state.tile.code[k_other]
    by = _text(theirs, i_other) + (f" of image {image_other}" if image_other != image else "")
    if image == image_other:
        for touch in mine.reads(ctx, i):
            for written in theirs.writes(ctx, i_other):
                common = _common(touch, written)
                if common is not None:
                    return f"row {common} of {touch.buffer} from {by}"
    buffers = [t.buffer for t in mine.writes(ctx, i)]
    used = [t.buffer for t in theirs.reads(ctx, i_other) + theirs.writes(ctx, i_other) if t.buffer in buffers]
    ring = state.tile.buffer[used[0]]
    return f"a slot of {ring.name} (ring of {ring.slots}) held by {by}"


def _common(a: Touch, b: Touch) -> int | None:
    first, stop = max(a.rows[0], b.rows[0]), min(a.rows[1], b.rows[1])
    return first if a.buffer == b.buffer and first < stop else None
