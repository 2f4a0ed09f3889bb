"""The mover: row parts inside a tile's memory."""

import numpy as np

from pimc_isa.define import Context, Instr, Meaning, byte, slab
from pimc_isa.element import U8
from pimc_isa.operands import Slab

__all__ = ["Copy", "Fill"]


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


class Fill(Instr, op=0x21, name="fill", unit="mover"):
    """Write one value all over a row part (padding)."""

    dst: Slab = slab("w", "row part", dtype=U8)
    value: int = byte("the stored value")

    def cycles(self, ctx: Context) -> int:
        """Write over the tile's bus."""
        return max(1, -(-ctx.nbytes(self.dst) // ctx.machine.tile.bus_bytes_per_cycle))

    def actions(self, ctx: Context) -> dict[str, float]:
        """One write."""
        return {"memory_byte": ctx.nbytes(self.dst), "bus_byte": ctx.nbytes(self.dst)}

    def execute(self, m: Meaning) -> None:
        """The same value everywhere: it is broadcast."""
        m.write(self.dst, np.array(self.value, U8.storage).reshape(1, 1, 1, 1))
