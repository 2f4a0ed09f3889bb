"""The row schedule: when each op makes each of its rows in a filled pipeline, and how deep channels must be for that.

Every op is run row by row as early as possible while the model's input comes at the rate of the slowest op. The rows
that then wait in a channel are what it must hold. A bounded process network that has one complete schedule cannot
deadlock, so depths found here are deadlock-free by construction; skip connections get the depth of the main branch's
lag without any special case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pimc.analysis.cut import Cut, cut_cycles, lag_cycles, row_cycles
from pimc.analysis.facts import Facts, Resources, is_fused, rows_needed
from pimc.analysis.wires import islands_of
from pimc.ir.graph import Graph
from pimc.ir.ops import HostCall, Op, Relay

__all__ = ["RowPlan", "plan_rows", "sources"]

Array = np.ndarray


#: Images that are followed where an island is so slow that rows of the next images wait beside it.
IMAGES = 4
#: One part in so many of an image's rows is room for what the plan does not see (links that others take).
MARGIN = 8


@dataclass(frozen=True)
class RowPlan:
    """Fewest messages each input's channels must hold, per op and input; cycles when each op ends its rows."""

    depth: Mapping[str, tuple[int, ...]]
    ends: Mapping[str, Array]
    images: int = 1

    def depths(self, op: Op, heights: tuple[int, ...], slack: int) -> tuple[int, ...]:
        """Depths with ``slack`` further messages for overlap, never more than ``images`` whole tensors."""
        least = self.depth.get(op.name, (1,) * len(heights))
        return tuple(min(self.images * h, d + slack) for d, h in zip(least, heights, strict=True))


def sources(graph: Graph, value: str) -> list[str]:
    """The values that are really sent for ``value``: a concatenation's inputs, recursively."""
    op = graph[value]
    if not op.is_virtual:
        return [value]
    return [leaf for v in op.inputs for leaf in sources(graph, v)]


def plan_rows(
    graph: Graph, facts: Mapping[str, Facts], cuts: Mapping[str, Cut], res: Resources, period: int | None = None
) -> RowPlan:
    """Schedule all rows and measure the channels; ``period`` is the cycles between images that the cuts were made for.

    Without it that is the slowest op's, with the share of links that ``res`` counts on.
    """
    if period is None:
        period = max((cut_cycles(facts[name], cuts[name], res) for name in cuts), default=1)
    ends: dict[str, Array] = {}
    taken: dict[tuple[str, int], Array] = {}
    for op in graph.ops():
        if op.type is None:
            continue
        if op.is_host:
            assert isinstance(op, HostCall)
            ends[op.name] = _host_rows(graph, op, period, res, ends)
        elif op.is_virtual or is_fused(graph, op):
            ends[op.name] = np.max([ends[v] for v in op.inputs], axis=0)
        else:
            _run(op, facts[op.name], cuts[op.name], res, ends, taken)
    _hold_back_relays(graph, ends, taken)
    images = IMAGES if islands_of(graph) else 1
    return RowPlan(_depths(graph, ends, taken, np.arange(images) * float(period)), ends, images)


def _host_rows(graph: Graph, op: HostCall, period: int, res: Resources, ends: dict[str, Array]) -> Array:
    """A head gives its rows at the network's pace; an island calls when all its inputs are there, then sends them."""
    rows = np.arange(op.shape[0])
    if op.by_row:
        return _streamed_rows(graph, op, res, ends)
    if not op.inputs:
        return np.asarray(rows * (period / op.shape[0]))
    read = [graph[v] for v in op.inputs]
    hops = 2 * res.machine.network.chip_hop_cycles
    begin = max(ends[v.name][-1] for v in read) + sum(_link(v, res) for v in read) + hops
    pace = max(_link(op, res), period / op.shape[0])  # readers take rows no faster: a burst would only hold up others
    return np.asarray(begin + _work(graph, op, res) + _link(op, res) + rows * pace)


def _streamed_rows(graph: Graph, op: HostCall, res: Resources, ends: dict[str, Array]) -> Array:
    """A call by rows makes each row when it is there in all inputs."""
    steps = np.arange(op.shape[0])
    read = [graph[v] for v in op.inputs]
    duration = max(_work(graph, op, res) / op.shape[0], _link(op, res), sum(_link(v, res) for v in read))
    ready = np.max([ends[v.name] for v in read], axis=0) + sum(_link(v, res) for v in read)
    behind = np.maximum.accumulate(ready - steps * duration) + (steps + 1) * duration
    return np.asarray(behind + _link(op, res) + 2 * res.machine.network.chip_hop_cycles)


def _link(value: Op, res: Resources) -> float:
    """Cycles of a row between the host and its tiles."""
    network = res.machine.network
    rate = min(network.chip_link_bytes_per_cycle, network.link_bytes_per_cycle)
    return value.element.nbytes(value.shape[1] * value.shape[2]) / rate


def _work(graph: Graph, op: HostCall, res: Resources) -> float:
    """Cycles of the host's work for an image."""
    elements = sum(math.prod(graph[v].shape) for v in (*op.inputs, op.name))
    host = res.machine.host
    return max(elements / host.elements_per_cycle, op.operations / host.operations_per_cycle)


def _run(
    op: Op, facts: Facts, cut: Cut, res: Resources, ends: dict[str, Array], taken: dict[tuple[str, int], Array]
) -> None:
    """Rows of one op: row i starts when row i-1 is done and the rows it needs are there.

    A movement of data takes the rows that it does not need last of all, input by input.
    """
    rows = facts.shape[0]
    duration = np.full(rows, row_cycles(facts, cut, res))
    needs = [rows_needed(facts, n) for n in range(len(op.inputs))]
    if facts.reach is not None:
        needs = [np.append(need, shape[0]) for need, shape in zip(needs, facts.in_shapes, strict=True)]
        duration = np.append(duration, 0)
    ready = np.zeros(len(duration))
    for need, value in zip(needs, op.inputs, strict=True):
        arrival = np.concatenate([[0.0], np.maximum.accumulate(ends[value])])
        ready = np.maximum(ready, arrival[need])
    steps = np.cumsum(duration) - duration
    done = np.maximum.accumulate(ready - steps) + steps + duration + lag_cycles(facts, res)
    before = np.concatenate([[0.0], done[:-1]])
    in_order = np.zeros(len(duration))
    for n, (need, value) in enumerate(zip(needs, op.inputs, strict=True)):
        taken[op.name, n], in_order = _taken(need, ends[value], before, in_order)
    ends[op.name] = done[:rows]


def _taken(need: Array, arrival: Array, before: Array, in_order: Array) -> tuple[Array, Array]:
    """When each row of an input leaves its channels at the latest, and when the receives of each output row are over.

    Receives run in order: those of output row i start when row i-1 is done and earlier inputs' rows are there. An
    input may come over several channels, each received after the other: so no row of a step is surely taken before the
    last row of that step has arrived.
    """
    height = len(arrival)
    user = np.minimum(np.searchsorted(need, np.arange(height), side="right"), len(need) - 1)
    last = np.maximum(np.maximum.accumulate(need)[user], np.arange(height) + 1)
    start = np.maximum(before, in_order)
    took = np.maximum(np.maximum.accumulate(arrival)[np.minimum(last, height) - 1], start[user])
    over = np.maximum.accumulate(np.concatenate([[0.0], took]))[np.minimum(need, height)]
    return took, np.maximum(in_order, over)


def _hold_back_relays(graph: Graph, ends: dict[str, Array], taken: dict[tuple[str, int], Array]) -> None:
    """A relay passes a row on when its reader has taken the one before: the waiting rows are the relay's."""
    for op in reversed(list(graph.ops())):
        if not isinstance(op, Relay):
            continue
        user = graph.users(op.name)[0]
        index = user.inputs.index(op.name)
        if (user.name, index) not in taken:
            continue
        gone = taken[user.name, index]
        ends[op.name] = np.maximum(ends[op.name], np.concatenate([[0.0], gone[:-1]]))
        taken[op.name, 0] = np.maximum(taken[op.name, 0], np.concatenate([[0.0], ends[op.name][:-1]]))


def _depths(
    graph: Graph, ends: dict[str, Array], taken: dict[tuple[str, int], Array], begins: Array
) -> dict[str, tuple[int, ...]]:
    """Depths that images which begin at ``begins`` need, one behind the other."""

    def of_all(times: Array) -> Array:
        return np.asarray((begins[:, None] + times).reshape(-1))

    depth: dict[str, list[int]] = {}
    for (name, index), gone in taken.items():
        value = graph[name].inputs[index]
        most = max(_waiting(of_all(ends[leaf]), of_all(gone)) for leaf in sources(graph, value))
        most += len(gone) // MARGIN if len(begins) > 1 and most > len(gone) // 2 else 0
        depth.setdefault(name, [1] * len(graph[name].inputs))[index] = max(1, most)
    return {name: tuple(d) for name, d in depth.items()}


def _waiting(made: Array, gone: Array) -> int:
    """Most rows that are made but not surely taken when a further one is made (itself included)."""
    in_order = np.maximum.accumulate(gone)
    left = np.searchsorted(in_order, made, side="left")
    return int(np.max(np.arange(1, len(made) + 1) - left))
