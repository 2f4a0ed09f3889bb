"""``pimc run``: outputs, cycles, energy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimc.cli.options import Json, Noise, NoiseModel, Program, Quiet
from pimc.cli.shared import Pictures, with_pictures

if TYPE_CHECKING:
    from pimc.driver import RunResult
    from pimc.report.layers import LayerReport

__all__ = ["result_values", "run"]


@with_pictures
def run(
    *,
    program: Program,
    data: Annotated[Path, typer.Option("--input", "-i", metavar="X.npz", help="Inputs by name (.npz), or one (.npy).")],
    pictures: Pictures,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="Y.npz", help="Write the outputs (.npz, or .npy for one).")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images run at once (default: as memory allows).")] = None,
    noise: Noise = None,
    noise_model: NoiseModel = "device",
    trace: Annotated[
        Path | None,
        typer.Option(metavar="T.json", help="Write what every unit did when, for Perfetto or chrome://tracing."),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Print a table of the layers.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run images through a program: outputs, cycles, energy.

    Timing and energy are those of a pipeline filled by a stream of images. The host's own energy is not counted.

    Examples:

      pimc run net.pim --input images.npz -o logits.npz

      pimc run net.pim --input image.npy --json

      pimc run net.pim --input photos/ --size 256 --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4

      pimc run net.pim --input images.npz --trace net.json

      pimc run net.pim --input images.npz -o noisy.npz --noise 1 --noise-model sinad=50
    """
    from pimc.cli.files import judge_output, printing_beside
    from pimc.cli.output import progress
    from pimc.data import save_arrays
    from pimc.driver import load
    from pimc.report.layers import layer_report
    from pimc.report.trace import write_trace
    from pimc_isa.engines.noise import parse_noise

    judge_output(output, data, program=program)
    judge_output(trace, data, output, program=program)
    with progress("loading", quiet=quiet) as say:
        loaded = load(program)
        say("running")
        chip = None if noise is None else parse_noise(noise, noise_model)
        result = loaded.run(pictures.inputs(data, loaded.program.inputs), batch=batch, noise=chip, progress=say)
        table = layer_report(loaded.program, loaded.timing, result.energy, loaded.interval_cycles) if layers else []
        if trace is not None:
            say("writing the trace")
            write_trace(loaded.program, trace)
    if output is not None:
        save_arrays(output, result.outputs)
    with printing_beside(output):
        if json:
            _print_json(result, output, table if layers else None)
        else:
            _print(result, table)


def _print_json(result: RunResult, output: Path | None, layers: list[LayerReport] | None) -> None:
    from pimc.cli.output import print_json

    extra: dict[str, Any] = {"output": str(output)} if output else {}
    if layers is not None:
        extra["layers"] = [layer.to_dict() for layer in layers]
        extra["counts"] = {layer: dict(actions) for layer, actions in result.counts.layers.items()}
    print_json({**result_values(result), **extra})


def _print(result: RunResult, layers: list[LayerReport]) -> None:
    if layers:
        from pimc.cli.tables import print_layers

        print_layers(layers)
    print_result(result)


def result_values(result: RunResult) -> dict[str, Any]:
    """Return the figures of a run as plain values."""
    return {
        "images": result.images,
        "cycles": result.cycles,
        "latency_cycles": result.latency_cycles,
        "interval_cycles": result.interval_cycles,
        "seconds": result.seconds,
        "images_per_second": result.images_per_second,
        "energy_joules": result.energy_joules,
        "energy_joules_with_static": result.energy_joules_with_static,
        "energy_joules_of_whole_chips": result.energy_joules_of_whole_chips,
        "energy_by_component": result.energy_by_component,
        "outputs": {name: {"dtype": str(a.dtype), "shape": list(a.shape)} for name, a in result.outputs.items()},
    }


def print_result(result: RunResult) -> None:
    """Print cycles, rates and energy."""
    from pimc.cli.output import counted, quantity
    from pimc.cli.tables import print_energy

    print_energy(result.energy_by_component, result.images)
    latency = result.latency_cycles / result.clock_hz
    print(f"{counted(result.images, 'image')}, {result.cycles} cycles = {quantity(result.seconds, 's')} on the chip")
    print(
        f"latency {result.latency_cycles} cycles ({quantity(latency, 's')}), "
        f"one image each {result.interval_cycles} cycles: {result.images_per_second:,.0f} images/s"
    )
    energy = result.energy
    watt = quantity(energy.joules * result.images_per_second, "W")
    print(f"dynamic energy {quantity(energy.joules, 'J')} per image, {watt}")
    others = [f"{quantity(energy.whole_chips_joules, 'J')} with all parts of the chips always on"]
    if energy.static:
        others.insert(0, f"{quantity(energy.joules_with_static, 'J')} with {' and '.join(energy.static)} always on")
    print(f"  {', '.join(others)}")
