"""``pimc compile``: a model to a program."""

from __future__ import annotations

from enum import StrEnum
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
    from pimc.driver import CompiledProgram
    from pimc.ir.graph import Graph
    from pimc.report.layers import LayerReport

__all__ = ["Emit", "compile_command"]


class Emit(StrEnum):
    """What to write."""

    PIM = "pim"
    ASM = "asm"
    IR = "ir"


class Replication(StrEnum):
    """How spare crossbars are used."""

    BALANCED = "balanced"
    NONE = "none"
    STRIDE2 = "stride2"
    EQUAL = "equal"


class Ranges(StrEnum):
    """How converter ranges are chosen."""

    GAIN = "gain"
    POWER2 = "power2"
    PUBLISHED = "published"
    WIDE = "wide"


class PeripheralsChoice(StrEnum):
    """What stands for the analog circuits."""

    IDEAL = "ideal"
    FITTED = "fitted"
    TRAINED = "trained"


@with_pictures
@with_quantiser
def compile_command(
    *,
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX model, float or 8-bit.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="P.pim", help="Where to write (default: MODEL.pim here).")
    ] = None,
    target: Annotated[str, typer.Option(help="The chip; 'pimc targets' lists them.")] = "isaac",
    calibration: Calibration = None,
    pictures: Pictures,
    quantiser: Quantiser,
    epitome: Epitome = "exact",
    input_shape: InputShape = None,
    chips: Annotated[
        int | None, typer.Option(min=1, help="Number of chips (default: what one copy of the weights needs).")
    ] = None,
    replication: Annotated[
        Replication | None, typer.Option(help="How spare crossbars hold further copies of weights.")
    ] = None,
    ranges: Annotated[
        Ranges | None, typer.Option(help="Converter ranges: from --calibration data, or 'wide' (nothing is lost).")
    ] = None,
    peripherals: Annotated[PeripheralsChoice | None, typer.Option(help="Models of the analog circuits.")] = None,
    machine: MachineFile = None,
    set_: Set = None,
    passes: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="Changes of the pipeline: 'place{x=1}' sets options, '-place' drops, '+mine' adds behind the item "
            "before it, '=a;b;c' is all of it.",
        ),
    ] = "",
    plan: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Decisions of passes that are forced.")] = None,
    write_plan: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Write what the passes decided, as a plan file.")
    ] = None,
    print_after: Annotated[
        list[str] | None, typer.Option(metavar="PASS", help="Print the graph after this pass, or after 'all'.")
    ] = None,
    stop_after: Annotated[
        str | None, typer.Option(metavar="PASS", help="Stop after this pass and write the graph as text.")
    ] = None,
    time_passes: Annotated[bool, typer.Option("--time-passes", help="Print the time each pass took.")] = False,
    emit: Annotated[Emit, typer.Option(help="Write a program, its assembly, or the last graph.")] = Emit.PIM,
    report: Annotated[
        bool, typer.Option("--report", help="Print a table of the layers (simulates the timing).")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compile an ONNX model to a program.

    A float model is quantised first, on the inputs given with --calibration. Targets with lossy converters choose their
    ranges from the same inputs.

    Examples:

      pimc compile resnet18_int8.onnx -o resnet18.pim

      pimc compile net.onnx --calibration images.npz --input-shape image=1,3,224,224

      pimc compile net.onnx --calibration photos/ --size 256 --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4

      pimc compile net.onnx --calibration images.npz --calibration-method percentile --keep-float /head/Conv

      pimc compile net.onnx --emit asm | less

      pimc compile net.onnx --stop-after map-weights

      pimc compile net.onnx --target isaac-style --set converter_bits=8 --set tile.arrays=96

      pimc compile net.onnx --target neural-pim --machine my-chip.toml
    """
    from pimc import driver
    from pimc.cli.files import judge_output, printing_beside
    from pimc.cli.output import progress
    from pimc.ir.files import write_graph
    from pimc.passes.plan_file import plan_text
    from pimc_isa.files import write_text

    shapes = input_shapes(input_shape)
    if output is None and emit is Emit.PIM and not stop_after:
        output = Path(f"{model.stem}.pim")
    read = (calibration, machine, plan, named_file(epitome))
    judge_output(output, *read, model=model)
    judge_output(write_plan, *read, model=model)
    times: dict[str, float] = {}
    printed: list[str] = []
    with progress("reading the model", quiet=quiet) as say:
        hooks = driver.Hooks(
            print_after=print_after or (),
            stop_after=stop_after,
            progress=say,
            on_print=lambda name, graph: printed.append(f"# after {name}\n{_graph_text(graph)}"),
            on_pass=times.__setitem__,
        )
        options: dict[str, Any] = {
            "chips": chips,
            "replication": replication and replication.value,
            "ranges": ranges and ranges.value,
            "peripherals": peripherals and peripherals.value,
            **target_options(set_),
        }
        chosen, steps = driver.choose(target, passes, machine=machine, **options)
        images = pictures.calibration(calibration)
        how: dict[str, Any] = {"hooks": hooks, "plan": plan, "quantiser": quantiser.options, "epitome": epitome}
        graph = driver.lower(model, chosen, steps, calibration=images, input_shapes=shapes, **how)
        if write_plan is not None:
            write_text(write_plan, plan_text(graph, steps))
        text, values, program = "", {}, None
        if emit is Emit.IR or stop_after:
            text = _graph_text(graph)
            values = {"target": target, "stage": graph.stage}
        else:
            say("emitting")
            program = driver.emit(graph, chosen)
            text = program.assembly() if emit is Emit.ASM and output is None else ""
            say("writing")
            values = _saved(program, emit, output)
        if text and output is not None:
            write_graph(graph, output)
            values["output"] = str(output)
        layers = _layers(program) if report and program else None
    with printing_beside(output):
        for shown in printed:
            typer.echo(shown, err=json)
        shown_text = text if output is None else ""
        if json:
            _print_json({**values, **({"text": shown_text} if shown_text else {}), "pass_seconds": times}, layers)
        elif shown_text:
            typer.echo(shown_text, nl=False)
        elif program:
            _print_summary(values, layers)
    _print_times(times if time_passes and not json else {})


def _graph_text(graph: Graph) -> str:
    from pimc.ir.text import print_graph

    return print_graph(graph)


def _saved(program: CompiledProgram, emit: Emit, path: Path | None) -> dict[str, Any]:
    """Write the program unless its text goes to stdout; return its figures."""
    from pimc.report.summary import summary

    values = {**summary(program.program), "energy_is_bound": program.counts.bound}
    if path is None:
        return values
    if emit is Emit.ASM:
        from pimc_isa.text import write_assembly

        size = write_assembly(program.program, path)
    else:
        size = program.save(path)
    return {**values, "program": str(path), "program_bytes": size}


def _print_json(values: dict[str, Any], layers: list[LayerReport] | None) -> None:
    from pimc.cli.output import print_json

    extra = {"layers": [layer.to_dict() for layer in layers]} if layers else {}
    print_json({**values, **extra})


def _layers(program: CompiledProgram) -> list[LayerReport]:
    from pimc.report.layers import layer_report

    return layer_report(program.program, program.timing, program.energy, program.interval_cycles)


def _print_summary(values: dict[str, Any], layers: list[LayerReport] | None) -> None:
    from pimc.cli.output import counted, percent, quantity
    from pimc.cli.tables import print_layers

    if layers:
        print_layers(layers)
        if values["energy_is_bound"]:
            typer.echo("energies are upper bounds: flags and pulses depend on data; pimc run counts them")
    proved = values["conversions_proved"]
    typer.echo(
        f"{values['program']}: {values['target']}, {counted(values['tiles'], 'tile')} "
        f"on {counted(values['chips'], 'chip')}, "
        f"{counted(values['arrays'], 'array')} ({values['arrays_one_copy']} hold one copy), "
        f"{values['instructions']} instructions, {quantity(values['program_bytes'], 'B')}"
    )
    text = f"conversions proved exact: {percent(proved)}" if proved < 1 else "all conversions proved exact"
    share = values["crossbar_macs_share"]
    typer.echo(text + (f", {percent(share)} of the multiplications on crossbars" if share is not None else ""))
    if values["epitomes"]:
        typer.echo(_epitomes(values["epitomes"]))
    if values["weight_bits"]:
        typer.echo(_widths(values["weight_bits"]))
    if values["clipping"] is not None:
        typer.echo(_clipping(values["clipping"]))
    if values["quantisation"]:
        from pimc.frontend.fidelity import QuantisationFidelity

        typer.echo(f"against the float model: {QuantisationFidelity(**values['quantisation'])}")


def _epitomes(layers: dict[str, dict[str, Any]]) -> str:
    """How many layers have epitomes, what folding saves, and what a scale for many channels costs in the worst."""
    from pimc.cli.output import counted

    cells = sum(p * q for p, q in (layer["stored"] for layer in layers.values()))
    weights = sum(layer["weights"] for layer in layers.values())
    lost = {name: layer["lost_db"] for name, layer in layers.items() if layer["lost_db"] is not None}
    worst = max(lost, key=lambda name: lost[name], default="")
    text = f"epitomes: {counted(len(layers), 'layer')}, {weights / cells:.3g} weights for each cell that is stored"
    folded = [layer for layer in layers.values() if layer["rounds"] is not None]
    if folded:
        dense, held = (sum(layer["arrays"][n] for layer in folded) for n in (0, 1))
        rounds = counted(max(layer["rounds"] for layer in folded), "round")
        text += f"; {len(folded)} folded: {counted(held, 'array')} for {dense}, at most {rounds}"
    return text + (f"; against scales by channel at most {lost[worst]:.2g} dB, in {worst}" if worst else "")


def _widths(layers: dict[str, int]) -> str:
    """How many layers have weights of how many bits."""
    from pimc.cli.output import counted

    widths = sorted(set(layers.values()), reverse=True)
    parts = (f"{bits} bits in {counted(list(layers.values()).count(bits), 'layer')}" for bits in widths)
    return f"weights: {', '.join(parts)}"


def _clipping(layers: dict[str, float]) -> str:
    """Which layers' converters clip, and how often, on the calibration images."""
    from pimc.cli.output import counted

    if not layers:
        return "no sum of the calibration images is clipped"
    names = list(layers)
    shown = [f"{name} {100 * layers[name]:.2g} %" for name in names[:3]]
    if len(names) > 3:
        shown.append(f"{counted(len(names) - 3, 'layer')} at most {100 * layers[names[3]]:.2g} %")
    return f"sums clipped on the calibration images: {', '.join(shown)}"


def _print_times(times: dict[str, float]) -> None:
    for name, seconds in times.items():
        typer.echo(f"{name:<20} {seconds * 1000:9.1f} ms", err=True)
