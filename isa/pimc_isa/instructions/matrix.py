"""Matrix: dot products on the crossbars of a group."""

from pimc_isa.define import Context, Instr, Meaning, ref, slab, source
from pimc_isa.layout import group_actions, group_burst_cycles
from pimc_isa.operands import Slab

__all__ = ["Mvm", "Mvma"]


class Mvm(Instr, op=0x30, name="mvm", unit="matrix"):
    """Multiply every window of one output row with the group's cells; the sums are i32.

    The destination's row and columns choose the windows; each copy of the group works on its share of the positions.
    """

    dst: Slab = slab("w", "row of sums")
    src: str = source("window", "input buffer")
    window: str = ref("window", "which inputs an output position sees")
    group: str = ref("group", "the crossbars")

    def cycles(self, ctx: Context) -> int:
        """Latency of the flow plus one interval for each further position of the busiest copy."""
        return group_burst_cycles(ctx.program, ctx.tile.group[self.group], ctx.width(self.dst))

    def actions(self, ctx: Context) -> dict[str, float]:
        """The flow's actions for each position, plus reading inputs and writing sums."""
        return group_actions(ctx, self.dst, self.src, self.window, self.group)

    def execute(self, m: Meaning) -> None:
        """Store the dot products."""
        m.write(self.dst, m.dot(self.dst, self.src, self.window, self.group))


class Mvma(Instr, op=0x31, name="mvma", unit="matrix"):
    """As ``mvm``, but added to the sums that are there (partial sums of other crossbars or tiles)."""

    dst: Slab = slab("rw", "row of sums")
    src: str = source("window", "input buffer")
    window: str = ref("window", "which inputs an output position sees")
    group: str = ref("group", "the crossbars")

    def cycles(self, ctx: Context) -> int:
        """As ``mvm``."""
        return group_burst_cycles(ctx.program, ctx.tile.group[self.group], ctx.width(self.dst))

    def actions(self, ctx: Context) -> dict[str, float]:
        """As ``mvm``, plus reading the sums and one addition each."""
        actions = group_actions(ctx, self.dst, self.src, self.window, self.group)
        actions["memory_byte"] = actions.get("memory_byte", 0) + ctx.nbytes(self.dst)
        actions["vector_element"] = actions.get("vector_element", 0) + ctx.elements(self.dst)
        return actions

    def execute(self, m: Meaning) -> None:
        """Add the dot products."""
        m.write(self.dst, m.read(self.dst) + m.dot(self.dst, self.src, self.window, self.group))
