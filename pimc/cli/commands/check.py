"""``pimc check``: where every node of a model would run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimc.cli.group import NO
from pimc.cli.options import Calibration, Epitome, InputShape, Json, Quiet, input_shapes
from pimc.cli.shared import Pictures, Quantiser, with_pictures, with_quantiser

if TYPE_CHECKING:
    from pimc.frontend import CheckReport
    from pimc.passes.base import Pass
    from pimc.passes.target import Target

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
    epitome: Epitome = "exact",
    target: Annotated[str, typer.Option(help="The chip on whose crossbars epitomes are folded.")] = "isaac",
    input_shape: InputShape = None,
    every: Annotated[
        bool, typer.Option("--all", help="List every node, not only those that are not on the chip.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say for every node where it would run: on the chip, as a table, on the host, or not at all, and why.

    Layers whose weights are epitomes are listed with the weights for each stored cell, and what becomes of them on a
    target: the crossbars that one copy takes, and the rounds that a position then takes.

    Exit code 0 if the model compiles, 1 if it does not.

    Examples:

      pimc check net.onnx

      pimc check float.onnx --calibration images.npz --all

      pimc check net.onnx --target raella
    """
    from dataclasses import asdict

    from pimc import driver
    from pimc.cli.output import print_json, progress, say
    from pimc.frontend import check_model
    from pimc.passes.choose_ranges import needs_calibration

    shapes = input_shapes(input_shape)
    chosen, steps = driver.choose(target)
    with progress("reading the model", quiet=quiet) as tell:
        report = check_model(
            model,
            calibration=pictures.calibration(calibration),
            input_shapes=shapes,
            progress=tell,
            quantiser=quantiser.options,
            epitome=epitome,
            calibrate=needs_calibration(chosen, steps),
        )
        epitomes = _folded(report, chosen, steps)
    if json:
        values = {
            "supported": report.supported,
            "nodes": len(report.nodes),
            "host_nodes": sum(n.where == "host" for n in report.nodes),
            "unsupported_nodes": sum(n.where == "unsupported" for n in report.nodes),
            "on_chip_macs_fraction": report.on_chip_macs_fraction,
            "error": report.error or None,
            "target": target,
            "epitomes": epitomes or None,
            "by_node": [asdict(n) for n in report.nodes],
        }
        print_json(values)
    else:
        _print(report, every)
        _print_epitomes(epitomes, target)
        verdict = "this model compiles" if report.supported else f"this model does not compile: {report.error}"
        for line in verdict.split("\n"):
            say(line)
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


def _folded(report: CheckReport, target: Target, steps: Sequence[Pass]) -> dict[str, dict[str, Any]]:
    """The layers with epitomes: shapes, weights, and what a target does with them, as the program's summary has it."""
    from json import loads

    from pimc.passes.fold_epitomes import FoldEpitomes
    from pimc.passes.manager import run_passes

    graph = report.graph
    if graph is None or "epitomes" not in graph.meta or not report.supported:
        return {}
    if any(isinstance(step, FoldEpitomes) for step in steps):
        graph = run_passes(graph, steps, target, stop_after=FoldEpitomes.name)
    found: dict[str, dict[str, Any]] = loads(graph.meta["epitomes"])
    return found


def _print_epitomes(layers: dict[str, dict[str, Any]], target: str) -> None:
    from pimc.cli.output import print_table

    rows = []
    for name, layer in layers.items():
        p, q = layer["stored"]
        dense, held = layer.get("arrays", ("-", "-"))
        rounds = layer.get("rounds")
        row = f"{p}x{q}", f"{layer['weights'] / (p * q):.3g}", str(dense), str(held), str(rounds or "dense")
        rows.append([name, *row])
    if rows:
        heads = ["layer", "stored", "weights per cell", f"arrays on {target}", "folded", "rounds"]
        print_table("epitomes", heads, rows, left=1)
