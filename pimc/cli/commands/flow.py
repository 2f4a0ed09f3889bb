"""``pimc flow``: analog micro-programs by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pimc.cli.group import NO
from pimc.cli.options import Json, MachineFile, Quiet

__all__ = ["flow"]

flow = typer.Typer(no_args_is_help=True, help="Analog micro-programs (.flow files) by themselves.")


@flow.callback()
def _group() -> None:
    """Analog micro-programs (.flow files) by themselves."""


@flow.command("check")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE.flow", help="A flow.")],
    target: Annotated[str, typer.Option(help="The chip whose machine is meant; 'pimc targets' lists them.")] = "isaac",
    machine: MachineFile = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say whether a machine can run a flow at its interval, and what the flow computes.

    Exit code 0 if it can, 1 if it cannot: the message names the file and the line.

    Examples:

      pimc flow check mine.flow

      pimc flow check mine.flow --target neural-pim --machine wider.toml
    """
    from pimc.cli.output import print_json, say
    from pimc.machines import read_machine
    from pimc.targets import find_target
    from pimc_isa.errors import FlowError
    from pimc_isa.extensions import load_extensions
    from pimc_isa.flow.file import judge_flow_file

    load_extensions()
    chip = find_target(target).machine()
    if machine is not None:
        chip = read_machine(machine, lambda name: find_target(name).machine())
    try:
        found, form = judge_flow_file(file, chip)
    except FlowError as error:
        if json:
            print_json({"legal": False, "error": str(error)})
        else:
            for line in str(error).split("\n"):
                say(line)
        raise typer.Exit(NO) from None
    ranged = any(block.conversion is not None and block.conversion.ranged for block in form.blocks)
    sides = 2 if form.sides else 1
    values = {
        "legal": True,
        "machine": chip.name,
        "flow": found.name,
        "input_slices": len({i for block in form.blocks for i, _ in block.pairs}),
        "weight_slices": len(form.weight_shifts),
        "conversions_of_an_output": len(form.blocks) * sides,
        "conversions_of_flagged_sums": sum(len(block.refinement) for block in form.blocks) * sides,
        "ranged": ranged,
        "interval_cycles": found.interval_cycles,
        "latency_cycles": found.latency_cycles,
    }
    if json:
        print_json(values)
        return
    say(f"{found.name} runs on {chip.name}: {len(found.ops)} micro-operations")
    say(
        f"{values['input_slices']} slices of inputs, {values['weight_slices']} of weights, "
        f"{values['conversions_of_an_output']} conversions of an output{' to ranged codes' if ranged else ''}"
    )
    if values["conversions_of_flagged_sums"]:
        say(f"up to {values['conversions_of_flagged_sums']} more, where conversions give an end code")
    say(f"a position every {found.interval_cycles} cycles, {found.latency_cycles} from start to end")
