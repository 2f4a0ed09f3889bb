"""Lifting: which instructions may run once for all rows, and in which order.

A tile's stream is sequential. An instruction can be run for all rows at once if, for each buffer it reads, every row it
needs was written by the same instructions beforehand. The order is one of instructions, not of tiles: two tiles may
feed each other. Tiles with a cycle among their instructions, or that use a row as scratch, are left to the row-by-row
interpreter; they meet the rest only in channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pimc_isa.engines.values.trace import NEVER, Read, StepId, TileTrace, Write, trace_tile
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import Recv
from pimc_isa.program import Program, Tile

__all__ = ["Lifted", "LiftedUnit", "lift"]

Array = np.ndarray


@dataclass(frozen=True)
class LiftedUnit:
    """One thing to run: a static instruction, or whole tiles row by row."""

    step: StepId | None
    tiles: tuple[int, ...] = ()


@dataclass
class Lifted:
    """A program's traces, what each read sees (writers, earlier first), and the order of units."""

    program: Program
    traces: dict[int, TileTrace]
    seen: dict[tuple[StepId, str], list[Write]] = field(default_factory=dict)
    reads: dict[StepId, list[Read]] = field(default_factory=dict)
    rowwise: set[int] = field(default_factory=set)
    order: list[LiftedUnit] = field(default_factory=list)

    def final(self, tile: Tile, buffer: str) -> list[Write]:
        """All writers of a buffer, earlier first."""
        ordered = _ordered(self.traces[tile.number].writes.get(buffer, []))
        assert ordered is not None
        return ordered


def lift(program: Program, rowwise: bool = False) -> Lifted:
    """Analyse a program; ``rowwise`` forces every tile to the row-by-row interpreter."""
    lifted = Lifted(program, {t.number: trace_tile(program, t) for t in program.tiles})
    for trace in lifted.traces.values():
        if rowwise or trace.scratch or not _resolve_reads(lifted, trace):
            lifted.rowwise.add(trace.tile.number)
    while not _order(lifted):
        pass
    return lifted


def _resolve_reads(lifted: Lifted, trace: TileTrace) -> bool:
    """Find what each read sees; False where that differs from row to row."""
    ordered = {name: _ordered(writes) for name, writes in trace.writes.items()}
    if any(writes is None for writes in ordered.values()):
        return False
    for read in trace.reads:
        seen = _visible_writers(read, ordered.get(read.buffer) or [])
        if seen is None:
            return False
        _check_written(trace, read, seen)
        lifted.seen[read.step, read.operand] = seen
        lifted.reads.setdefault(read.step, []).append(read)
    return True


def _visible_writers(read: Read, writes: list[Write]) -> list[Write] | None:
    """The writers whose rows this read sees, or None where some of their rows are seen and others not."""
    seen = []
    for write in writes:
        if not _meet(read.cols, write.cols) or not _meet(read.chans, write.chans):
            continue
        common = (write.when >= 0) & (read.first != NEVER)
        if not common.any() or (write.when[common] >= read.last[common]).all():
            continue
        if not (write.when[common] < read.first[common]).all():
            return None
        seen.append(write)
    return seen


def _check_written(trace: TileTrace, read: Read, seen: list[Write]) -> None:
    """Every row that is read must have been written, at least in part."""
    written = np.zeros(len(read.first), bool)
    for write in seen:
        written |= write.when >= 0
    missing = np.flatnonzero((read.first != NEVER) & ~written)
    if missing.size:
        at = read.step[1]
        raise ProgramError(
            f"tile {trace.tile.number}, instruction {at} ({trace.steps[read.step].instr.mnemonic}): "
            f"row {missing[0]} of {read.buffer} is read before any instruction has written it"
        )


def _ordered(writes: list[Write]) -> list[Write] | None:
    """Writers sorted so that, where two write the same elements, the earlier comes first; None where rows disagree."""
    before: dict[int, list[int]] = {n: [] for n in range(len(writes))}
    for n, a in enumerate(writes):
        for m in range(n + 1, len(writes)):
            b = writes[m]
            if not _meet(a.cols, b.cols) or not _meet(a.chans, b.chans):
                continue
            common = (a.when >= 0) & (b.when >= 0)
            if not common.any():
                continue
            earlier = a.when[common] < b.when[common]
            if earlier.all():
                before[m].append(n)
            elif not earlier.any():
                before[n].append(m)
            else:
                return None
    rank: dict[int, int] = {}
    for _ in range(len(writes)):
        for n in before:
            if n not in rank and all(m in rank for m in before[n]):
                rank[n] = 1 + max((rank[m] for m in before[n]), default=0)
        if len(rank) == len(writes):
            break
    if len(rank) < len(writes):
        return None
    return [writes[n] for n in sorted(rank, key=lambda n: (rank[n], n))]


def _meet(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return max(a[0], b[0]) < min(a[1], b[1])


def _order(lifted: Lifted) -> bool:
    """Sort all units topologically. Cycles make their tiles row-wise; returns False if that changed anything."""
    after = _edges(lifted)
    changed = False
    lifted.order = []
    for component in _components(after):
        tiles = {key if isinstance(key, int) else key[0] for key in component}
        single = len(component) == 1
        loops = single and component[0] in after[component[0]] and not isinstance(component[0], int)
        if (not single or loops) and not tiles <= lifted.rowwise:
            lifted.rowwise |= tiles
            changed = True
        first = component[0]
        unit = LiftedUnit(None, tuple(sorted(tiles))) if isinstance(first, int) else LiftedUnit(first)
        lifted.order.append(unit)
    return not changed


Key = StepId | int  # a step, or a row-wise tile


def _edges(lifted: Lifted) -> dict[Key, list[Key]]:
    """For each unit those that need it: through buffers, then through channels."""

    def key(step: StepId) -> Key:
        return step[0] if step[0] in lifted.rowwise else step

    after: dict[Key, list[Key]] = {}
    for number, trace in lifted.traces.items():
        for step in trace.steps:
            after.setdefault(key(step), [])
        if number not in lifted.rowwise:
            for read in trace.reads:
                for write in lifted.seen[read.step, read.operand]:
                    after[write.step].append(read.step)
    receivers: dict[str, list[StepId]] = {}
    for trace in lifted.traces.values():
        for each in trace.steps.values():
            if isinstance(each.instr, Recv):
                receivers.setdefault(each.instr.channel, []).append(each.id)
    for trace in lifted.traces.values():
        for channel, sends in trace.messages.items():
            for sender, _, _ in sends:
                after[key(sender)] += [key(r) for r in receivers.get(channel, [])]
    return after


def _components(after: dict[Key, list[Key]]) -> list[list[Key]]:
    """Strongly connected components in topological order (Tarjan, without recursion)."""
    index: dict[Key, int] = {}
    low: dict[Key, int] = {}
    on_stack: set[Key] = set()
    stack: list[Key] = []
    found: list[list[Key]] = []
    for root in reversed(list(after)):
        if root in index:
            continue
        work = [(root, iter(after[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    stack.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter(after[successor])))
                    break
                if successor in on_stack:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    found.append(_pop(stack, on_stack, node))
    return found[::-1]


def _pop(stack: list[Key], on_stack: set[Key], node: Key) -> list[Key]:
    component: list[Key] = []
    while not component or component[-1] != node:
        component.append(stack.pop())
        on_stack.discard(component[-1])
    return component
