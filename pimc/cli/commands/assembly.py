"""``pimc disasm`` and ``pimc asm``: programs to text and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pimc.cli.options import Json, Quiet
from pimc_isa.errors import shown

__all__ = ["asm", "disasm"]


def disasm(
    program: Annotated[Path, typer.Argument(metavar="P.pim", help="A program file.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="P.pimasm", help="Write text (and tensors beside it) that reads back."),
    ] = None,
    tile: Annotated[int | None, typer.Option(metavar="NUMBER", help="Print only this tile.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show a program as assembly text; an illegal one as well, with a warning.

    Without -o the text is printed without the tensors. With -o it reads back to the same program, byte for byte.

    Examples:

      pimc disasm net.pim | less

      pimc disasm net.pim --tile 17

      pimc disasm net.pim -o net.pimasm
    """
    from dataclasses import replace

    from pimc.cli.files import judge_output, printing_beside
    from pimc.cli.output import print_json, progress
    from pimc.driver import CompiledProgram
    from pimc_isa.errors import ProgramError
    from pimc_isa.load import load_program, problem_of

    judge_output(output, program=program)
    with progress("loading", quiet=quiet):
        loaded = CompiledProgram(load_program(program, judge=False))
        problem = problem_of(loaded.program)
    if problem:
        typer.echo(f"warning: {shown(str(program))} is an illegal program: {problem}", err=True)
    if output is not None:
        _write(loaded, output)
        with printing_beside(output):
            if json:
                print_json({"program": str(program), "assembly": str(output)})
        return
    if tile is not None:
        if not loaded.program.tiles:
            raise ProgramError(f"{program} has no tiles")
        if tile not in loaded.program.tile:
            raise ProgramError(
                f"{program} has no tile {tile}; its tiles are {min(loaded.program.tile)} to {max(loaded.program.tile)}"
            )
        loaded = CompiledProgram(replace(loaded.program, tiles=(loaded.program.tile[tile],)))
    text = loaded.assembly() if tile is None else tile_text(loaded.assembly())
    if json:
        print_json({"program": str(program), "text": text})
    else:
        typer.echo(text, nl=False)


def _write(loaded: object, output: Path) -> None:
    from pimc_isa.text import write_assembly

    write_assembly(loaded.program, output)  # type: ignore[attr-defined]


def tile_text(assembly: str) -> str:
    """Return the part of an assembly text from its first ``.tile`` on."""
    lines = assembly.splitlines(keepends=True)
    first = next((n for n, line in enumerate(lines) if line.startswith(".tile")), 0)
    return "".join(lines[first:])


def asm(
    text: Annotated[Path, typer.Argument(metavar="P.pimasm", help="Assembly text.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="P.pim", help="Where to write the program.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Assemble text to a program, and check it.

    Example:

      pimc asm net.pimasm -o net.pim
    """
    from pimc.cli.files import judge_output, printing_beside
    from pimc.cli.output import print_json, progress
    from pimc.driver import CompiledProgram
    from pimc.report.summary import summary
    from pimc_isa import binary
    from pimc_isa.load import load_program

    judge_output(output, program=text)
    with progress("assembling", quiet=quiet):
        program = load_program(text, assembly=True)
        size = binary.save(program, output)
    with printing_beside(output):
        if json:
            values = summary(CompiledProgram(program).program)
            print_json({**values, "program": str(output), "program_bytes": size})
