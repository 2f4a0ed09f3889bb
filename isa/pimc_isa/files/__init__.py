"""The one writer of files: judged before work starts, whole or not at all, on disk before the name."""

from pimc_isa.files.place import FilePlace, place_of
from pimc_isa.files.temporary import unlocked
from pimc_isa.files.writer import check_output, write_file, write_text, written

__all__ = ["FilePlace", "check_output", "place_of", "unlocked", "write_file", "write_text", "written"]
