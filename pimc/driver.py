"""From a model to a program to results: what `import pimc` offers, and what the commands are made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pimc import data as inputs_of
from pimc.progress import heard_by, tell
from pimc.targets import find_target
from pimc_isa.errors import PimcError, ProgramError
from pimc_isa.machine import Machine
from pimc_isa.program import Port, Program
from pimc_isa.threads import limited_blas

if TYPE_CHECKING:
    from pimc.frontend import QuantiserOptions
    from pimc.ir.graph import Graph
    from pimc.passes.base import Pass
    from pimc.passes.target import Target
    from pimc.verify import VerifyReport
    from pimc_isa.energy import Counts, EnergyReport
    from pimc_isa.engines.noise import Noise
    from pimc_isa.engines.timing import Timing
    from pimc_isa.flow.use import Tally

__all__ = ["CompiledProgram", "Hooks", "RunResult", "choose", "compile", "emit", "load", "lower"]

Array = np.ndarray

#: Images the timing engine streams through: enough that the last two are a filled pipeline's.
STREAM_IMAGES = 4
#: Bytes of activations that are held at once when many images run.
BATCH_BYTES = 256 << 20


@dataclass(frozen=True)
class Hooks:
    """What to tell during a compilation: passes to print after, and who hears of steps, graphs and times."""

    print_after: Sequence[str] = ()
    stop_after: str | None = None
    progress: Callable[[str], None] | None = None
    on_print: Callable[[str, Graph], None] | None = None
    on_pass: Callable[[str, float], None] | None = None


def choose(
    target: str = "isaac", passes: str = "", *, machine: str | Path | Machine | None = None, **options: Any
) -> tuple[Target, tuple[Pass, ...]]:
    """Return a target with the options that are not ``None``, and its passes as ``passes`` changes them.

    ``passes`` is text as `pimc.passes.spec.edited` reads it.

    ``machine``: another machine, or a file with one (see `pimc.machines.read_machine`). Options with a dot in their
    name (``array.rows``), and ``clock_hz``, are fields of the machine. Raises TargetError, MachineError.
    """
    from pimc.machines import read_machine, refuse_idle, with_settings
    from pimc.passes.registry import known_passes
    from pimc.passes.spec import edited
    from pimc.passes.target import TargetError

    backend = find_target(target)
    given = {name: value for name, value in options.items() if value is not None}
    settings = {name: given.pop(name) for name in list(given) if "." in name or name == "clock_hz"}
    known = inspect.signature(backend.target).parameters
    for name in given:
        if name == "machine" or (name not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values())):
            raise TargetError(f"target {target} has no option {name!r}; its options are {', '.join(known)}")
    if machine is not None and not isinstance(machine, Machine):
        machine = read_machine(machine, lambda name: find_target(name).machine())
    if settings:
        base = machine or backend.machine()
        refuse_idle(settings, lambda changed: backend.target(machine=changed, **given), base)
        machine = with_settings(base, settings)
    if machine is not None:
        given["machine"] = machine
    made = backend.target(**given)
    steps = backend.passes()
    return made, edited(steps, passes, {s.name: type(s) for s in steps} | known_passes()) if passes else steps


@limited_blas()
def lower(
    model: Any,
    target: Target,
    passes: Sequence[Pass],
    *,
    calibration: Any = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    hooks: Hooks | None = None,
    plan: str | Path | None = None,
    quantiser: QuantiserOptions | None = None,
    epitome: str | Path = "exact",
) -> Graph:
    """Import a model (quantising it if it is float) and run the passes; returns the last graph.

    ``plan`` is a file with decisions that are forced (`pimc.passes.plan_file`); ``epitome`` as for `compile`.
    """
    from pimc.frontend import load_model
    from pimc.frontend.planned import planned
    from pimc.passes.choose_ranges import needs_calibration
    from pimc.passes.manager import run_passes
    from pimc.passes.plan_file import QUANTISE, read_plan
    from pimc_isa.extensions import load_extensions

    load_extensions()
    ours, forced = (None, None) if plan is None else read_plan(plan).split()
    hooks = hooks or Hooks()
    if ours is not None:
        quantiser = planned(ours.options.get(QUANTISE, {}), ours.decisions.get(QUANTISE, {}), quantiser)
    graph = load_model(
        model,
        calibration=calibration,
        input_shapes=input_shapes,
        progress=hooks.progress,
        calibrate=needs_calibration(target, passes if forced is None else forced.passes(passes)),
        quantiser=quantiser,
        epitome=epitome,
    )
    return run_passes(
        graph,
        passes,
        target,
        print_after=hooks.print_after,
        stop_after=hooks.stop_after,
        on_print=hooks.on_print,
        on_pass=hooks.on_pass,
        progress=hooks.progress,
        plan=forced,
    )


def emit(graph: Graph, target: Target) -> CompiledProgram:
    """Turn a graph at the last stage into a program, which is checked as if somebody else had written it."""
    from pimc_isa.check import check
    from pimc_isa.extensions import marked
    from pimc_isa.limits import names_limit

    program = marked(find_target(target.name).emit(graph, target))
    try:
        check(program)
    except PimcError as error:
        bug = f"the compiled program is wrong: a bug in pimc or in target {target.name}"
        if names_limit(str(error)):
            bug = f"the network is too large for one program on target {target.name}; compile parts of it"
        raise ProgramError(f"{error}\n{bug}") from error
    return CompiledProgram(program)


def compile(
    model: Any,
    target: str = "isaac",
    *,
    calibration: Any = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    chips: int | None = None,
    replication: str | None = None,
    ranges: str | None = None,
    peripherals: str | None = None,
    passes: str = "",
    target_options: Mapping[str, Any] | None = None,
    machine: str | Path | Machine | None = None,
    plan: str | Path | None = None,
    quantiser: QuantiserOptions | None = None,
    epitome: str | Path = "exact",
    progress: Callable[[str], None] | None = None,
    hooks: Hooks | None = None,
) -> CompiledProgram:
    """Compile an ONNX model (path, bytes or ModelProto) to a program.

    ``calibration`` (arrays by input name, a .npz file, a folder of pictures or a `PictureFolder`) is needed for a float
    model, which is quantised first as ``quantiser`` says, and by targets that choose converter ranges from data
    (``ranges``: 'gain', 'power2', 'published', or 'wide' for converters that lose nothing; ``peripherals``: 'ideal',
    'fitted' or 'trained'; both default to the target's own choice).
    ``input_shapes`` fixes dimensions that the model leaves open. ``chips`` defaults to as many as one copy of the
    weights needs; ``replication`` to the target's own. ``passes`` replaces passes of the target's pipeline, as text:
    ``map-weights{option=value}``. ``target_options`` are further options of the target's own, or fields of its machine
    (``array.rows``); ``machine`` is another machine, or a file with one; ``plan`` a file with decisions that are
    forced. ``epitome``: whose epitomes are looked for, 'exact' (all layers'), 'off', or a file with layers' names, one
    on each line. ``progress`` is told what is being done; ``hooks`` hears more. Raises PimcError if the model cannot be
    compiled.
    """
    hooks = hooks or Hooks(progress=progress)
    options: dict[str, Any] = {"chips": chips, "replication": replication, "ranges": ranges, "peripherals": peripherals}
    options |= target_options or {}
    chosen, steps = choose(target, passes, machine=machine, **options)
    how: dict[str, Any] = {"hooks": hooks, "plan": plan, "quantiser": quantiser, "epitome": epitome}
    graph = lower(model, chosen, steps, calibration=calibration, input_shapes=input_shapes, **how)
    return emit(graph, chosen)


def load(path: str | Path) -> CompiledProgram:
    """Read a program file (.pim) or assembly text (.pimasm). Raises PimcError if it is damaged or illegal."""
    from pimc_isa.load import load_program

    return CompiledProgram(load_program(path))


@dataclass(frozen=True)
class RunResult:
    """Outputs of some images, and what the chip would have taken for them.

    ``cycles`` from the first input to the last output; ``latency_cycles`` of one image on its own; ``interval_cycles``
    between images of a filled pipeline. Timing does not depend on data. ``counts`` are all actions that the chip does
    for these images, by layer; ``energy`` is their price, of the mean image.
    """

    outputs: Mapping[str, Array]
    images: int
    cycles: int
    latency_cycles: int
    interval_cycles: int
    clock_hz: float
    energy: EnergyReport
    counts: Counts

    @property
    def seconds(self) -> float:
        """Time on the chip for all images."""
        return self.cycles / self.clock_hz

    @property
    def images_per_second(self) -> float:
        """Throughput of the filled pipeline."""
        return self.clock_hz / self.interval_cycles

    @property
    def energy_joules(self) -> float:
        """Dynamic energy of all images: that of everything done; the host's own is not counted."""
        return self.images * self.energy.joules

    @property
    def energy_joules_with_static(self) -> float:
        """The same and what always-on components draw besides, in a filled pipeline."""
        return self.images * self.energy.joules_with_static

    @property
    def energy_joules_of_whole_chips(self) -> float:
        """What the chips would take if all their parts drew their power all the time."""
        return self.images * self.energy.whole_chips_joules

    @property
    def energy_by_component(self) -> dict[str, float]:
        """Joules by component for all images, the largest first; together `energy_joules`."""
        parts = self.energy.components
        return {name: self.images * parts[name] for name in sorted(parts, key=lambda n: (-parts[n], n))}


def _is_alone(ports: Sequence[Port], inputs: Any) -> bool:
    """Whether inputs are as a model without an axis of images takes them."""
    arrays = inputs.values() if isinstance(inputs, Mapping) else [inputs]
    ranks = {np.ndim(array) for array in arrays}
    return ranks <= {len(port.shape) for port in ports} and (len(ports) != 1 or ranks == {len(ports[0].shape)})


def _tell_sends(sent: int, sends: int) -> None:
    tell(f"timing: row {sent} of {sends} sent")


class CompiledProgram:
    """A program with what one does with programs: save, run, verify, look at. Costly results are kept."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def save(self, path: str | Path) -> int:
        """Write a program file, or assembly text if the name ends in .pimasm, and return its bytes.

        It appears whole or not at all. Raises PimcError where it cannot be written.
        """
        if Path(path).suffix == ".pimasm":
            from pimc_isa.text import write_assembly

            return write_assembly(self.program, path)
        from pimc_isa import binary

        return binary.save(self.program, path)

    def assembly(self) -> str:
        """Return the program as assembly text, without its tensors."""
        from pimc_isa.text import disassemble

        return disassemble(self.program, {"file": "-", "sha256": "0" * 64})

    @cached_property
    def timing(self) -> Timing:
        """When every instruction runs, over a short stream of images."""
        from pimc_isa.engines.cycles import simulate

        return simulate(self.program, images=STREAM_IMAGES, progress=_tell_sends)

    @property
    def interval_cycles(self) -> int:
        """Cycles between images of a filled pipeline."""
        return self.timing.interval_cycles

    @cached_property
    def latency_cycles(self) -> int:
        """Cycles of one image on its own; in a stream the next image can get in its way."""
        return self._ends(1)[-1]

    def cycles(self, images: int) -> int:
        """Cycles from the first input to the last output of a stream of images."""
        if images >= STREAM_IMAGES:
            return self.timing.image_ends[-1] + (images - STREAM_IMAGES) * self.interval_cycles
        if images == 1:
            return self.latency_cycles
        return self._ends(images)[-1] if images else 0

    def _ends(self, images: int) -> Sequence[int]:
        """When each image of a stream ends."""
        from pimc_isa.engines.cycles import simulate

        return simulate(self.program, images=images, progress=_tell_sends).image_ends

    @cached_property
    def energy(self) -> EnergyReport:
        """Energy of one image in a filled pipeline, as far as the program says; an upper bound where data decide."""
        from pimc_isa.energy import program_energy

        return program_energy(self.program, self.interval_cycles, self.counts)

    @cached_property
    def counts(self) -> Counts:
        """Actions of one image by layer, as far as the program says; upper bounds where data decide."""
        from pimc_isa.energy import program_counts

        return program_counts(self.program)

    @cached_property
    def executor(self) -> Any:
        """The values engine, ready to run this program."""
        from pimc_isa.engines.values import Executor

        return Executor(self.program)

    @cached_property
    def batch(self) -> int:
        """Images that run at once without holding more than `BATCH_BYTES` of activations."""
        tiles = self.program.tiles
        image = sum(b.rows * b.row_elements * b.element.dtype.itemsize for tile in tiles for b in tile.buffers)
        return max(1, BATCH_BYTES // max(1, image))

    def values(
        self,
        inputs: Any,
        *,
        batch: int | None = None,
        noise: Noise | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> dict[str, Array]:
        """Return the outputs for all images, without their time and energy. Raises RunError for unfit inputs.

        ``noise`` makes it one noisy chip (`pimc_isa.engines.noise`); results do not depend on ``batch``.
        """
        return self._computed(inputs, batch, noise, progress, counts=False)[0]

    def _computed(
        self,
        inputs: Any,
        batch: int | None,
        noise: Noise | None,
        progress: Callable[[str], None] | None,
        counts: bool,
    ) -> tuple[dict[str, Array], dict[tuple[int, int], Tally]]:
        """Outputs for all images, and what their data decided of actions."""
        from pimc_isa.engines.values import Executor
        from pimc_isa.engines.values.tallies import add_tally

        bound = inputs_of.bind(self.program.inputs, inputs)
        executor = self.executor if noise is None else Executor(self.program, noise=noise)
        total, done = inputs_of.image_count(bound), 0
        parts: list[Mapping[str, Array]] = []
        tallies: dict[tuple[int, int], Tally] = {}
        for piece in inputs_of.batches(bound, batch or self.batch):
            ran = executor.run(piece, first=done, counts=counts)
            parts.append(ran.outputs)
            for step, tally in ran.tallies.items():
                add_tally(tallies, step, tally)
            done += inputs_of.image_count(piece)
            if progress:
                progress(f"image {done} of {total}")
        made = {port.name: np.concatenate([p[port.name] for p in parts]) for port in self.program.outputs}
        if self.program.meta.get("unbatched") and _is_alone(self.program.inputs, inputs):
            made = {name: array[0] for name, array in made.items()}
        return made, tallies

    def run(
        self,
        inputs: Any,
        *,
        batch: int | None = None,
        noise: Noise | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> RunResult:
        """Run images: arrays by input name (batch first), or one array for the only input. Raises RunError."""
        from pimc_isa.energy import program_counts, program_energy

        outputs, tallies = self._computed(inputs, batch, noise, progress, counts=True)
        images = inputs_of.image_count(inputs_of.bind(self.program.inputs, inputs))
        counts, energy = self.counts.of(images), self.energy
        if self.counts.bound:
            counts = program_counts(self.program, images, tallies)
            energy = program_energy(self.program, self.interval_cycles, counts)
        with heard_by(progress):
            tell("timing")
            return RunResult(
                outputs=outputs,
                images=images,
                cycles=self.cycles(images),
                latency_cycles=self.latency_cycles,
                interval_cycles=self.interval_cycles,
                clock_hz=self.program.machine.clock_hz,
                energy=energy,
                counts=counts,
            )

    def verify(self, data: Any = None, labels: Any = None, **options: Any) -> VerifyReport:
        """Compare every tensor with onnxruntime; see `pimc.verify.verify`."""
        from pimc.verify import verify

        return verify(self.program, data, labels, **options)
