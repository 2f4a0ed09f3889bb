"""Files a command writes: judged before it works."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

__all__ = ["judge_output", "printing_beside"]

STDOUT = 1


def judge_output(
    output: Path | None, *inputs: Path | None, model: Path | None = None, program: Path | None = None
) -> None:
    """Find out before a command works whether its output can be written and is nothing it reads.

    It reads ``inputs``, a ``model`` and its external weights, a ``program`` and the data file of its text. Raises
    PimcError.
    """
    if output is None:
        return
    from pimc_isa.files import check_output

    read = [path for path in (*inputs, model, program) if path is not None]
    check_output(output, read)
    if output.exists():  # else it is none of those either
        check_output(output, _named_in(model, program))


def _named_in(model: Path | None, program: Path | None) -> list[Path]:
    """Files that are read because a model or an assembly text names them."""
    from pimc.frontend import external_files
    from pimc_isa.text import data_files

    return [*(external_files(model) if model else []), *(data_files(program) if program else [])]


@contextmanager
def printing_beside(output: Path | None) -> Iterator[None]:
    """Print to stderr in the block if the output is standard output itself, so that nothing gets into the file."""
    from pimc_isa.files import place_of

    if output is None or place_of(output).descriptor != STDOUT:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield
