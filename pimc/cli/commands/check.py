"""``pimc check``: where every node of a model would run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimc.cli.group import NO
from pimc.cli.options import Calibration, InputShape, Json, Quiet, input_shapes
from pimc.cli.shared import Pictures, Quantiser, with_pictures, with_quantiser

if TYPE_CHECKING:
    from pimc.frontend import CheckReport

__all__ = ["check"]

#: Where a node can run, in the order of the summary.
PLACES = {
    "chip": "on crossbars or in a vector unit",
    "table": "a table of 256 entries",
    "relabel": "without work",
    "move": "copies only",
    "host": "on the host",
}


@with_pictures
@with_quantiser
def check(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX model, float or 8-bit.")],
    calibration: Calibration = None,
    pictures: Pictures,
    quantiser: Quantiser,
    input_shape: InputShape = None,
    every: Annotated[
        bool, typer.Option("--all", help="List every node, not only those that are not on the chip.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say for every node where it would run: on the chip, as a table, on the host, or not at all, and why.

    Exit code 0 if the model compiles, 1 if it does not.

    Examples:

      pimc check net.onnx

      pimc check float.onnx --calibration images.npz --all
    """
    from dataclasses import asdict

    from pimc.cli.output import print_json, progress
    from pimc.frontend import check_model

    shapes = input_shapes(input_shape)
    with progress("reading the model", quiet=quiet) as say:
        report = check_model(
            model,
            calibration=pictures.calibration(calibration),
            input_shapes=shapes,
            progress=say,
            quantiser=quantiser.options,
        )
    if json:
        values = {
            "supported": report.supported,
            "nodes": len(report.nodes),
            "host_nodes": sum(n.where == "host" for n in report.nodes),
            "unsupported_nodes": sum(n.where == "unsupported" for n in report.nodes),
            "on_chip_macs_fraction": report.on_chip_macs_fraction,
            "error": report.error or None,
            "by_node": [asdict(n) for n in report.nodes],
        }
        print_json(values)
    else:
        _print(report, every)
    raise typer.Exit(0 if report.supported else NO)


def _print(report: CheckReport, every: bool) -> None:
    from pimc.cli.output import counted, percent, print_table, quantity, say

    shown = [n for n in report.nodes if every or n.where in {"host", "unsupported"}]
    if shown:
        rows = [
            [n.node, n.op_type, n.where, quantity(n.macs, "MAC") if n.macs else "-", n.reason or "-"] for n in shown
        ]
        print_table("nodes", ["node", "operator", "where", "MACs", "why"], rows, left=3)
    for place, words in PLACES.items():
        nodes = [n for n in report.nodes if n.where == place]
        if nodes:
            macs = sum(n.macs for n in nodes)
            say(f"{counted(len(nodes), 'node')} {words}" + (f", {quantity(macs, 'MAC')}" if macs else ""))
    say(f"{percent(report.on_chip_macs_fraction)} of the multiplications on crossbars")
    verdict = "this model compiles" if report.supported else f"this model does not compile: {report.error}"
    for line in verdict.split("\n"):
        say(line)
