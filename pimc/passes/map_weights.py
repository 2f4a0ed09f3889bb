"""Cut every layer over tiles: column strips, output-channel parts, row-block chains, and copies inside each tile.

    %y: u8[28x28x128] = q.conv(%x) {...}
    ->                                 {..., mapping = {strips = [[0, 14], [14, 28]], parts = [[0, 128]], ...}}

The search is `pimc.analysis.replicate`; this pass applies its plan. Links are shared, which a plan made tile by tile
does not see: so plans are made for several shares of a link's bandwidth, and the one whose slowest tile or busiest
link (once laid out) is fastest is taken. Where an input must wait for more rows than the tiles of its reader have
memory for, a relay (a buffer tile) is put in front and the search is run again.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace

from pimc.analysis.cut import Cut, arrays_per_tile, parts_of
from pimc.analysis.facts import Facts, Resources, facts_of, is_fused, split
from pimc.analysis.replicate import CutPlan, DeepChannelError, MappingError, make_plan
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv, Mapping, Op, Relay
from pimc.passes.base import Pass
from pimc.passes.choose_flows import flow_of
from pimc.passes.place import lay_out
from pimc.passes.target import Target
from pimc.progress import tell

__all__ = ["MapWeights", "mapping_of", "relayed_plan", "resources"]

#: Parts of a link's bandwidth that plans are made for.
LINK_SHARES = (1.0, 0.7, 0.5, 0.35)


def resources(graph: Graph, target: Target) -> Resources:
    """What the searches in `pimc.analysis` need of a target, with the flows that the graph's layers have."""
    flows = {flow.name: flow for flow in (flow_of(graph, op, target) for op in graph.of(Conv))}
    return Resources(target.machine, tuple(flows.values()), target.chips, tiles=target.tiles)


@dataclass(frozen=True)
class MapWeights(Pass):
    """Cut every layer over tiles and choose how many copies of its weights there are."""

    name = "map-weights"
    from_stage = "flowed"
    to_stage = "mapped"
    decides = ("mapping",)

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Apply the replication plan."""
        res = resources(graph, target)
        if target.replication != "balanced":
            return _mapped_graph(graph, res, target.replication)[0]
        plans = [(replace(res, link_share=share), "balanced") for share in LINK_SHARES]
        candidates = _candidates(graph, [*plans, (res, "stride2"), (res, "none")])
        return min(candidates, key=lambda c: max(c[1], lay_out(c[0].copy(), target.machine)[1]))[0]


def _candidates(graph: Graph, plans: list[tuple[Resources, str]]) -> list[tuple[Graph, int]]:
    """Those plans that fit; where tiles are scarce, some do not. Raises MappingError if none does."""
    found: list[tuple[Graph, int]] = []
    errors: list[MappingError] = []
    for n, (res, strategy) in enumerate(plans, 1):
        tell(f"plan {n} of {len(plans)}")
        if strategy == "none" and found:
            break  # a last resort
        try:
            found.append(_mapped_graph(graph, res, strategy))
        except MappingError as error:
            errors.append(error)
    if not found:
        raise errors[-1]
    return found


def _mapped_graph(graph: Graph, res: Resources, strategy: str) -> tuple[Graph, int]:
    """A copy with one strategy's plan applied, and the cycles between images the step model expects of it."""
    graph = graph.copy()
    plan = relayed_plan(graph, res, strategy)
    for op in list(graph.ops()):
        if op.is_host or op.is_virtual:
            continue
        if is_fused(graph, op):
            graph.update(_mapped(op, _as_producer(graph[op.inputs[0]])))
            continue
        graph.update(_mapped(op, mapping_of(facts_of(graph, op), plan.cuts[op.name], res)))
    graph.meta |= {
        "chips": str(plan.chips),
        "arrays_one_copy": str(plan.arrays_one_copy),
        "expected_interval_cycles": str(plan.interval_cycles),
    }
    return graph, plan.interval_cycles


def relayed_plan(graph: Graph, res: Resources, strategy: str) -> CutPlan:
    """Plan; relays are added to ``graph`` until every reader has memory for its channels."""
    for _ in range(len(graph)):
        try:
            return make_plan(graph, res, strategy)
        except DeepChannelError as deep:
            op = graph[deep.op]
            index = deep.depth.index(max(deep.depth))
            if isinstance(graph[op.inputs[index]], Relay):
                raise
            _relay(graph, op, index)
    return make_plan(graph, res, strategy)


def _relay(graph: Graph, op: Op, index: int) -> None:
    value = graph[op.inputs[index]]
    relay = Relay(name=f"{value.name}.relay.{op.name}", inputs=(value.name,), type=value.type, node=value.node)
    graph.insert_before(op.name, index, relay)


def _mapped(op: Op, mapping: Mapping) -> Op:
    return replace(op, mapping=mapping)


def _as_producer(producer: Op) -> Mapping:
    assert producer.mapping is not None
    return replace(producer.mapping, chain=((0, 0),), arrays=0)


def mapping_of(facts: Facts, cut: Cut, res: Resources) -> Mapping:
    """The ranges of a cut."""
    chain = split(facts.k, cut.chain, res.machine.array.rows) if facts.is_conv else ((0, 0),)
    parts = parts_of(facts, cut.parts, res)
    strips = split(facts.shape[1], cut.strips)
    one_tile = arrays_per_tile(facts, cut, res)
    arrays = one_tile * cut.copies * len(strips) * len(parts) * len(chain)
    return Mapping(strips, parts, chain, cut.copies, arrays)


def cuts_of(graph: Graph) -> MappingOf[str, Cut]:
    """The cuts that mapped ops have, for analyses that run later."""
    cuts = {}
    for op in graph.ops():
        if op.mapping is not None and not is_fused(graph, op):
            m = op.mapping
            cuts[op.name] = Cut(len(m.strips), len(m.parts), len(m.chain), m.copies)
    return cuts
