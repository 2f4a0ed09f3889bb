"""``pimc compare``: one network on several chips of the same area."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimc.cli.commands.compile import Replication
from pimc.cli.options import Calibration, Epitome, InputShape, Json, Quiet, input_shapes
from pimc.cli.shared import Pictures, Quantiser, with_pictures, with_quantiser

if TYPE_CHECKING:
    from collections.abc import Callable

    from pimc.comparison import Comparison
    from pimc.comparison.figures import Figures

__all__ = ["compare"]


@with_pictures
@with_quantiser
def compare(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX model, float or 8-bit.")],
    targets: Annotated[
        str, typer.Option(metavar="T,T:OPTION=VALUE,...", help="The chips; 'pimc targets' lists them.")
    ] = "isaac",
    area: Annotated[
        float | None, typer.Option(metavar="MM2", help="Area of tiles for each (default: what the neediest needs).")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="X.npz", help="Images (default: synthetic ones).")] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="Y.npy", help="A class for each image: gives accuracy.")
    ] = None,
    images: Annotated[int, typer.Option(min=0, help="Synthetic images; 0 measures no fidelity.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic images.")] = 0,
    calibration: Calibration = None,
    pictures: Pictures,
    quantiser: Quantiser,
    epitome: Epitome = "exact",
    input_shape: InputShape = None,
    replication: Annotated[
        Replication | None, typer.Option(help="How spare crossbars hold further copies of weights.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compile a network for several chips, each with the same area of tiles, and compare the programs.

    Equal area: every target gets as many tiles as fit --area, on the chips these fill, and spreads the network over
    them; what a chip has once does not count. Without --area it is the area of the fewest whole chips that hold the
    network, of the target that needs most. Energy and conversions are of one image; the host's are not counted.

    Examples:

      pimc compare net.onnx --targets isaac,cascade,neural-pim

      pimc compare net.onnx --targets neural-pim,neural-pim:ranges=published --data test.npz --labels test.npz
    """
    from pimc.cli.commands.verify import without_labels
    from pimc.cli.output import print_json, progress
    from pimc.comparison import compare as run
    from pimc.data import load_arrays, load_labels

    with progress("importing", quiet=quiet) as say:
        result = run(
            model,
            [text.strip() for text in targets.split(",") if text.strip()],
            area_mm2=area,
            data=None if data is None else without_labels(load_arrays(data)),
            labels=None if labels is None else load_labels(labels),
            images=images,
            seed=seed,
            calibration=pictures.calibration(calibration),
            quantiser=quantiser.options,
            epitome=epitome,
            input_shapes=input_shapes(input_shape),
            replication=None if replication is None else replication.value,
            progress=say,
        )
    if json:
        print_json(result.to_dict())
    else:
        _print(result)


def _print(result: Comparison) -> None:
    from pimc.cli.output import print_table, say

    rows = [[name, *(show(f) for f in result.targets)] for name, show in _lines(result)]
    title = f"{result.network}: {result.area_mm2:.4g} mm2 of tiles each"
    print_table(title, ["one image", *(f.target for f in result.targets)], rows)
    if result.data != "none":
        say(f"fidelity: {result.targets[0].fidelity.images if result.targets[0].fidelity else 0} {result.data}")


def _lines(result: Comparison) -> list[tuple[str, Callable[[Figures], str]]]:
    """The rows of the table, those of fidelity only where it was measured."""
    from pimc.cli.output import percent, quantity

    lines: list[tuple[str, Callable[[Figures], str]]] = [*_fidelity(result)]
    lines += [
        ("conversions", lambda f: f"{f.conversions:,}"),
        ("  proved exact", lambda f: percent(f.conversions_proved)),
        ("images per second", lambda f: f"{f.images_per_second:,.1f}"),
        ("latency", lambda f: quantity(f.latency_seconds, "s")),
        ("energy, dynamic", lambda f: ("up to " if f.energy_is_bound else "") + quantity(f.joules, "J")),
    ]
    parts = {name: None for f in result.targets for name in sorted(f.energy, key=lambda n: (-f.energy[n], n))}
    lines += [(f"  {name}", _component(name)) for name in parts]
    lines += [
        ("energy, always-on parts too", lambda f: quantity(f.joules_with_static, "J")),
        ("energy, whole chips all the time", lambda f: quantity(f.whole_chips_joules, "J")),
    ]
    lines += [
        ("arrays", lambda f: f"{f.arrays:,}"),
        ("  of one copy", lambda f: f"{f.arrays_one_copy:,}"),
        ("tiles", lambda f: f"{f.tiles} of {f.tiles_allowed}"),
        ("chips", lambda f: str(f.chips)),
    ]
    return lines


def _component(name: str) -> Callable[[Figures], str]:
    from pimc.cli.output import quantity

    return lambda f: quantity(f.energy[name], "J") if name in f.energy else "-"


def _fidelity(result: Comparison) -> list[tuple[str, Callable[[Figures], str]]]:
    from pimc.cli.output import percent

    measured = [f.fidelity for f in result.targets if f.fidelity]
    lines: list[tuple[str, Callable[[Figures], str]]] = []
    if any(m.accuracy is not None for m in measured):
        lines.append(("accuracy", lambda f: _share(f.fidelity.accuracy if f.fidelity else None)))
        first = next(m.accuracy_int8 for m in measured if m.accuracy_int8 is not None)
        lines.append(("  of the int8 model", lambda f: percent(first)))
    if any(m.top1_agreement is not None for m in measured):
        lines.append(("same class as onnxruntime", lambda f: _share(f.fidelity.top1_agreement if f.fidelity else None)))
    if measured:
        lines.append(("outputs: SNR", _snr))
    return lines


def _snr(figures: Figures) -> str:
    if figures.fidelity is None:
        return "-"
    if figures.fidelity.exact:
        return "exact"
    return "-" if figures.fidelity.snr_db is None else f"{figures.fidelity.snr_db:.1f} dB"


def _share(value: float | None) -> str:
    from pimc.cli.output import percent

    return "-" if value is None else percent(value)
