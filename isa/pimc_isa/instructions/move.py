"""The mover: row parts inside a tile's memory."""

from pimc_isa.define import Context, Instr, Meaning, slab
from pimc_isa.operands import Slab

__all__ = ["Copy"]


class Copy(Instr, op=0x20, name="copy", unit="mover"):
    """Copy a row part; column and channel ranges must have the same size (concatenation, slices, row maps)."""

    dst: Slab = slab("w", "destination row part")
    src: Slab = slab("r", "source row part")

    def cycles(self, ctx: Context) -> int:
        """Read and write over the tile's bus."""
        return max(1, -(-ctx.nbytes(self.src) // ctx.machine.tile.bus_bytes_per_cycle))

    def actions(self, ctx: Context) -> dict[str, float]:
        """One read and one write."""
        return {"memory_byte": 2 * ctx.nbytes(self.src), "bus_byte": 2 * ctx.nbytes(self.src)}

    def execute(self, m: Meaning) -> None:
        """Copy values as they are."""
        m.write(self.dst, m.read(self.src))
