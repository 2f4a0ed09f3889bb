"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Calibration",
    "Epitome",
    "InputShape",
    "Json",
    "MachineFile",
    "Noise",
    "NoiseModel",
    "Program",
    "Quiet",
    "Set",
    "input_shapes",
    "named_file",
    "target_options",
]

Program = Annotated[Path, typer.Argument(metavar="PROGRAM", help="A program file (.pim) or assembly text (.pimasm).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Noise = Annotated[
    int | None, typer.Option("--noise", metavar="SEED", min=0, help="Noisy hardware: the chip with this seed.")
]
NoiseModel = Annotated[
    str,
    typer.Option(
        "--noise-model",
        metavar="MODEL",
        help="device (with figures: device:cell=0.05,read=0.001,hold=0,peripherals=1), sinad=50 (dB, lumped), or "
        "column=0.06 (E of RAELLA's noise of column sums).",
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="X.npz|FOLDER",
        help="Typical inputs, arrays or pictures: they set scales and converter ranges.",
    ),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option("--input-shape", metavar="NAME=1,3,224,224", help="Fix an input's open dimensions (may be repeated)."),
]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A field of the machine (array.rows=64) or a target's own option (converter_bits=8); repeatable.",
    ),
]
MachineFile = Annotated[
    Path | None,
    typer.Option(
        "--machine", metavar="FILE.toml", help='Another machine; with extends = "isaac" only what differs is in it.'
    ),
]


Epitome = Annotated[
    str,
    typer.Option(
        "--epitome",
        metavar="exact|off|FILE",
        help="Epitomes that weights are made of: found and kept in all layers, in none, or in those that a file names, "
        "a name or pattern on each line.",
    ),
]


def named_file(epitome: str) -> Path | None:
    """The file that ``--epitome`` names."""
    return None if epitome in ("exact", "off") else Path(epitome)


def target_options(texts: list[str] | None) -> dict[str, str | int | float]:
    """Read ``name=value`` texts; values that are numbers become numbers. Raises BadParameter."""
    options: dict[str, str | int | float] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE", param_hint="--set")
        options[name] = _number(value)
    return options


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def input_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Read ``name=1,3,224,224`` texts. Raises BadParameter."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or []:
        name, _, dims = text.rpartition("=")
        try:
            shape = tuple(int(n) for n in dims.split(","))
        except ValueError:
            shape = ()
        if not name or not shape or min(shape) < 1:
            raise typer.BadParameter(f"{text!r} is not of the form NAME=1,3,224,224", param_hint="--input-shape")
        shapes[name] = shape
    return shapes
