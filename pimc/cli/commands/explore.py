"""``pimc explore``: a target's design space."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from pimc.cli.options import Json, Quiet

if TYPE_CHECKING:
    from pimc.explore import Exploration

__all__ = ["explore"]

#: The network that every point is compiled for unless another is named: small enough for the smallest arrays.
NETWORK = "squeezenet1_1"


class GridCommand(TyperCommand):
    """A command whose ``--grid`` takes all the values that follow it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat ``--grid`` before every further value."""
        spread: list[str] = []
        inside = False
        for arg in args:
            if arg.startswith("-"):
                inside = arg == "--grid"
            elif inside and "=" in arg and spread[-1] != "--grid":
                spread.append("--grid")
            spread.append(arg)
        rest: list[str] = super().parse_args(ctx, spread)
        return rest


def explore(
    target: Annotated[str, typer.Option(help="A target with a design space.")] = "neural-pim",
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="P=V,V,...", help="Values of a parameter; several may follow each other."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL.onnx", help=f"An 8-bit network (default: a seeded {NETWORK}).")
    ] = None,
    peak_only: Annotated[bool, typer.Option("--peak-only", help="Compile no network.")] = False,
    assume: Annotated[
        list[str] | None, typer.Option(metavar="NAME=OPTION", help="An assumption other than the default.")
    ] = None,
    area: Annotated[
        float | None, typer.Option(min=0.0, metavar="MM2", help="Area of tiles (default: what every point needs).")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Parallel processes (default: one for each core).")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run the points on this Dask cluster (tcp://HOST:PORT).")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="F.svg", help="Also write a figure.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score every point of a grid of a target's parameters: peak per area, and a network's program at equal area.

    For every point the machine description is scaled by the rules of the target's design space, the flow is scheduled
    anew, and the network is compiled and timed. Below the table: whether the best point is the published one, and which
    assumptions would move it.

    Examples:

      pimc explore --target neural-pim --grid N=32,64,128 D=1,2,4 A=1,2,4 S=64,128

      pimc explore --grid A=2,4 M=64,128 --assume logic=io --model net.onnx --scheduler tcp://head:8786 -o space.svg
    """
    from pimc.cli.files import judge_output, printing_beside
    from pimc.cli.output import print_json, progress
    from pimc.explore import explore as run
    from pimc.explore.figure import figure
    from pimc_isa.files import write_text

    judge_output(output, model=model)
    with progress("exploring", quiet=quiet) as say:
        network, data = ("", None) if peak_only else _model(model)
        found = run(
            target,
            grid or [],
            model=data,
            network=network,
            assumptions=_assumptions(assume or []),
            area_mm2=area or None,
            jobs=jobs or os.cpu_count() or 1,
            scheduler=scheduler,
            progress=say,
        )
    if output is not None:
        write_text(output, figure(found))
    with printing_beside(output):
        if json:
            print_json(found.to_dict())
        else:
            _print(found)


def _model(path: Path | None) -> tuple[str, bytes]:
    """The network's name and its quantised model."""
    from pimc.frontend import load_model

    if path is None:
        from pimc_models import zoo

        return NETWORK, zoo.build_int8(NETWORK).SerializeToString(deterministic=True)
    graph = load_model(path)
    return graph.name or path.stem, graph.reference


def _assumptions(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, option = text.partition("=")
        if not equals or not name or not option:
            raise typer.BadParameter(f"{text!r} is not of the form NAME=OPTION", param_hint="--assume")
        found[name] = option
    return found


def _print(found: Exploration) -> None:
    from pimc.cli.output import print_table
    from pimc.explore.text import sentences

    columns = ["point", "steps", "mm2/tile", "GOPS/s/mm2", "GOPS/s/W"]
    if found.network:
        columns += ["images/s", "mJ/image", "tiles"]
    rows = []
    for scored in sorted(found.points, key=lambda s: (-s.peak.gops_per_mm2, s.point)):
        peak, network = scored.peak, scored.network
        if peak.error:
            rows.append([found.name(scored.point), *["-"] * (len(columns) - 1)])
            continue
        row = [found.name(scored.point), str(peak.interval_steps), f"{peak.tile_mm2:.4f}"]
        row += [f"{peak.gops_per_mm2:,.0f}", f"{peak.gops_per_watt:,.0f}"]
        if network is not None:
            fits = [f"{network.images_per_second:,.0f}", f"{network.joules * 1e3:.3f}", str(network.tiles)]
            row += ["does not fit", "-", "-"] if network.error else fits
        rows.append(row)
    title = f"{found.target}: {len(rows)} points" + (f", {found.area_mm2:.4g} mm2 each" if found.network else "")
    print_table(title, columns, rows)
    for sentence in sentences(found):
        print(sentence)
    for scored in found.points:
        if scored.peak.error:
            print(f"{found.name(scored.point)}: {scored.peak.error}")
            break
