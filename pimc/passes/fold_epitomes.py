"""Let crossbars hold the epitome of a layer in place of its weights, where that takes fewer crossbars.

    %y: u8[28x28x128] = q.conv(%x) {..., epitome = @e, index = @e.index}
    ->                                 {..., folded = true, rounds = {patches = @e.patches, ..., count = 3}}

A position is then worked on in rounds: some inputs on some word lines, some columns to some channels, what comes out
added up (EPIM, arXiv 2311.07620: partial word-line activation with index tables, recalled). Which patches of the
weights go together in a round depends on the size of crossbars (`pimc.epitomes.rounds`); channels whose cells are equal
are computed once and copied (output channel wrapping). All that follows asks the op: cuts, copies and intervals come
from the epitome's size and the rounds, cells and centres are the epitome's.

A layer stays dense where that takes no more crossbars, where no tile holds its epitome, where nearly every channel
would need rounds of its own, and where a plan says so (``folded = false``). An epitome may be cut by rows into a chain
of tiles if every one of them makes every channel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from pimc.analysis.cut import base_cut
from pimc.analysis.facts import Resources, facts_of, split
from pimc.epitomes.patches import TooManyPatchesError, patches_of, voiced
from pimc.epitomes.rounds import Size, Tables, merged, unmerged
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv, RoundPlan
from pimc.passes.base import NOT_AN_OPTION, Decisions, Pass, PassError
from pimc.passes.choose_flows import flow_of
from pimc.passes.target import Target
from pimc_isa.crossbar.footprint import arrays_for, outputs_per_array
from pimc_isa.limits import beyond

__all__ = ["FoldEpitomes"]

Array = np.ndarray


@dataclass(frozen=True)
class FoldEpitomes(Pass):
    """Hold a layer's epitome in place of its weights where that takes fewer crossbars."""

    name = "fold-epitomes"
    from_stage = "flowed"
    to_stage = "flowed"
    decides = ("folded",)

    merge: bool = True  # false: every patch in a round of its own, to see what merging saves
    forced: Mapping[str, bool] = field(default_factory=dict, metadata=NOT_AN_OPTION)  # by op, from a plan

    def told(self, forced: Mapping[str, Decisions]) -> FoldEpitomes:
        """Fold, or leave dense, the layers of which a plan says so."""
        own = forced.get(self.name, {})
        return replace(self, forced={op: bool(said["folded"]) for op, said in own.items() if "folded" in said})

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Decide for every layer that has an epitome. Raises PassError where a plan asks for what cannot be."""
        graph = graph.copy()
        noted = json.loads(graph.meta.get("epitomes", "{}"))
        for op in list(graph.of(Conv)):
            if op.epitome is not None:
                noted[op.name] = noted.get(op.name, {}) | _Layer(graph, op, target, self).decide()
            elif op.name in self.forced:
                raise PassError(f"plan: [{self.name}] layer {op.name} has no epitome\nleave it out")
        if noted:
            graph.meta["epitomes"] = json.dumps(noted, sort_keys=True)
        return graph


class _Layer:
    """One layer with an epitome, and the crossbars that it is for, of ``across`` outputs each."""

    def __init__(self, graph: Graph, op: Conv, target: Target, step: FoldEpitomes) -> None:
        assert op.epitome is not None
        assert op.index is not None
        self.graph, self.op, self.target, self.step = graph, op, target, step
        self.epitome, self.index = voiced(graph.constants[op.epitome], graph.constants[op.index])
        self.flow, self.array = flow_of(graph, op, target), target.machine.array
        self.across = outputs_per_array(self.flow.columns, self.array)

    def decide(self) -> dict[str, Any]:
        """Change the op: folded, or not. For reports: crossbars of one copy, dense and as it is held; its rounds."""
        wanted = self.step.forced.get(self.op.name, self.saved > 0)
        folded = self._folded() if wanted else None
        if folded is None and self.step.forced.get(self.op.name):
            raise PassError(
                f"plan: [{self.step.name}] the epitome of layer {self.op.name} needs more crossbars, memory or rounds "
                "than a chain of tiles has\nleave it dense (folded = false)"
            )
        made = folded or replace(self.op, folded=False)
        self.graph.update(made)
        held = self.dense if made.rounds is None else self.dense - self.saved
        return {"arrays": [self.dense, held], "rounds": None if made.rounds is None else made.rounds.count}

    @property
    def dense(self) -> int:
        """Crossbars of one copy of the weights."""
        outputs, *taps = self.graph.constants[self.op.weights].shape
        return arrays_for(self.op.groups, prod(taps), outputs // self.op.groups, self.flow.columns, self.array)

    @property
    def saved(self) -> int:
        """Crossbars of one copy that are saved."""
        p, q = self.epitome.shape
        return self.dense - arrays_for(1, p, q, self.flow.columns, self.array)

    def _folded(self) -> Conv | None:
        """The op in rounds, its tables among the graph's constants; ``None`` where that is too large."""
        assert self.op.index is not None
        tables = self._tables()
        if tables is None:
            return None
        stem = self.op.index
        if f"{stem}.patches" in self.graph.constants:  # the same index in another layer
            stem = f"{stem}.{self.op.name}"
        patches, rows, columns, copies = arrays = tables.named(stem)
        chains = _chains(tables, self.array.rows)
        plan = RoundPlan(patches, rows, columns, copies, tables.count, self.array.rows, self.across, chains)
        if not self._fits(plan):
            return None
        self.graph.constants |= arrays
        return replace(self._voiced(), folded=True, rounds=plan)

    def _tables(self) -> Tables | None:
        """The rounds, unless there are more than programs may have."""
        (p, q), groups = self.epitome.shape, self.op.groups
        merge = merged if self.step.merge else unmerged
        try:
            patches, copies = patches_of(self.index, q, groups)
        except TooManyPatchesError:
            return None
        tables = merge(patches, copies, Size(p, q, self.array.rows, self.across))
        size = len(tables.patches) * max(q, p * -(-q // self.across))
        return None if beyond("rounds", "", tables.count) or beyond("patches", "", size) else tables

    def _fits(self, plan: RoundPlan) -> bool:
        """Whether some tiles hold it."""
        facts, (p, q) = facts_of(self.graph, self.op), self.epitome.shape
        held = replace(facts.geometry, k=p, n=q, groups=1, rounds=plan)
        resources = Resources(self.target.machine, (self.flow,))
        return base_cut(replace(facts, geometry=held), resources, (1,)) is not None

    def _voiced(self) -> Conv:
        """The op with the epitome and index that make every channel."""
        epitome, index = (
            self._constant(name, array)
            for name, array in ((self.op.epitome, self.epitome), (self.op.index, self.index))
        )
        return replace(self.op, epitome=epitome, index=index)

    def _constant(self, name: str | None, array: Array) -> str:
        """The constant that holds an array: the one of this name, or a new one."""
        assert name is not None
        if array is self.graph.constants[name]:
            return name
        made = f"{name}.{self.op.name}"
        self.graph.constants[made] = array
        return made


def _chains(tables: Tables, height: int) -> tuple[int, ...]:
    """Into how many links the rows may be cut: where each of them makes every channel that is no copy."""
    rows = tables.rows.shape[1]
    makes = np.zeros((-(-rows // height), len(tables.copies)), bool)
    for _, patch in tables.placed():
        makes[np.ix_(np.unique(patch.rows // height), patch.channels)] = True
    makes[:, tables.copies >= 0] = True
    cuts = {links: split(rows, links, height) for links in range(1, len(makes) + 1)}
    return tuple(
        links
        for links, ranges in cuts.items()
        if all(makes[lo // height : -(-hi // height)].any(axis=0).all() for lo, hi in ranges)
    )
