"""The host: ONNX subgraphs for which the chip has no unit."""

from collections.abc import Iterator

from pimc_isa.define import Context, Instr, Meaning, Touch, ref, row_number
from pimc_isa.operands import Buffer, RowExpr

__all__ = ["CallHost", "CallRow", "HostWork"]


class HostWork(Instr):
    """The shape of the host's work: a call. ``at`` tells which rows of its buffers an execution takes."""

    call: str = ref("call", "the subgraph with its inputs and outputs")

    def at(self, height: int, i: int) -> tuple[int, int]:
        """Rows of a buffer with so many rows, in iteration ``i``."""
        raise NotImplementedError

    def reads(self, ctx: Context, i: int) -> list[Touch]:
        """These rows of every input buffer."""
        return self._touched(ctx, ctx.tile.call[self.call].inputs, i)

    def writes(self, ctx: Context, i: int) -> list[Touch]:
        """These rows of every output buffer."""
        return self._touched(ctx, ctx.tile.call[self.call].outputs, i)

    def _touched(self, ctx: Context, pairs: tuple[tuple[str, str], ...], i: int) -> list[Touch]:
        buffers = [ctx.tile.buffer[place] for _, place in pairs if not place.startswith("$")]
        return [Touch(b.name, self.at(b.rows, i)) for b in buffers]

    def buffers(self, ctx: Context) -> list[Buffer]:
        """The buffers of its call, each once."""
        call = ctx.tile.call[self.call]
        names = {place for _, place in call.inputs + call.outputs}
        return [b for b in ctx.tile.buffers if b.name in names]

    def cycles(self, ctx: Context) -> int:
        """Elements of these rows, or operations, over the host's rates: whichever takes longer."""
        elements = 0
        for b in self.buffers(ctx):
            first, last = self.at(b.rows, 0)
            elements += (last - first) * b.row_elements
        host, operations = ctx.machine.host, ctx.tile.call[self.call].operations
        return max(1, -(-elements // host.elements_per_cycle), -(-operations // host.operations_per_cycle))


class CallHost(HostWork, op=0x50, name="call", unit="host"):
    """Run an ONNX subgraph on whole buffers and program ports; only the host node has this unit."""

    def at(self, height: int, i: int) -> tuple[int, int]:
        """All rows."""
        return 0, height

    def execute(self, m: Meaning) -> None:
        """Run it."""
        m.call(self.call)


class CallRow(HostWork, op=0x51, name="call.row", unit="host"):
    """Run an ONNX subgraph for one row on that row of all its buffers."""

    row: RowExpr = row_number("the row")

    def at(self, height: int, i: int) -> tuple[int, int]:
        """The one row."""
        row = self.row.at(i)
        return row, row + 1

    def problems(self, ctx: Context) -> Iterator[str]:
        """It has no ports, whose tensors are whole."""
        call = ctx.tile.call[self.call]
        for _, place in call.inputs + call.outputs:
            if place.startswith("$"):
                yield f"call '{call.name}' uses the port {place}, which has no rows: run it whole"

    def execute(self, m: Meaning) -> None:
        """Run it."""
        m.call(self.call, self.row)
