"""Targets whose flow is made by the modulo scheduler from a dataflow and a machine file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pimc.analysis.modulo import Dataflow, lossless, schedule
from pimc.passes.base import Pass
from pimc.passes.choose_flows import ChooseFlows
from pimc.passes.choose_ranges import ChooseRanges
from pimc.passes.fold_epitomes import FoldEpitomes
from pimc.passes.map_weights import MapWeights
from pimc.passes.place import Place
from pimc.passes.schedule_rows import ScheduleRows
from pimc.passes.slice_weights import SliceWeights
from pimc.passes.target import Narrow, Target, TargetError
from pimc_isa.flow import Flow, check_flow
from pimc_isa.machine import Machine, load_machine

__all__ = [
    "analog_pipeline",
    "encoding_of",
    "make_target",
    "narrow_flows",
    "packaged_machine",
    "scheduled_flow",
    "widened",
]


@cache
def packaged_machine(package: str) -> Machine:
    """The machine file ``machine.toml`` in a package."""
    with resources.as_file(resources.files(package) / "machine.toml") as path:
        return load_machine(Path(path))


def scheduled_flow(name: str, dataflow: Dataflow, machine: Machine) -> Flow:
    """The flow of a dataflow on a machine; the search is made once."""
    key = replace(machine, notes={}, components=(), energies=())
    return _schedule(name, dataflow, _Key(key))


class _Key:
    """A machine as a cache key: by value of what schedules depend on."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __hash__(self) -> int:
        return hash((self.machine.array, self.machine.clock_hz))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.machine == other.machine


@cache
def _schedule(name: str, dataflow: Dataflow, key: _Key) -> Flow:
    return schedule(dataflow, key.machine, name)


def make_target(
    name: str,
    machine: Machine,
    dataflow: Dataflow,
    flow: str,
    *,
    more: Mapping[str, Dataflow] | None = None,
    written: Iterable[Flow] = (),
    ranges: str = "gain",
    **options: Any,
) -> Target:
    """A target with a scheduled flow, and further ones of ``more`` dataflows by name; ``options`` are of `Target`.

    Flows for narrow weights are of the same dataflow, where its slices are as wide as the cells. ``written`` flows are
    taken as they are. ``ranges='wide'`` gives it converters and cells that lose nothing. Raises
    FlowError for a written flow that the machine cannot run.
    """
    dataflows = {flow: dataflow, **(more or {})}
    if ranges == "wide":
        dataflows = {known: lossless(each, machine.array.rows) for known, each in dataflows.items()}
        machine = widened(machine, *dataflows.values())
    for text in written:
        check_flow(text, machine)
    options.setdefault("narrow", narrow_flows(flow, dataflows[flow], machine))
    flows = (*(scheduled_flow(known, each, machine) for known, each in dataflows.items()), *written)
    return Target(name, machine, flows, flow, ranges=ranges, **options)


def narrow_flows(name: str, dataflow: Dataflow, machine: Machine) -> Narrow | None:
    """Flows ``NAME-wBITS`` of a dataflow for weights of fewer bits, as far as these take fewer slices.

    Pairs of columns hold the sign, so their slices need a bit less. None where slices are of given widths.
    """
    return None if dataflow.weight_slicing else _Narrow(name, dataflow, machine)


@dataclass(frozen=True)
class _Narrow:
    """What makes them; a value, so that targets can go to other processes."""

    name: str
    dataflow: Dataflow
    machine: Machine

    def __call__(self, bits: int) -> Flow | None:
        """The flow for weights of ``bits`` bits; None where it would have no fewer slices."""
        fewer = replace(self.dataflow, weight_bits=max(1, bits - self.dataflow.bipolar))
        if len(fewer.slices) >= len(self.dataflow.slices):
            return None
        return scheduled_flow(f"{self.name}-w{bits}", fewer, self.machine)


def encoding_of(encoder: str, bipolar: str = "pairs") -> str:
    """The columns of an encoder, as `Dataflow.encoding` has them; ``bipolar`` is how W+ and W- are read."""
    if encoder not in ("flipped", "differential"):
        raise TargetError(f"encoder {encoder!r} does not exist; choose flipped or differential")
    return bipolar if encoder == "differential" else "flipped"


def widened(machine: Machine, *dataflows: Dataflow) -> Machine:
    """The machine with converters and buffer cells as wide as dataflows ask for: a thought experiment."""
    array = machine.array
    bits = max(array.converter_bits, *(dataflow.conversion_bits(array.rows) for dataflow in dataflows))
    cells = max(array.buffer_bits, *(dataflow.buffer_bits or 0 for dataflow in dataflows))
    if (bits, cells) == (array.converter_bits, array.buffer_bits):
        return machine
    note = (
        f"Not a real chip: converters of {bits} bits instead of {array.converter_bits}"
        + (f" and buffer cells of {cells} bits instead of {array.buffer_bits}" if cells else "")
        + ", so that nothing is lost; speed, power and area are those of the real ones."
    )
    wide = replace(array, converter_bits=bits, buffer_bits=cells)
    return replace(machine, array=wide, notes={**machine.notes, "wide": note})


def analog_pipeline() -> tuple[Pass, ...]:
    """The passes, in order: rounds need the flow, cuts the rounds, cells the cut's row blocks, ranges the cells."""
    return (ChooseFlows(), FoldEpitomes(), MapWeights(), SliceWeights(), Place(), ChooseRanges(), ScheduleRows())
