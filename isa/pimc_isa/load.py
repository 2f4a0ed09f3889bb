"""Reading a program as everybody should: from either form, and judged before anything is made of it."""

from __future__ import annotations

from pathlib import Path

from pimc_isa import binary, text
from pimc_isa.check import check, check_structure, check_tensors
from pimc_isa.errors import PimcError, ProgramError
from pimc_isa.extensions import load_extensions
from pimc_isa.program import Program

__all__ = ["load_program", "problem_of"]


def load_program(path: str | Path, *, judge: bool = True, assembly: bool = False) -> Program:
    """Read a program file (.pim) or assembly text (.pimasm), and refuse an illegal program (without ``judge``: not).

    ``assembly``: it is a text whatever its name. A text's structure is judged before the file with its tensors is
    looked for. Raises PimcError.
    """
    path = Path(path)
    load_extensions()
    try:
        return _load(path, judge, assembly)
    except MemoryError:
        raise ProgramError(f"{path}: there is not enough memory to read it") from None


def _load(path: Path, judge: bool, assembly: bool) -> Program:
    if assembly or path.suffix == ".pimasm":
        program = text.read_assembly(path, check_structure if judge else None)
        if judge:
            check_tensors(program)
        return program
    program = binary.load(path)
    if judge:
        check(program)
    return program


def problem_of(program: Program) -> str:
    """Why a program is illegal, in one line; '' if it is legal."""
    try:
        check(program)
    except PimcError as error:
        return "; ".join(str(error).split("\n"))
    return ""
