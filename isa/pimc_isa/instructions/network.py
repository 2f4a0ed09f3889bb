"""Network: rows from and to other tiles."""

from pimc_isa.define import Context, Instr, Meaning, Touch, ref, row_range, slab, until
from pimc_isa.operands import ALL_ROWS, RowExpr, RowRange, Slab

__all__ = ["Recv", "Send"]


class Recv(Instr, op=0x10, name="recv", unit="net-in"):
    """Take messages from a channel into rows 0, 1, 2, ... of a buffer until ``until`` rows of it have arrived.

    The n-th message of an image is row n, or the n-th of ``rows``, where ``until`` means those of them that are below
    it. The slab's row is ignored; its columns and channels must have the shape of the message. Each row is one
    transfer; with nothing left to take, the unit is busy for one cycle.
    """

    dst: Slab = slab("", "where the rows go (columns and channels)")
    channel: str = ref("channel", "where they come from")
    until: RowExpr = until("rows that have arrived afterwards")
    rows: RowRange = row_range("dst", "the rows that the channel brings, in their order", default=ALL_ROWS)

    def rows_until(self, ctx: Context, i: int) -> int:
        """The row up to which those of the range have arrived after iteration ``i``."""
        return max(0, min(self.until.at(i), ctx.tile.buffer[self.dst.buffer].rows))

    def taken_until(self, ctx: Context, i: int) -> int:
        """Messages of the image that have been taken after iteration ``i``."""
        until = self.rows_until(ctx, i)
        return until if self.rows == ALL_ROWS else len(self.rows.within(until))

    def row_of_message(self, ctx: Context) -> range:
        """The row of each message of an image."""
        return self.rows.within(ctx.tile.buffer[self.dst.buffer].rows)

    def writes(self, ctx: Context, i: int) -> list[Touch]:
        """All rows up to ``until``; those already there are not written again (the engines keep the count)."""
        if self.rows == ALL_ROWS:
            return [Touch(self.dst.buffer, (0, self.rows_until(ctx, i)))]
        return [Touch(self.dst.buffer, (row, row + 1)) for row in self.rows.within(self.rows_until(ctx, i))]

    def cycles(self, ctx: Context) -> int:
        """One row over the tile's bus."""
        return max(1, -(-ctx.nbytes(self.dst) // ctx.machine.tile.bus_bytes_per_cycle))

    def actions(self, ctx: Context) -> dict[str, float]:
        """One row written to the tile's memory."""
        return {"memory_byte": ctx.nbytes(self.dst), "bus_byte": ctx.nbytes(self.dst)}

    def execute(self, m: Meaning) -> None:
        """Move rows from the channel into the buffer."""
        m.receive(self.channel, self.dst, self.until, self.rows)


class Send(Instr, op=0x11, name="send", unit="net-out"):
    """Send a row part to every receiver of a channel; waits until each has room and all links of the way are free.

    Where its row is none of ``rows``, it sends and reads nothing, and the unit is busy for one cycle.
    """

    channel: str = ref("channel", "where it goes")
    src: Slab = slab("r", "the row part")
    rows: RowRange = row_range("src", "the rows that are sent", default=ALL_ROWS)

    def sends(self, ctx: Context, i: int) -> bool:
        """Whether iteration ``i`` sends its row."""
        return self.src.row.at(i) in self.rows.within(ctx.tile.buffer[self.src.buffer].rows)

    def reads(self, ctx: Context, i: int) -> list[Touch]:
        """The row, if it is sent."""
        row = self.src.row.at(i)
        return [Touch(self.src.buffer, (row, row + self.sends(ctx, i)))]

    def cycles(self, ctx: Context) -> int:
        """Cycles the unit and each link of the way are taken."""
        return max(1, -(-ctx.nbytes(self.src) // ctx.machine.network.link_bytes_per_cycle))

    def actions(self, ctx: Context) -> dict[str, float]:
        """One row read; the links' share is counted by the engine, which knows the way."""
        return {"memory_byte": ctx.nbytes(self.src), "bus_byte": ctx.nbytes(self.src)}

    def execute(self, m: Meaning) -> None:
        """Put the row part into the channel."""
        m.send(self.channel, self.src, self.rows)
