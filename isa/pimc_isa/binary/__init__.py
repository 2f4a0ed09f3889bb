"""The binary form of programs: words, the program file, the tensors in it."""

from pimc_isa.binary.container import from_bytes, load, save, to_bytes

__all__ = ["from_bytes", "load", "save", "to_bytes"]
