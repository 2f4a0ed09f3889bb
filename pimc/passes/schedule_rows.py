"""Size rings and channels.

    %y: u8[28x28x128] = q.conv(%x) {...}
    ->                                 {..., schedule = {slots = [4], depth = [2], out_slots = 2}}

Depths come from `pimc.analysis.rows`, where no schedule of rows can deadlock; where memory allows, each ring gets room
for the rows of the next step and each channel one further message, so that neighbouring steps overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pimc.analysis.cut import Cut, ring_slots, tile_memory
from pimc.analysis.facts import Facts, Resources, facts_of, is_fused
from pimc.analysis.replicate import MappingError
from pimc.analysis.rows import RowPlan, plan_rows
from pimc.ir.graph import Graph
from pimc.ir.ops import Op, Schedule
from pimc.passes.base import Pass
from pimc.passes.map_weights import cuts_of, resources
from pimc.passes.target import Target

__all__ = ["ScheduleRows"]


@dataclass(frozen=True)
class ScheduleRows(Pass):
    """Size rings and channels so that the row pipeline flows and cannot deadlock."""

    name = "schedule-rows"
    from_stage = "placed"
    to_stage = "scheduled"
    decides = ("schedule",)

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Set every op's schedule."""
        graph = graph.copy()
        res, cuts = resources(graph, target), cuts_of(graph)
        facts = {name: facts_of(graph, graph[name]) for name in cuts}
        expected = graph.meta.get("expected_interval_cycles")
        rows = plan_rows(graph, facts, cuts, res, int(expected) if expected else None)
        for op in list(graph.ops()):
            if op.mapping is None:
                continue
            if is_fused(graph, op):
                schedule = Schedule((1,), (1,), 2 if op.shape[0] > 1 else 1)
            else:
                schedule = _schedule(graph, op, facts[op.name], rows, res)
            graph.update(replace(op, schedule=schedule))
        return graph


def _schedule(graph: Graph, op: Op, facts: Facts, rows: RowPlan, res: Resources) -> Schedule:
    """The loosest sizes that fit the tile's memory."""
    m = op.mapping
    assert m is not None
    cut = Cut(len(m.strips), len(m.parts), len(m.chain), m.copies)
    heights = tuple(s[0] for s in facts.in_shapes)
    limit = res.machine.tile.memory_bytes
    for slack, loose in ((2, True), (1, True), (1, False), (0, False)):
        depth = rows.depths(op, heights, slack)
        if tile_memory(facts, cut, res, depth, loose) <= limit:
            break
    else:
        raise MappingError(
            f"layer {op.name}: its inputs must wait {depth} rows, more than the memory of its tiles holds\n"
            "map it anew: this mapping was made for other sizes"
        )
    slots = tuple(ring_slots(facts, n, loose) for n in range(len(heights)))
    return Schedule(slots, depth, 2 if loose and facts.shape[0] > 1 else 1)
