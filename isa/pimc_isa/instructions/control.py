"""Control: loops over rows. Loops do not nest."""

from pimc_isa.define import Instr, count

__all__ = ["End", "Halt", "Loop"]


class Loop(Instr, op=0x01, name="loop", unit="control"):
    """Run the instructions up to the matching ``end`` with the counter i = 0, 1, ..., times-1."""

    times: int = count("number of iterations, at least 1")


class End(Instr, op=0x02, name="end", unit="control"):
    """End of a loop body."""


class Halt(Instr, op=0x03, name="halt", unit="control"):
    """End of the stream for one image; the tile starts over with the next image."""
