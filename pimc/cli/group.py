"""How every command ends: the exit code is the verdict, errors are one to three lines, a traceback is a bug.

0: done, and the answer is yes. 1: done, and the answer is no. 2: bad input, or (and then it says so) a bug in pimc.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["NO", "Commands"]

NO = 1
BAD_INPUT = 2


class Commands(TyperGroup):
    """A group of commands that turns exceptions into messages on stderr and exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List commands in the order of declaration, which is the order of use."""
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; ``--debug`` lets exceptions through."""
        from pimc_isa.errors import PimcError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.showwarning = _warn
                return super().invoke(ctx)
        except PimcError as error:
            _stop(ctx, str(error), BAD_INPUT)
        except BrokenPipeError:
            # The reader of our output has closed it (pimc disasm | head); the interpreter must not complain at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            _stop(ctx, _describe(error), BAD_INPUT)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except MemoryError:
            _stop(ctx, "out of memory; use a smaller batch (--batch) or a smaller network", BAD_INPUT)
        except Exception as error:
            if type(error).__module__.split(".")[0] in {"typer", "click"}:
                raise
            if ctx.params.get("debug"):
                raise
            kind = type(error).__name__
            _stop(
                ctx,
                f"{kind}: {error}\nthis is a bug in pimc; run with 'pimc --debug ...' and report the output",
                BAD_INPUT,
            )


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Show a warning of ours in one line; those of other packages tell a user nothing."""
    if category.__module__.split(".")[0].startswith("pimc"):
        from pimc_isa.errors import shown

        typer.echo(f"warning: {shown(str(message))}", err=True)


def _stop(ctx: Any, message: str, code: int) -> None:
    if ctx.params.get("debug"):
        raise
    from pimc_isa.errors import clipped

    lines = clipped(message or "unknown error", 7).split("\n")
    typer.echo("\n".join([f"error: {lines[0]}", *(f"  {line}" for line in lines[1:])]), err=True)
    raise typer.Exit(code) from None


def _describe(error: OSError) -> str:
    """A sentence for what the operating system refused."""
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what
