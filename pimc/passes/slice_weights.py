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

from pimc.analysis.calibrate import gemm_matrix
from pimc.ir.graph import Graph
from pimc.ir.ops import CellPlan, Conv
from pimc.passes.base import Pass
from pimc.passes.choose_flows import flow_of
from pimc.passes.target import Target
from pimc_isa.crossbar.cells import Cells, encode, encode_differential
from pimc_isa.crossbar.centres import best_centres
from pimc_isa.flow import Flow, normal_form

__all__ = ["SliceWeights", "centres_of"]

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
            encoding = _Encoding.of(flow_of(graph, op, target), target.centre)
            key = (_held(op), op.groups, encoding)
            if key not in done:
                done[key] = _cells(graph, op, encoding, rows)
            graph.update(replace(op, cells=done[key]))
        return graph


@dataclass(frozen=True)
class _Encoding:
    """What a flow asks of cells: slice widths, two columns each or one, and which centre pairs have."""

    slices: tuple[int, ...]
    bipolar: bool
    centre: str

    @classmethod
    def of(cls, flow: Flow, centre: str) -> _Encoding:
        """From its micro-operations; a flow that sums no inputs has no centre."""
        return cls(flow.slices, flow.bipolar, centre if normal_form(flow).unit_conversions else "zero")

    def encode(self, matrix: Array, rows: int) -> Cells:
        """Integer weights [groups, k, n] as cells."""
        if not self.bipolar:
            return encode(matrix, self.slices, rows)
        return encode_differential(matrix, self.slices, rows, centre=centres_of(matrix, self.slices, rows, self.centre))


def centres_of(matrix: Array, slices: tuple[int, ...], rows: int, centre: str) -> Array:
    """Centres i32 [groups, blocks, n] of weights [groups, k, n]: 'best', 'mean' or 'zero' (see `Target`)."""
    if centre == "best":
        return best_centres(matrix, slices, rows)
    return encode_differential(matrix, slices, rows, centred=centre == "mean").centre


def _held(op: Conv) -> str:
    """The constant that crossbars hold: the weights, or the epitome of those that work in rounds."""
    return op.weights if op.rounds is None or op.epitome is None else op.epitome


def _cells(graph: Graph, op: Conv, encoding: _Encoding, rows: int) -> CellPlan:
    held = graph.constants[_held(op)]
    matrix = gemm_matrix(held, op.groups) if op.rounds is None else held[None]
    coded = encoding.encode(matrix, rows)
    stem = _held(op) if op.groups == 1 else f"{_held(op)}.g{op.groups}"
    if f"{stem}.codes" in graph.constants:  # the same weights in a layer with other cells
        stem = f"{stem}.{op.flow}"
    names = [f"{stem}.codes", f"{stem}.polarity", f"{stem}.centre"]
    graph.constants |= dict(zip(names, (coded.codes, coded.polarity, coded.centre), strict=True))
    return CellPlan(names[0], names[1], names[2], encoding.slices, rows, encoding.bipolar)
