"""Matrix: dot products on the crossbars of a group."""

from collections.abc import Iterator

from pimc_isa.crossbar.footprint import group_actions, group_burst_cycles, group_burst_occupancy, group_measures
from pimc_isa.define import Context, Instr, Meaning, ref, slab, source
from pimc_isa.element import I32
from pimc_isa.flow.use import Tally
from pimc_isa.operands import Group, Range, Slab

__all__ = ["Mvm", "Mvma"]


def _window_chans(ctx: Context, src: str, window: str, group: str) -> Range:
    """All channels that the buffer holds; with several convolution groups, those of the groups."""
    g = ctx.tile.group[group]
    weights = ctx.program.weight[g.weights]
    if weights.groups == 1:
        return ctx.tile.buffer[src].chans
    per_group = weights.k // _taps(ctx, window)
    return g.groups[0] * per_group, g.groups[1] * per_group


def _taps(ctx: Context, window: str) -> int:
    kernel = ctx.window(window).kernel
    return kernel[0] * kernel[1]


def _problems(ctx: Context, dst: Slab, src: str, window: str, group: str) -> Iterator[str]:
    """The window's inputs must be the weights' rows, the group's outputs the destination's channels."""
    g, x, taps = ctx.tile.group[group], ctx.tile.buffer[src], _taps(ctx, window)
    weights = ctx.program.weight[g.weights]
    inputs, rows = taps * x.channels, weights.groups * weights.k
    if g.rounds:
        yield from _rounds_problems(ctx, dst, (src, window, inputs), g)
        return
    if inputs != rows:
        yield f"window '{window}' sees {inputs} inputs of '{src}', weights '{weights.name}' have {rows} rows"
    prefix = taps == 1 and x.chans[0] == 0 and x.chans[1] >= g.k[1]
    if weights.groups == 1 and x.chans != (0, x.channels) and not prefix:
        yield f"buffer '{src}' holds channels {_span(x.chans)}, the dot products need all {x.channels}"
    if g.groups[1] - g.groups[0] > 1 and g.n != (0, weights.n):
        yield f"group '{group}' has several convolution groups but only outputs {_span(g.n)} of each"
    makes = g.groups[0] * weights.n + g.n[0], (g.groups[1] - 1) * weights.n + g.n[1]
    if ctx.chans(dst) != makes:
        yield f"group '{group}' makes channels {_span(makes)}, the destination is {_span(ctx.chans(dst))}"


def _rounds_problems(ctx: Context, dst: Slab, seen: tuple[str, str, int], g: Group) -> Iterator[str]:
    """The window's inputs must be the rounds' inputs, their outputs the destination's channels."""
    rounds, (src, window, inputs), x = ctx.program.schedule[g.rounds], seen, ctx.tile.buffer[seen[0]]
    if inputs != rounds.inputs:
        yield f"window '{window}' sees {inputs} inputs of '{src}', rounds '{rounds.name}' take {rounds.inputs}"
    if x.chans != (0, x.channels):
        yield f"buffer '{src}' holds channels {_span(x.chans)}, the rounds need all {x.channels}"
    if ctx.chans(dst) != rounds.outputs:
        made = f"group '{g.name}' makes channels {_span(rounds.outputs)} in rounds '{rounds.name}'"
        yield f"{made}, the destination is {_span(ctx.chans(dst))}"


def _span(span: Range) -> str:
    return f"{span[0]}:{span[1]}"


class Multiply(Instr):
    """The shape of both: windows of one output row times the group's cells."""

    dst: Slab = slab("w", "row of sums", dtype=I32)
    src: str = source("window", "input buffer")
    window: str = ref("window", "which inputs an output position sees")
    group: str = ref("group", "the crossbars")

    def window_chans(self, ctx: Context) -> Range:
        """The channels that the group's rows stand for."""
        return _window_chans(ctx, self.src, self.window, self.group)

    def problems(self, ctx: Context) -> Iterator[str]:
        """Weights, window and channels must fit."""
        return _problems(ctx, self.dst, self.src, self.window, self.group)

    def cycles(self, ctx: Context) -> int:
        """Latency of the flow plus one interval for each further round of the busiest copy's positions."""
        return group_burst_cycles(ctx.program, ctx.tile.group[self.group], ctx.width(self.dst))

    def occupancy(self, ctx: Context) -> int:
        """One interval for each round of the busiest copy's positions: bursts follow each other as positions do."""
        return group_burst_occupancy(ctx.program, ctx.tile.group[self.group], ctx.width(self.dst))

    def measures(self, ctx: Context) -> frozenset[str]:
        """What the group's flow depends on."""
        return group_measures(ctx.program, ctx.tile.group[self.group])

    def actions(self, ctx: Context, tally: Tally | None = None) -> dict[str, float]:
        """The flow's actions for each position, plus reading inputs and writing sums."""
        return group_actions(ctx, self.dst, self.src, self.window, self.group, tally)


class Mvm(Multiply, op=0x30, name="mvm", unit="matrix"):
    """Multiply every window of one output row with the group's cells; the sums are i32.

    The destination's row and columns choose the windows; each copy of the group works on its share of the positions.
    """

    def execute(self, m: Meaning) -> None:
        """Store the dot products."""
        m.write(self.dst, m.dot(self.dst, self.src, self.window, self.group))


class Mvma(Multiply, op=0x31, name="mvma", unit="matrix"):
    """As ``mvm``, but added to the sums that are there (partial sums of other crossbars or tiles)."""

    dst: Slab = slab("rw", "row of sums", dtype=I32)

    def actions(self, ctx: Context, tally: Tally | None = None) -> dict[str, float]:
        """As ``mvm``, plus reading the sums and one addition each."""
        actions = super().actions(ctx, tally)
        bursts = tally.positions / ctx.width(self.dst) if tally else 1
        actions["memory_byte"] = actions.get("memory_byte", 0) + bursts * ctx.nbytes(self.dst)
        actions["vector_element"] = actions.get("vector_element", 0) + bursts * ctx.elements(self.dst)
        return actions

    def execute(self, m: Meaning) -> None:
        """Add the dot products."""
        m.write(self.dst, m.read(self.dst) + m.dot(self.dst, self.src, self.window, self.group))
