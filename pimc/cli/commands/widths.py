"""``pimc widths``: bits of every layer's weights for a budget, into a plan file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimc.cli.options import (
    Calibration,
    Epitome,
    InputShape,
    Json,
    MachineFile,
    Quiet,
    Set,
    input_shapes,
    named_file,
    target_options,
)
from pimc.cli.shared import Pictures, Quantiser, with_pictures, with_quantiser

if TYPE_CHECKING:
    from pimc.widths import WidthChoice

__all__ = ["widths"]


@with_pictures
@with_quantiser
def widths(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="A float ONNX model.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PLAN.toml", help="Where to write (default: print it).")
    ] = None,
    arrays: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The budget: crossbars of one copy of the weights.")
    ] = None,
    mean_bits: Annotated[
        float | None, typer.Option(min=1, max=8, metavar="X", help="The budget: mean bits of a stored weight.")
    ] = None,
    tried: Annotated[
        str, typer.Option("--widths", metavar="B,B,...", help="Bits that a layer may have, the sign included.")
    ] = "8,7,6,5,4,3",
    images: Annotated[int, typer.Option(min=1, help="Calibration images that noise is measured on.")] = 16,
    target: Annotated[str, typer.Option(help="The chip whose crossbars count; 'pimc targets' lists them.")] = "isaac",
    calibration: Calibration = None,
    pictures: Pictures,
    quantiser: Quantiser,
    epitome: Epitome = "exact",
    input_shape: InputShape = None,
    machine: MachineFile = None,
    set_: Set = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose the bits of every layer's weights: the least noise of the network for a budget.

    Each layer is narrowed alone, and the noise of the model's outputs is measured on calibration images. The choice is
    the best there is, as far as noise of several layers adds up; 'pimc compile --plan' takes the file.

    Examples:

      pimc widths net.onnx --calibration images.npz --arrays 400 -o widths.toml

      pimc widths net.onnx --calibration images.npz --mean-bits 3.5 --set encoder=differential -o widths.toml

      pimc compile net.onnx --calibration images.npz --plan widths.toml
    """
    from pimc import driver
    from pimc.cli.files import judge_output, printing_beside
    from pimc.cli.output import print_json, progress
    from pimc.frontend.trials import WidthTrials
    from pimc.widths import choose_widths
    from pimc_isa.files import write_text

    judge_output(output, calibration, machine, named_file(epitome), model=model)
    shapes, bits = input_shapes(input_shape), _numbers(tried)
    with progress("reading the model", quiet=quiet) as say:
        options: dict[str, Any] = {"replication": "none", **target_options(set_)}
        chosen, steps = driver.choose(target, machine=machine, **options)
        trials = WidthTrials.of(
            model,
            pictures.calibration(calibration),
            input_shapes=shapes,
            quantiser=quantiser.options,
            epitome=epitome,
            progress=say,
        )
        how: dict[str, Any] = {"arrays": arrays, "mean_bits": mean_bits, "widths": bits, "images": images}
        found = choose_widths(trials, chosen, steps, progress=say, **how)
    if output is not None:
        write_text(output, found.plan())
    with printing_beside(output):
        if json:
            print_json(_values(found, output))
        elif output is None:
            typer.echo(found.plan(), nl=False)
        else:
            _print(found, "crossbars" if arrays is not None else "bits")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of bits as 8,5,3", param_hint="--widths") from None


def _values(found: WidthChoice, output: Path | None) -> dict[str, Any]:
    rows = [{"layers": list(r.layers), "bits": r.bits, "cost": r.cost, "noise": r.noise} for r in found.layers]
    total = {"cost": found.cost, "budget": found.budget, "mean_bits": found.mean_bits}
    plan = {"plan": str(output)} if output is not None else {"text": found.plan()}
    return {**plan, **total, "noise": found.noise, "noise_measured": found.measured, "layers": rows}


def _print(found: WidthChoice, unit: str) -> None:
    from pimc.cli.output import print_table, say

    rows = [[", ".join(r.layers), str(r.bits), f"{r.cost:,}", f"{r.noise:.2g}"] for r in found.layers]
    title = f"{found.cost:,} of {found.budget:,} {unit}, {found.mean_bits:.2f} bits on average"
    print_table(title, ["layer", "bits", unit, "noise alone"], rows)
    say(f"noise of the outputs over their power: {found.measured:.2g}; of the layers alone together {found.noise:.2g}")
