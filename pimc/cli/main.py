"""The ``pimc`` command: one function for each subcommand, in the order of use."""

from __future__ import annotations

from typing import Annotated

import typer

from pimc.cli.commands.assembly import asm, disasm
from pimc.cli.commands.check import check
from pimc.cli.commands.compare import compare
from pimc.cli.commands.compile import compile_command
from pimc.cli.commands.demo import demo
from pimc.cli.commands.explore import GridCommand, explore
from pimc.cli.commands.flow import flow
from pimc.cli.commands.opt import opt
from pimc.cli.commands.run import run
from pimc.cli.commands.targets import targets
from pimc.cli.commands.verify import verify
from pimc.cli.commands.widths import widths
from pimc.cli.group import Commands

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from pimc import __version__
        from pimc_isa import ISA_VERSION

        typer.echo(f"pimc {__version__} (ISA {ISA_VERSION})")
        raise typer.Exit


@app.callback()
def pimc(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Compile CNNs to analog processing-in-memory chips, run them bit for bit and cycle by cycle, and prove it."""


app.command("compile")(compile_command)
app.command("check")(check)
app.command("opt")(opt)
app.command("run")(run)
app.command("verify")(verify)
app.command("compare")(compare)
app.command("widths")(widths)
app.command("explore", cls=GridCommand)(explore)
app.command("disasm")(disasm)
app.command("asm")(asm)
app.command("targets")(targets)
app.add_typer(flow, name="flow")
app.command("demo")(demo)


def main() -> None:
    """Run the command line."""
    app(prog_name="pimc")


if __name__ == "__main__":
    main()
