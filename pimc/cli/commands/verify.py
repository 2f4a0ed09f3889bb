"""``pimc verify``: every tensor against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimc.cli.group import NO
from pimc.cli.options import Json, Program, Quiet

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

__all__ = ["verify", "without_labels"]


def verify(
    program: Program,
    data: Annotated[Path | None, typer.Option(metavar="X.npz", help="Images (default: synthetic ones).")] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="Y.npy", help="A class for each image: gives accuracy.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Number of synthetic images.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic images.")] = 0,
    fp32: Annotated[Path | None, typer.Option(metavar="FLOAT.onnx", help="Also the accuracy of this model.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images compared at once.")] = None,
    every: Annotated[bool, typer.Option("--all", help="List every tensor, not only those that differ.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare every tensor of a program with onnxruntime, element by element.

    PASS means that nothing differs (exit code 0), FAIL that something does (1). The program holds its reference model.

    Examples:

      pimc verify net.pim

      pimc verify net.pim --data test.npz --labels test.npz --fp32 float.onnx
    """
    from pimc.cli.output import print_json, progress
    from pimc.cli.tables import print_verdict
    from pimc.data import load_arrays, load_labels
    from pimc.driver import load
    from pimc.verify import verify as compare

    with progress("loading", quiet=quiet) as say:
        loaded = load(program)
        report = compare(
            loaded.program,
            None if data is None else without_labels(load_arrays(data)),
            None if labels is None else load_labels(labels),
            images=images,
            seed=seed,
            fp32=fp32,
            batch=batch,
            progress=say,
        )
    if json:
        print_json(report.to_dict())
    else:
        print_verdict(report, every=every)
    raise typer.Exit(0 if report.passed else NO)


def without_labels(arrays: dict[str, Array]) -> dict[str, Array]:
    """Images beside their labels in one file: the labels are no input."""
    return {name: array for name, array in arrays.items() if name != "labels"} if len(arrays) > 1 else arrays
