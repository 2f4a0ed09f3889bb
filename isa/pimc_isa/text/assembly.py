"""Assembly text (.pimasm): the readable twin of the program file.

Reading it back gives the same program, byte for byte. Large tensors stay in a file beside the text, named with its
checksum; small ones may be written out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pimc_isa.binary.tensorfile import open_tensors, read_bytes
from pimc_isa.errors import AsmError, PimcError
from pimc_isa.extensions import META, refuse_missing
from pimc_isa.files import place_of, write_text
from pimc_isa.program import Program
from pimc_isa.text.build import Judge, build
from pimc_isa.text.datafile import DataFile, found_beside
from pimc_isa.text.print import print_program

__all__ = ["assemble", "disassemble", "read_assembly", "write_assembly"]

INLINE_BYTES = 4096  # programs with no more than this in their tensors need no second file


def disassemble(program: Program, data_file: Mapping[str, str] | None = None) -> str:
    """The program as text. ``data_file`` (``file``, ``sha256``) holds its tensors; without it they are written out."""
    return print_program(program, {} if data_file else program.tensors, data_file)


def assemble(text: str, base_dir: str | Path = ".", judge: Judge | None = None) -> Program:
    """The program behind a text; the file with its tensors is looked for in ``base_dir``. AsmError shows the place.

    ``judge`` may refuse the program before that, when only the tensors in the text are known.
    """
    return build(text, lambda file, sha256: _read_data(Path(base_dir) / file, sha256), judge)


def write_assembly(program: Program, path: str | Path) -> int:
    """Write the text to ``path`` and return its bytes; large tensors go into a file beside it.

    That file's name carries its checksum, so an older text keeps its own data until the new text has replaced it. A
    device or pipe has no place beside it: all tensors are written out.
    """
    place = place_of(path)
    small = sum(array.nbytes for array in program.tensors.values()) <= INLINE_BYTES
    plain = all(np.isfinite(array).all() for array in program.tensors.values())
    if place.file is None and not plain:
        raise PimcError(f"cannot write {path}: tensors that are not finite need a file beside the text\nname a file")
    if place.file is None or (small and plain):
        return write_text(path, disassemble(program))
    data = DataFile(program.tensors, place.file)
    with data.written():
        return write_text(path, disassemble(program, {"file": data.path.name, "sha256": data.sha256}))


def read_assembly(path: str | Path, judge: Judge | None = None) -> Program:
    """The program in a .pimasm file; AsmError names the file and shows the place. ``judge``: see ``assemble``."""
    path = Path(path)
    try:
        text = bytes(read_bytes(path)).decode()
    except UnicodeDecodeError:
        raise AsmError(f"{path}: not a text file; to run a program file, leave out 'asm'") from None
    try:
        return build(text, lambda file, sha256: _read_data(found_beside(path, file), sha256), judge)
    except AsmError as error:
        for noted in re.findall(rf'^\s*\.meta {META} = ("[^\n]*")', text, re.MULTILINE):
            refuse_missing({META: json.loads(noted)}, str(path))
        raise AsmError(f"{path}: {error}") from None


def _read_data(path: Path, sha256: str) -> Mapping[str, np.ndarray]:
    if "\0" in str(path):
        raise AsmError("a file's name holds the character 0")
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise AsmError(f"{path} is not the file the text was written with (its checksum differs)")
    return open_tensors(data, str(path))[0]
