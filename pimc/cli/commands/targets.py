"""``pimc targets``: which chips there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimc.cli.options import Json, Quiet

if TYPE_CHECKING:
    from pimc.passes.target import Target

__all__ = ["targets"]

#: Flows of a target that are all shown.
_MOST = 4


def targets(
    peak: Annotated[bool, typer.Option("--peak", help="Peak rate, efficiency and density of every flow.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the installed targets.

    Example:

      pimc targets --peak
    """
    from pimc.cli.output import print_json, print_table, progress
    from pimc.targets import installed_targets

    with progress("reading machines and flows", quiet=quiet):
        found = installed_targets()
        values = [{**_values(t), **({"peak": _peak(t)} if peak else {})} for t in found]
    if json:
        print_json({"targets": values})
        return
    columns = ["target", "clock", "tiles", "arrays/tile", "array", "cell", "flows"]
    print_table("targets", columns, [_row(t) for t in found])
    if peak:
        rows = [
            [target.name, flow, *(_figure(v["peak"][flow][k]) for k in ("gops", "gops_per_watt", "gops_per_mm2"))]
            for target, v in zip(found, values, strict=True)
            for flow in _shown(target)
        ]
        print_table("peak", ["target", "flow", "GOPS/chip", "GOPS/W", "GOPS/mm2"], rows, left=2)


def _values(target: Target) -> dict[str, Any]:
    m = target.machine
    return {
        "name": target.name,
        "machine": m.name,
        "clock_hz": m.clock_hz,
        "tiles": m.chip.tiles,
        "arrays_per_tile": m.tile.arrays,
        "array": [m.array.rows, m.array.columns],
        "cell_bits": m.array.cell_bits,
        "flows": [flow.name for flow in target.flows],
    }


def _row(target: Target) -> list[str]:
    from pimc.cli.output import quantity

    v = _values(target)
    rows, columns = v["array"]
    return [
        v["name"],
        quantity(v["clock_hz"], "Hz"),
        str(v["tiles"]),
        str(v["arrays_per_tile"]),
        f"{rows}x{columns}",
        f"{v['cell_bits']} bit",
        ", ".join(_shown(target)) + (f" and {more} more" if (more := len(target.flows) - len(_shown(target))) else ""),
    ]


def _shown(target: Target) -> list[str]:
    """Names of its flows, or of its own choice where they are many."""
    return [flow.name for flow in target.flows] if len(target.flows) <= _MOST else [target.conv_flow]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _peak(target: Target) -> dict[str, dict[str, float]]:
    from dataclasses import asdict

    from pimc_isa.energy import peak

    return {flow.name: asdict(peak(target.machine, flow)) for flow in target.flows}
