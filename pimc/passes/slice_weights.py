"""Turn every layer's weights into cells: slices of codes, a polarity for each column, and a centre.

    %y: u8[28x28x128] = q.conv(%x) {weights = @w, ...}
    ->                                 {..., cells = {codes = @w.codes, slices = [2, 2, 2, 2], ...}}

The flow says how. ISAAC's encoding (paper, section 5.2): weights are stored with an offset, columns whose sum could
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
from pimc.passes.choose_flows import flow_of
from pimc.passes.target import Target
from pimc_isa.crossbar.cells import Cells, encode, encode_differential
from pimc_isa.flow import Flow, normal_form

__all__ = ["SliceWeights"]

Array = np.ndarray


@dataclass(frozen=True)
class SliceWeights(Pass):
    """Encode weights as crossbar cells."""

    name = "slice-weights"
    from_stage = "mapped"
    to_stage = "sliced"

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Encode layer by layer; equal constants are encoded once."""
        graph = graph.copy()
        rows = target.machine.array.rows
        done: dict[tuple[str, int, _Encoding], CellPlan] = {}
        for op in list(graph.of(Conv)):
            encoding = _Encoding.of(flow_of(graph, op, target))
            key = (op.weights, op.groups, encoding)
            if key not in done:
                done[key] = _cells(graph, op, encoding, rows)
            graph.update(replace(op, cells=done[key]))
        return graph


@dataclass(frozen=True)
class _Encoding:
    """What a flow asks of cells: slice widths, two columns each or one, and whether pairs may have a centre."""

    slices: tuple[int, ...]
    bipolar: bool
    centred: bool

    @classmethod
    def of(cls, flow: Flow) -> _Encoding:
        """From its micro-operations."""
        return cls(flow.slices, flow.bipolar, bool(normal_form(flow).unit_conversions))

    def encode(self, matrix: Array, rows: int) -> Cells:
        """Integer weights [groups, k, n] as cells."""
        if self.bipolar:
            return encode_differential(matrix, self.slices, rows, centred=self.centred)
        return encode(matrix, self.slices, rows)


def _cells(graph: Graph, op: Conv, encoding: _Encoding, rows: int) -> CellPlan:
    weights = graph.constants[op.weights]
    outputs = weights.shape[0]
    matrix = weights.reshape(op.groups, outputs // op.groups, -1).transpose(0, 2, 1)
    matrix = np.ascontiguousarray(matrix)
    coded = encoding.encode(matrix, rows)
    stem = op.weights if op.groups == 1 else f"{op.weights}.g{op.groups}"
    if f"{stem}.codes" in graph.constants:  # the same weights in a layer with other cells
        stem = f"{stem}.{op.flow}"
    names = [f"{stem}.codes", f"{stem}.polarity", f"{stem}.centre"]
    graph.constants |= dict(zip(names, (coded.codes, coded.polarity, coded.centre), strict=True))
    return CellPlan(names[0], names[1], names[2], encoding.slices, rows, encoding.bipolar)
