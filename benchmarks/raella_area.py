"""What equal areas alone allow: throughput if every crossbar of a chip were always at work.

A layer's copies lie on crossbars of their own; in a crossbar's spare room lie shifted copies, which compute
neighbouring positions of a row at once from the inputs that they share (partial Toeplitz). Of the numbers of such
copies the one that needs least of the chip is taken, and fractions of a copy count: a bound, which no mapper reaches.
"""

from __future__ import annotations

from raella_programs import CHIPS, flow_of
from raella_shapes import graph_of, layers_of

from pimc.driver import choose
from pimc.ir.ops import Conv
from pimc_isa.crossbar.footprint import outputs_per_array
from pimc_isa.flow import Flow
from pimc_isa.machine import Array

__all__ = ["bound_cycles"]

#: Positions of a row that are computed at once, at most.
_MOST = 64

#: Crossbars that no chip has.
_NEVER = 1 << 30


def bound_cycles(network: str, design: str, *, shifted: bool = True) -> float:
    """Cycles between images of a chip whose crossbars are never idle; ``shifted``: with shifted copies."""
    chip, graph = CHIPS[design], graph_of(network)
    target, _ = choose(chip.target)
    machine, total = target.machine, 0.0
    for name, layer in layers_of(network).items():
        flow = target.flow[flow_of(chip, layer) if chip.target == "raella" else target.conv_flow]
        op = graph[name]
        assert isinstance(op, Conv)
        sides = range(1, min(op.shape[1], _MOST if shifted else 1) + 1)
        turns = min(_crossbars(op, layer.C, flow, machine.array, n) * -(-op.shape[1] // n) for n in sides)
        total += op.shape[0] * turns * flow.interval_cycles
    return total / (machine.tile.arrays * machine.chip.tiles)


def _crossbars(op: Conv, depth: int, flow: Flow, array: Array, positions: int) -> int:
    """Crossbars of one copy that computes so many neighbouring positions at once."""
    step, width = op.stride[1], op.kernel[1]
    rows = depth * op.kernel[0] * (width + (positions - 1) * step if step < width else width * positions)
    outputs, most = positions * op.shape[2] // op.groups, outputs_per_array(flow.columns, array)
    if op.groups == 1:
        return -(-rows // array.rows) * -(-outputs // most)
    side_by_side = min(array.rows // rows, most // outputs)
    return -(-op.groups // side_by_side) if side_by_side else _NEVER
