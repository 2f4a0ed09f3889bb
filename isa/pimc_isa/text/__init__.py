"""Assembly text (.pimasm): the readable twin of the program file."""

from pimc_isa.text.assembly import assemble, disassemble, read_assembly, write_assembly
from pimc_isa.text.datafile import data_files

__all__ = ["assemble", "data_files", "disassemble", "read_assembly", "write_assembly"]
