"""Assembly text (.pimasm): the readable twin of the program file.

Reading it back gives the same program, byte for byte. Large tensors stay in a file beside the text, named with its
checksum; small ones may be written out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pimc_isa.binary.tensorfile import chunks, header_of, open_tensors, read_bytes, write_atomically
from pimc_isa.errors import AsmError, PimcError
from pimc_isa.program import Program
from pimc_isa.text.build import Judge, build
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


def write_assembly(program: Program, path: str | Path) -> None:
    """Write the text to ``path`` and, if they are large, the tensors beside it as PATH's name with .safetensors."""
    path = Path(path)
    if not path.parent.is_dir():
        raise PimcError(f"cannot write {path}: the folder {path.parent} does not exist")
    small = sum(array.nbytes for array in program.tensors.values()) <= INLINE_BYTES
    if small and all(np.isfinite(array).all() for array in program.tensors.values()):
        write_atomically(path, [disassemble(program).encode()])
        return
    beside = path.with_suffix(".safetensors")
    header = header_of(program.tensors, {})
    digest = hashlib.sha256(header)
    for chunk in chunks(program.tensors):
        digest.update(chunk)
    text = disassemble(program, {"file": beside.name, "sha256": digest.hexdigest()})
    write_atomically(beside, (part for part in (header, *chunks(program.tensors))))
    write_atomically(path, [text.encode()])


def read_assembly(path: str | Path, judge: Judge | None = None) -> Program:
    """The program in a .pimasm file; AsmError names the file and shows the place. ``judge``: see ``assemble``."""
    path = Path(path)
    try:
        text = bytes(read_bytes(path)).decode()
    except UnicodeDecodeError:
        raise AsmError(f"{path}: not a text file; to run a program file, leave out 'asm'") from None
    try:
        return assemble(text, path.parent, judge)
    except AsmError as error:
        raise AsmError(f"{path}: {error}") from None


def _read_data(path: Path, sha256: str) -> Mapping[str, np.ndarray]:
    if "\0" in str(path):
        raise AsmError("a file's name holds the character 0")
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise AsmError(f"{path} is not the file the text was written with (its checksum differs)")
    return open_tensors(data, str(path))[0]
