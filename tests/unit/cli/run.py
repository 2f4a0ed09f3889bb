"""Runs the command line in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from inspect import signature
from typing import Any

from typer.testing import CliRunner

from pimc.cli.main import app

__all__ = ["Done", "pimc"]


#: Before 8.2 click mixed the two streams unless it was told not to.
_APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
_RUNNER = CliRunner(**_APART)


@dataclass(frozen=True)
class Done:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


def pimc(*args: object) -> Done:
    """Run ``pimc ARGS``; an exception that gets through is raised."""
    result = _RUNNER.invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)
