"""What a program's origin (``meta``) says to those who run it: onnxruntime's options, and tensors with a tolerance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from pimc_isa.errors import ProgramError
from pimc_isa.program import Program

__all__ = ["inexact_tensors", "meta_problems", "session_entries"]


def session_entries(program: Program) -> Mapping[str, str]:
    """Configuration entries of onnxruntime sessions (``ort_config``). Raises ProgramError."""
    return _strings(program, "ort_config")


def inexact_tensors(program: Program) -> Mapping[str, str]:
    """Tensors that onnxruntime itself may compute in float, and why (``inexact``). Raises ProgramError."""
    return _strings(program, "inexact")


def meta_problems(program: Program) -> Iterator[str]:
    """What is wrong with them."""
    for read in (session_entries, inexact_tensors):
        try:
            read(program)
        except ProgramError as error:
            yield str(error)


def _strings(program: Program, key: str) -> Mapping[str, str]:
    try:
        values = json.loads(program.meta.get(key, "{}"))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ProgramError(f"meta '{key}' is not a JSON object of texts")
    return values
