"""Assembly text (.pimasm): the readable twin of the program file."""

from pimc_isa.text.assembly import assemble, disassemble, read_assembly, write_assembly

__all__ = ["assemble", "disassemble", "read_assembly", "write_assembly"]
