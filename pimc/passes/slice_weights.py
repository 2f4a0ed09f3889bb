"""Turn every layer's weights into cells: slices of codes, a polarity for each column, and a centre.

    %y: u8[28x28x128] = q.conv(%x) {weights = @w, ...}
    ->                                 {..., cells = {codes = @w.codes, slices = [2, 2, 2, 2], ...}}

The target says how. ISAAC's encoding (paper, section 5.2): weights are stored with an offset, columns whose sum could
be large are stored flipped, which saves one converter bit. Neural-PIM's (section 5.2.1): positive and negative weights
in neighbouring columns, where the flow sums inputs less the mean of their column: what all inputs of a row block have
in common, such as a zero point, then takes up no part of the converter's range.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pimc.ir.graph import Graph
from pimc.ir.ops import CellPlan, Conv
from pimc.passes.base import Pass
from pimc.passes.target import Target
from pimc_isa.crossbar.cells import encode, encode_differential
from pimc_isa.flow import normal_form

__all__ = ["SliceWeights"]


@dataclass(frozen=True)
class SliceWeights(Pass):
    """Encode weights as crossbar cells."""

    name = "slice-weights"
    from_stage = "mapped"
    to_stage = "sliced"

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Encode layer by layer; equal constants are encoded once."""
        graph = graph.copy()
        slices, rows = target.flow[target.conv_flow].slices, target.machine.array.rows
        centred = bool(normal_form(target.flow[target.conv_flow]).unit_conversions)
        done: dict[tuple[str, int], CellPlan] = {}
        for op in list(graph.of(Conv)):
            key = (op.weights, op.groups)
            if key not in done:
                done[key] = _cells(graph, op, slices, rows, target.encoder == "differential", centred)
            graph.update(replace(op, cells=done[key]))
        return graph


def _cells(graph: Graph, op: Conv, slices: tuple[int, ...], rows: int, bipolar: bool, centred: bool) -> CellPlan:
    weights = graph.constants[op.weights]
    outputs = weights.shape[0]
    matrix = weights.reshape(op.groups, outputs // op.groups, -1).transpose(0, 2, 1)
    matrix = np.ascontiguousarray(matrix)
    coded = encode_differential(matrix, slices, rows, centred=centred) if bipolar else encode(matrix, slices, rows)
    stem = op.weights if op.groups == 1 else f"{op.weights}.g{op.groups}"
    names = [f"{stem}.codes", f"{stem}.polarity", f"{stem}.centre"]
    graph.constants |= dict(zip(names, (coded.codes, coded.polarity, coded.centre), strict=True))
    return CellPlan(names[0], names[1], names[2], slices, rows, bipolar)
