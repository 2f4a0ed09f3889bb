"""The machine description: sizes, rates, energies and areas, each with its source. Read from a target's TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from pimc_isa.errors import MachineError
from pimc_isa.limits import beyond, digits

__all__ = [
    "ACTIONS",
    "Array",
    "Chip",
    "Component",
    "Energy",
    "Host",
    "Machine",
    "Network",
    "TileSpec",
    "load_machine",
    "machine_from_dict",
    "machine_to_dict",
]

#: Every action that instructions and flows count, and what one of it is. A machine file prices them.
ACTIONS: Mapping[str, str] = {
    "dac_drive": "one word line driven with one input slice",
    "dac_pulse": "one pulse on one word line, where DACs send trains of them",
    "cell_read": "one cell between a driven word line and a column in use, read once, or for one pulse of a train",
    "cell_charge": "one level of such a cell, for a unit of the input slice on its word line, or for one pulse",
    "sample_hold": "one column sum sampled",
    "adc_conversion": "one column sum converted, unit columns included",
    "shift_add": "one converted value shifted and added to a partial sum, or one correction by centre x sum of inputs",
    "fold": "one analog shift-and-add (NNS+A): all slices of one output and its held sum",
    "buffer_write": "one column sum written to an analog buffer cell",
    "buffer_read": "one buffer column read, and summed with its neighbours where there are summing amplifiers",
    "input_count": "one input slice of one word line added to the sum of inputs, in digital",
    "scale_multiply": "one total of ranged codes multiplied by what a code stands for",
    "merge_add": "one partial sum of a row block added in the tile",
    "input_register_byte": "one byte written to or read from an input register",
    "output_register_byte": "one byte of a partial sum written to or read from an output register",
    "memory_byte": "one byte written to or read from the tile's memory",
    "bus_byte": "one byte over the bus between the tile's memory and its units",
    "vector_element": "one element operation of the vector unit",
    "pool_element": "one comparison of the pooling unit",
    "link_byte": "one byte over one hop of the mesh",
    "chip_link_byte": "one byte over one link between chips or to the host",
}


@dataclass(frozen=True)
class Array:
    """One crossbar: word lines, data bit lines, bits per cell, further unit columns (sum of inputs).

    ``step_cycles`` is one read in clock cycles; ``conversions_per_step`` is what the converters that serve this array
    can do in that time (a share, where arrays share converters); ``converter_bits`` and ``dac_bits`` are upper limits.
    ``dac_pulses``: DACs send so many pulses for each unit of an input slice; 0: they set a level.

    Analog shift-and-add: ``folds_per_step`` additions over the slices of one output, results held in ``held_copies``
    sets of sample-and-holds. Analog buffers: ``buffer_arrays`` crossbars as wide as this one, cells of up to
    ``buffer_bits``, ``buffer_writes_per_step`` column sums written in a step, and summing amplifiers that add up to
    ``summed_columns`` neighbouring buffer columns in front of a converter. ``input_sum_copies``: registers for sums of
    inputs, of so many positions.
    """

    rows: int
    columns: int
    cell_bits: int
    unit_columns: int = 0
    step_cycles: int = 1
    conversions_per_step: float = 1.0
    converter_bits: int = 8
    dac_bits: int = 1
    folds_per_step: float = 0.0
    held_copies: int = 1
    buffer_arrays: int = 0
    buffer_bits: int = 0
    buffer_writes_per_step: float = 0.0
    summed_columns: int = 1
    input_sum_copies: int = 1
    dac_pulses: int = 0


@dataclass(frozen=True)
class TileSpec:
    """One tile: crossbars, memory, and the rates of its units (per clock cycle)."""

    arrays: int
    memory_bytes: int
    vector_lanes: int
    bus_bytes_per_cycle: int
    queue_depth: int


@dataclass(frozen=True)
class Network:
    """XY mesh between tiles and links between chips."""

    link_bytes_per_cycle: int
    hop_cycles: int
    chip_link_bytes_per_cycle: int
    chip_hop_cycles: int


@dataclass(frozen=True)
class Chip:
    """Tiles of one chip, as a mesh of columns x rows, of whose nodes ``holes`` hold none."""

    mesh_columns: int
    mesh_rows: int
    holes: int = 0

    @property
    def tiles(self) -> int:
        """Tiles of one chip."""
        return self.mesh_columns * self.mesh_rows - self.holes


@dataclass(frozen=True)
class Host:
    """The host node: elements it moves and operations it does per clock cycle of the chip, both at once."""

    elements_per_cycle: int
    operations_per_cycle: int = 16


@dataclass(frozen=True)
class Component:
    """A part of the chip: how many per what (array, tile, chip), power and area of one, where the figures are from.

    ``static`` marks a part that draws its power all the time, whatever is done.
    """

    name: str
    per: str
    count: float
    power_mw: float
    area_mm2: float
    source: str
    static: bool = False


@dataclass(frozen=True)
class Energy:
    """Energy of one action, the component it is booked on, and where the figure is from."""

    action: str
    component: str
    energy_pj: float
    source: str


@dataclass(frozen=True)
class Machine:
    """Everything the engines know about the hardware. ``notes`` names the choices that a paper leaves open."""

    name: str
    clock_hz: float
    array: Array
    tile: TileSpec
    chip: Chip
    network: Network
    host: Host
    components: tuple[Component, ...] = ()
    energies: tuple[Energy, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    def prices(self, action: str) -> bool:
        """Whether the action has an energy."""
        return any(e.action == action for e in self.energies)


def load_machine(path: str | Path) -> Machine:
    """Read and check a machine file (TOML). Raises MachineError: what, where, remedy."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise MachineError(
            f"cannot read the machine file {path}: {error.strerror}\ngive a readable TOML file"
        ) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MachineError(f"{path} is not valid TOML: {error}") from error
    return machine_from_dict(data, where=str(path))


def machine_to_dict(machine: Machine) -> dict[str, Any]:
    """Plain dicts, lists, strings and numbers; ``machine_from_dict`` gives back an equal machine."""
    data: dict[str, Any] = msgspec.to_builtins(machine)
    return data


def machine_from_dict(data: Mapping[str, Any], where: str = "machine") -> Machine:
    """Build and check a machine. ``where`` names the origin in errors. Raises MachineError."""
    _refuse_unknown(data, Machine, where, "")
    try:
        machine = msgspec.convert(data, Machine)
    except msgspec.ValidationError as error:
        message = str(error).replace("`", "'")
        raise MachineError(f"{where}: {message}\nsee pimc_isa/machine.py for the fields and their types") from error
    _check(machine, where)
    return _filled(machine)


def _filled(machine: Machine) -> Machine:
    """The same, with defaults stored in every instance: msgspec leaves them to the class, where vars() misses them."""
    parts = {f.name: getattr(machine, f.name) for f in dataclasses.fields(machine)}
    for name, value in parts.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            parts[name] = dataclasses.replace(value)
        elif isinstance(value, tuple):
            parts[name] = tuple(dataclasses.replace(item) for item in value)
    return Machine(**parts)


def _refuse_unknown(data: Any, cls: type, where: str, at: str) -> None:
    """A misspelt key would otherwise silently leave the default in force."""
    if not isinstance(data, Mapping):
        return  # the conversion says it better
    hints = get_type_hints(cls)
    for key, value in data.items():
        if key not in hints:
            raise MachineError(f"{where}: unknown key '{at}{key}'\nremove it, or use one of: {', '.join(hints)}")
        inner = next((t for t in (hints[key], *get_args(hints[key])) if dataclasses.is_dataclass(t)), None)
        if not isinstance(inner, type):
            continue
        several = isinstance(value, list | tuple)
        for n, item in enumerate(value if several else [value]):
            _refuse_unknown(item, inner, where, f"{at}{key}[{n}]." if several else f"{at}{key}.")


def _check(machine: Machine, where: str) -> None:
    for section in ("array", "tile", "chip", "network", "host"):
        part = getattr(machine, section)
        for item in dataclasses.fields(part):
            value, least = getattr(part, item.name), 0 if item.name in _MAY_BE_ZERO else 1
            if not value >= least:
                raise MachineError(f"{where}: {section}.{item.name} is {digits(value)}\nit must be at least {least}")
            problem = beyond(_LIMIT_OF[item.name], f"{section}.{item.name}", value)
            if problem:
                raise MachineError(f"{where}: {problem}")
    if not 0 < machine.clock_hz <= _LARGEST:
        raise MachineError(f"{where}: clock_hz is {machine.clock_hz}\nit must be above 0, and at most {_LARGEST:g}")
    _check_figures(machine, where)


_MAY_BE_ZERO = {
    "unit_columns",
    "hop_cycles",
    "chip_hop_cycles",
    "folds_per_step",
    "buffer_arrays",
    "buffer_bits",
    "buffer_writes_per_step",
    "dac_pulses",
    "holes",
}


#: The limit on each number of the machine (see ``limits``).
_LIMIT_OF = {
    "rows": "array",
    "columns": "array",
    "cell_bits": "bits",
    "unit_columns": "array",
    "step_cycles": "step cycles",
    "conversions_per_step": "rate",
    "converter_bits": "bits",
    "dac_bits": "bits",
    "folds_per_step": "rate",
    "held_copies": "array",
    "buffer_arrays": "array",
    "buffer_bits": "bits",
    "buffer_writes_per_step": "rate",
    "summed_columns": "array",
    "input_sum_copies": "array",
    "dac_pulses": "array",
    "arrays": "arrays",
    "memory_bytes": "memory",
    "vector_lanes": "rate",
    "bus_bytes_per_cycle": "rate",
    "queue_depth": "queue",
    "mesh_columns": "mesh",
    "mesh_rows": "mesh",
    "holes": "mesh",
    "link_bytes_per_cycle": "rate",
    "hop_cycles": "step cycles",
    "chip_link_bytes_per_cycle": "rate",
    "chip_hop_cycles": "step cycles",
    "elements_per_cycle": "rate",
    "operations_per_cycle": "rate",
}
_LARGEST = 1e30  # of figures that are no counts


def _check_figures(machine: Machine, where: str) -> None:
    _refuse_twice(where, "component", (c.name for c in machine.components))
    _refuse_twice(where, "energy of action", (e.action for e in machine.energies))
    for c in machine.components:
        if c.per not in ("array", "tile", "chip"):
            raise MachineError(f"{where}: component '{c.name}' is per '{c.per}'\nuse array, tile or chip")
        if not all(0 <= figure <= _LARGEST for figure in (c.count, c.power_mw, c.area_mm2)):
            raise MachineError(
                f"{where}: component '{c.name}' has a count, power or area that is not within 0 to {_LARGEST:g}"
            )
    names = {c.name for c in machine.components}
    for e in machine.energies:
        if e.action not in ACTIONS:
            raise MachineError(f"{where}: no action is called '{e.action}'\nuse one of: {', '.join(ACTIONS)}")
        if e.component not in names:
            raise MachineError(f"{where}: action '{e.action}' is booked on '{e.component}', which is no component")
        if not 0 <= e.energy_pj <= _LARGEST:
            raise MachineError(
                f"{where}: action '{e.action}' has energy {e.energy_pj} pJ\nit must be within 0 to {_LARGEST:g}"
            )
    for kind, name, source in [("component", c.name, c.source) for c in machine.components] + [
        ("action", e.action, e.source) for e in machine.energies
    ]:
        if not source.strip():
            raise MachineError(f"{where}: {kind} '{name}' names no source\nsay where the figure is from")


def _refuse_twice(where: str, what: str, names: Iterable[str]) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise MachineError(f"{where}: {what} '{twice[0]}' is given twice\nkeep one of them")
