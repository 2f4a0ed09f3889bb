"""The host: ONNX subgraphs for which the chip has no unit."""

from pimc_isa.define import Context, Instr, Meaning, Touch, ref

__all__ = ["CallHost"]


class CallHost(Instr, op=0x50, name="call", unit="host"):
    """Run an ONNX subgraph on whole buffers and program ports; only the host node has this unit."""

    call: str = ref("call", "the subgraph with its inputs and outputs")

    def reads(self, ctx: Context, i: int) -> list[Touch]:
        """All rows of every input buffer."""
        return self._whole(ctx, ctx.tile.call[self.call].inputs)

    def writes(self, ctx: Context, i: int) -> list[Touch]:
        """All rows of every output buffer."""
        return self._whole(ctx, ctx.tile.call[self.call].outputs)

    def _whole(self, ctx: Context, pairs: tuple[tuple[str, str], ...]) -> list[Touch]:
        buffers = [ctx.tile.buffer[place] for _, place in pairs if not place.startswith("$")]
        return [Touch(b.name, (0, b.rows)) for b in buffers]

    def cycles(self, ctx: Context) -> int:
        """Elements of all buffers, or operations, over the host's rates: whichever takes longer."""
        places = {p for _, p in ctx.tile.call[self.call].inputs + ctx.tile.call[self.call].outputs if p[0] != "$"}
        elements = sum(b.rows * b.row_elements for b in ctx.tile.buffers if b.name in places)
        host, operations = ctx.machine.host, ctx.tile.call[self.call].operations
        return max(1, -(-elements // host.elements_per_cycle), -(-operations // host.operations_per_cycle))

    def execute(self, m: Meaning) -> None:
        """Run it."""
        m.call(self.call)
