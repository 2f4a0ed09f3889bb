"""How a group's weights lie on crossbars, and what one position costs there.

*Dense* weights (and large convolution groups): each row block takes its own crossbars; an output's slices lie in
adjacent columns and are never split over crossbars. *Small convolution groups* (depthwise above all) are packed
block-diagonally: several share a crossbar, each on word lines and columns of its own, with a unit column of its own
(ones on its word lines only), because each needs the sum of its own inputs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil, isfinite, log2
from typing import TYPE_CHECKING

from pimc_isa.crossbar.levels import group_levels, read_levels
from pimc_isa.crossbar.rounds import OneRound, copied, read_columns, rounds_of
from pimc_isa.errors import ProgramError
from pimc_isa.flow.microops import Scale
from pimc_isa.flow.use import Tally, Use
from pimc_isa.operands import Group, Slab

if TYPE_CHECKING:
    from pimc_isa.define import Context
    from pimc_isa.element import Element
    from pimc_isa.flow import Flow
    from pimc_isa.machine import Array
    from pimc_isa.program import Program

__all__ = [
    "Footprint",
    "arrays_for",
    "check_group",
    "footprint",
    "group_actions",
    "group_arrays",
    "group_burst_cycles",
    "group_burst_occupancy",
    "group_footprint",
    "group_measures",
    "outputs_per_array",
    "utilisation",
]


@dataclass(frozen=True)
class Footprint:
    """What one copy of some weights takes on crossbars, and uses for one position.

    ``rows`` word lines driven and ``columns`` data columns in use, summed over the crossbars; ``unit_columns`` in use;
    ``sums`` partial sums: outputs x row blocks. ``drives``: word lines, in different crossbars, that one input drives;
    ``crossed``: the columns, unit columns too, that these cross, for each convolution group; ``cells``: where driven
    word lines and columns in use cross.
    """

    arrays: int
    rows: int
    columns: int
    unit_columns: int
    sums: int
    drives: int
    crossed: tuple[int, ...]
    cells: int


def outputs_per_array(columns: int, array: Array) -> int:
    """Outputs whose ``columns`` (one or two for each slice) fit side by side in a crossbar; ProgramError if none do."""
    outputs = array.columns // columns
    if outputs == 0:
        raise ProgramError(
            f"an output of {columns} columns does not fit a crossbar of {array.columns}\nuse fewer, wider slices"
        )
    return outputs


def footprint(groups: int, k: int, n: int, columns: int, array: Array, block_rows: int | None = None) -> Footprint:
    """Lay ``groups`` convolution groups of k rows x n outputs (``columns`` each) on crossbars, once.

    ``block_rows`` (default: all word lines) is the height of a row block. Raises ProgramError if it exceeds the array.
    """
    height = array.rows if block_rows is None else block_rows
    if not 0 < height <= array.rows:
        raise ProgramError(f"row blocks of {height} rows do not fit {array.rows} word lines\nuse 1..{array.rows}")
    packed = _groups_per_array(groups, k, n * columns, array, height)
    if packed > 1:
        units = groups if array.unit_columns else 0
        each = n * columns + (1 if units else 0)
        crossed = tuple(min(packed, groups - g // packed * packed) * each for g in range(groups))
        return Footprint(
            -(-groups // packed), groups * k, groups * n * columns, units, groups * n, 1, crossed, k * sum(crossed)
        )
    blocks, across = -(-k // height), -(-n // outputs_per_array(columns, array))
    arrays = groups * blocks * across
    used = groups * blocks * n
    crossed = (n * columns + across * array.unit_columns,) * groups
    units, cells = arrays * array.unit_columns, k * sum(crossed)
    return Footprint(arrays, groups * k * across, used * columns, units, used, across, crossed, cells)


def _groups_per_array(groups: int, k: int, columns: int, array: Array, height: int) -> int:
    """Convolution groups that share one crossbar block-diagonally; 1 where each needs crossbars of its own."""
    if groups == 1 or k > height:
        return 1
    unit = 1 if array.unit_columns else 0
    return min(array.rows // k, (array.columns + array.unit_columns) // (columns + unit))


def arrays_for(groups: int, k: int, n: int, columns: int, array: Array, block_rows: int | None = None) -> int:
    """Crossbars of one copy of ``groups`` convolution groups of k x n weights in ``columns`` columns."""
    return footprint(groups, k, n, columns, array, block_rows).arrays


def check_group(program: Program, group: Group) -> None:
    """Refuse a group whose ranges, slices or flow do not fit its weights. Raises ProgramError."""
    weights, flow = program.weight.get(group.weights), program.flow.get(group.flow)
    if weights is None or flow is None:
        kind, name = ("weights", group.weights) if weights is None else ("flow", group.flow)
        raise ProgramError(f"group {group.name} uses {kind} '{name}', which the program does not have")
    for what, (lo, hi), size in (
        ("groups", group.groups, weights.groups),
        ("k", group.k, weights.k),
        ("n", group.n, weights.n),
    ):
        if not 0 <= lo < hi <= size:
            raise ProgramError(f"group {group.name}: {what} {lo}:{hi} is not a range within 0:{size}")
    if group.k[0] % weights.block_rows or (group.k[1] % weights.block_rows and group.k[1] != weights.k):
        raise ProgramError(
            f"group {group.name}: rows {group.k[0]}:{group.k[1]} cut a row block\nuse multiples of {weights.block_rows}"
        )
    if weights.slices != flow.slices:
        raise ProgramError(
            f"group {group.name}: weights in slices {weights.slices}, flow {flow.name} reads {flow.slices}"
        )
    if weights.bipolar != flow.bipolar:
        kinds = ("pairs of columns", "single columns")
        have, want = kinds if weights.bipolar else kinds[::-1]
        raise ProgramError(f"group {group.name}: weights in {have}, flow {flow.name} reads {want}")
    _check_scale(group, flow)
    if flow.input_bits < 8:
        raise ProgramError(f"group {group.name}: flow {flow.name} reads {flow.input_bits} of 8 input bits")


def _check_scale(group: Group, flow: Flow) -> None:
    """Ranged conversions need a full scale, others must not have one."""
    ranged = any(isinstance(op, Scale) for op in flow.ops)
    if ranged and not (group.v_max > 0 and isfinite(group.v_max) and group.gain > 0 and isfinite(group.gain)):
        raise ProgramError(
            f"group {group.name}: flow {flow.name} has ranged conversions, v_max={group.v_max} gain={group.gain}\n"
            "give both, above 0"
        )
    if not ranged and group.v_max:
        raise ProgramError(f"group {group.name}: v_max={group.v_max}, but flow {flow.name} has no ranged conversions")


def group_footprint(program: Program, group: Group) -> Footprint:
    """The footprint of one copy of a group."""
    weights = program.weight[group.weights]
    groups, k, n = (hi - lo for lo, hi in (group.groups, group.k, group.n))
    return footprint(groups, k, n, weights.columns, program.machine.array, weights.block_rows)


def group_arrays(program: Program, group: Group) -> int:
    """Crossbars of all copies of a group."""
    return group.copies * group_footprint(program, group).arrays


def utilisation(program: Program, group: Group) -> float:
    """Cells that hold weights, as a fraction of the group's data cells (unit columns do not count)."""
    used = program.weight[group.weights].columns
    for lo, hi in (group.groups, group.k, group.n):
        used *= hi - lo
    array = program.machine.array
    return used / (group_footprint(program, group).arrays * array.rows * array.columns)


def group_burst_cycles(program: Program, group: Group, positions: int) -> int:
    """Cycles for a burst: latency + (ceil(positions / copies) * rounds - 1) * interval."""
    flow = program.flow[group.flow]
    return flow.latency_cycles + (_turns(program, group, positions) - 1) * flow.interval_cycles


def group_burst_occupancy(program: Program, group: Group, positions: int) -> int:
    """Cycles until the group can start its next burst: one interval for each round of the busiest copy's positions."""
    return _turns(program, group, positions) * program.flow[group.flow].interval_cycles


def _turns(program: Program, group: Group, positions: int) -> int:
    """Rounds of all positions of the busiest copy."""
    return -(-positions // group.copies) * program.rounds_of(group)


def group_measures(program: Program, group: Group) -> frozenset[str]:
    """What of data the actions of a group depend on (see `pimc_isa.flow.use`)."""
    flow = program.flow[group.flow]
    return frozenset().union(*(op.measures(flow, program.machine) for op in flow.ops))


def group_actions(
    ctx: Context, dst: Slab, src: str, window: str, group: str, tally: Tally | None = None
) -> dict[str, float]:
    """Actions of one burst: positions x what the group's flow does on the word lines and columns in use.

    Inputs are read from the tile's memory once for each position (and round) and broadcast to the crossbars' input
    registers; sums are written once. Partial sums are kept exact: input bits + weight bits + log2(rows) wide. With a
    ``tally`` they are those of all the bursts that it counts.
    """
    g = ctx.tile.group[group]
    flow, sums = ctx.program.flow[g.flow], ctx.tile.buffer[dst.buffer].element
    positions = tally.positions if tally else ctx.width(dst)
    use = _use(ctx, (dst, src), g, positions, tally)
    actions: Counter[str] = Counter()
    for op in flow.ops:
        actions.update(op.actions(flow, use))
    if g.rounds:
        actions.update(_between_rounds(ctx.program, g, positions, sums))
    return {action: float(number) for action, number in actions.items() if number}


def _use(ctx: Context, slabs: tuple[Slab, str], g: Group, positions: int, tally: Tally | None) -> Use:
    """How much of the crossbars some positions use, in all rounds together."""
    flow, weights, array = ctx.program.flow[g.flow], ctx.program.weight[g.weights], ctx.machine.array
    sum_bytes = ceil((flow.input_bits + sum(weights.slices) + log2(array.rows)) / 8)
    x, sums = ctx.tile.buffer[slabs[1]].element, ctx.tile.buffer[slabs[0].buffer].element
    if not g.rounds:
        place, convolutions = group_footprint(ctx.program, g), g.groups[1] - g.groups[0]
        inputs, outputs = ((hi - lo) * convolutions for lo, hi in (g.k, g.n))
        in_use = place.rows, place.cells, place.columns, place.unit_columns, place.sums, outputs
        moved = x.nbytes(inputs), sums.nbytes(outputs)
    else:
        rounds = _rounds(ctx.program, g)
        in_use = _in_rounds(rounds, weights.columns, array.unit_columns)
        moved = sum(x.nbytes(r.inputs) for r in rounds), sum(sums.nbytes(len(r.channels)) for r in rounds)
    inward, outward = (positions * size for size in moved)
    levels = _levels(ctx.program, g) if ctx.machine.prices("cell_charge") else None
    return Use(positions, *in_use, inward, outward, sum_bytes, array.dac_pulses, levels, tally)


def _in_rounds(rounds: tuple[OneRound, ...], columns: int, units: int) -> tuple[int, int, int, int, int, int]:
    """Word lines, cells, columns, unit columns, partial sums and results of a position, over all rounds."""
    reads = [read for done in rounds for read in done.reads]
    cells = sum(len(read.rows) * read_columns(read, columns, units) for read in reads)
    sums = sum(done.sums for done in rounds)
    outputs = sum(len(done.channels) for done in rounds)
    return sum(done.rows for done in rounds), cells, sums * columns, len(reads) * units, sums, outputs


def _levels(program: Program, g: Group) -> int:
    """Levels of the cells that a position's inputs meet, over all rounds."""
    if g not in program.levels:
        if g.rounds:
            found = [read_levels(program, g, read) for done in _rounds(program, g) for read in done.reads]
        else:
            found = [group_levels(program, g, group_footprint(program, g).unit_columns)]
        program.levels[g] = int(sum(levels.sum() for levels in found))
    return program.levels[g]


def _rounds(program: Program, g: Group) -> tuple[OneRound, ...]:
    return rounds_of(program, g, outputs_per_array(program.weight[g.weights].columns, program.machine.array))


def _between_rounds(program: Program, g: Group, positions: int, sums: Element) -> dict[str, float]:
    """Sums that a round adds to are read again and added in the tile; those that are copied are read and written."""
    added = positions * sum(int(done.added.sum()) for done in _rounds(program, g))
    copies = positions * len(copied(program, g)[0])
    moved = sums.nbytes(added + 2 * copies)
    return {"memory_byte": moved, "bus_byte": moved, "merge_add": added}
