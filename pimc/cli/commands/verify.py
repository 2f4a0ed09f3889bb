"""``pimc verify``: every tensor against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimc.cli.group import NO
from pimc.cli.options import Json, Noise, NoiseModel, Program, Quiet
from pimc.cli.shared import Pictures, with_pictures

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

__all__ = ["verify", "without_labels"]


@with_pictures
def verify(
    *,
    program: Program,
    data: Annotated[Path | None, typer.Option(metavar="X.npz", help="Images (default: synthetic ones).")] = None,
    pictures: Pictures,
    labels: Annotated[
        Path | None, typer.Option(metavar="Y.npy", help="A class for each image: gives accuracy.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Number of synthetic images.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic images.")] = 0,
    fp32: Annotated[Path | None, typer.Option(metavar="FLOAT.onnx", help="Also the accuracy of this model.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="MODEL.onnx", help="Also compare the outputs with this model's: your own file."),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images compared at once.")] = None,
    noise: Noise = None,
    noise_model: NoiseModel = "device",
    trials: Annotated[int, typer.Option(min=1, help="Noisy chips, with consecutive seeds (needs --noise).")] = 1,
    every: Annotated[bool, typer.Option("--all", help="List every tensor, not only those that differ.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare every tensor of a program with onnxruntime, element by element.

    PASS means that nothing differs (exit code 0), FAIL that something does (1). The program holds its reference model:
    the quantised one it was compiled from, or what your float model was quantised to. --model compares the outputs with
    a file of yours as well, in a session as you would open it.
    LOSSY (also 1: equality is the verdict) stands for FAIL where the program does not claim to be exact, because its
    converters may clip or round, its peripherals are not ideal, or --noise was given. --trials gives means over chips.

    Examples:

      pimc verify net.pim

      pimc verify net.pim --data test.npz --model int8.onnx

      pimc verify net.pim --data test.npz --labels test.npz --fp32 float.onnx

      pimc verify net.pim --data test.npz --labels test.npz --noise 1 --trials 10 --noise-model sinad=45
    """
    from pimc.cli.output import print_json, progress
    from pimc.cli.tables import print_trials, print_verdict
    from pimc.data import load_labels
    from pimc.driver import load
    from pimc.verify import verify as compare
    from pimc.verify import verify_trials
    from pimc_isa.engines.noise import parse_noise

    if trials > 1 and noise is None:
        raise typer.BadParameter("chips without noise are all the same; add --noise SEED", param_hint="--trials")
    with progress("loading", quiet=quiet) as say:
        loaded = load(program)
        arrays = None if data is None else without_labels(pictures.inputs(data, loaded.program.inputs))
        classes = None if labels is None else load_labels(labels)
        options: dict[str, Any] = {
            "images": images,
            "seed": seed,
            "fp32": fp32,
            "own": model,
            "batch": batch,
            "progress": say,
        }
        if trials > 1 and noise is not None:
            chips = verify_trials(
                loaded.program, arrays, classes, noise=noise, model=noise_model, trials=trials, **options
            )
        else:
            chip = None if noise is None else parse_noise(noise, noise_model)
            report = compare(loaded.program, arrays, classes, noise=chip, **options)
    if trials > 1:
        if json:
            print_json(chips.to_dict())
        else:
            print_trials(chips)
        raise typer.Exit(0 if chips.passed else NO)
    if json:
        print_json(report.to_dict())
    else:
        print_verdict(report, every=every)
    raise typer.Exit(0 if report.passed else NO)


def without_labels(arrays: dict[str, Array]) -> dict[str, Array]:
    """Images beside their labels in one file: the labels are no input."""
    return {name: array for name, array in arrays.items() if name != "labels"} if len(arrays) > 1 else arrays
