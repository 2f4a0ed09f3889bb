"""A chip's machine changed by a user: a file that extends another machine, and single fields by name.

``array.rows``, ``clock_hz``, ``components.adc.power_mw`` and ``energies.adc_conversion.energy_pj`` are such names.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pimc.passes.target import Target, TargetError, few
from pimc_isa.errors import MachineError
from pimc_isa.machine import Machine, machine_from_dict, machine_to_dict

__all__ = ["fields_of", "idle_settings", "read_machine", "refuse_idle", "with_settings"]

#: Lists of the machine file, and the key that names an item of each.
_LISTS = {"components": "name", "energies": "action"}
#: Texts: they say where things are from, and change nothing.
_TEXTS = frozenset({"name", "notes", "source", "per", "component", "action", "static"})


def read_machine(path: str | Path, find: Callable[[str], Machine]) -> Machine:
    """Read a machine file (TOML). ``extends = "NAME"`` starts from the machine that ``find`` gives for a target's name.

    What the file says replaces what that machine says, field by field; components and energies by their name and
    action. Raises MachineError, and what ``find`` raises.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MachineError(
            f"cannot read the machine file {path}: {error.strerror}\ngive a readable TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MachineError(f"{path} is not valid TOML: {error}") from error
    base = data.pop("extends", None)
    if base is None:
        return machine_from_dict(data, where=str(path))
    if not isinstance(base, str):
        raise MachineError(f"{path}: extends is no name of a target")
    return machine_from_dict(_merged(machine_to_dict(find(base)), data, str(path)), where=str(path))


def _merged(base: dict[str, Any], more: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``base`` with what ``more`` says instead."""
    result = dict(base)
    for key, value in more.items():
        if key in _LISTS and isinstance(value, list):
            result[key] = _merged_list(base[key], value, _LISTS[key], f"{where}: {key}")
        elif isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            result[key] = {**base[key], **value}
        else:
            result[key] = value
    return result


def _merged_list(base: list[dict[str, Any]], more: list[Any], key: str, where: str) -> list[dict[str, Any]]:
    found = {item[key]: item for item in base}
    for item in more:
        if not isinstance(item, Mapping) or not isinstance(item.get(key), str):
            raise MachineError(f"{where}: an entry without {key}")
        found[item[key]] = {**found.get(item[key], {}), **item}
    return list(found.values())


def fields_of(machine: Machine) -> Iterator[tuple[str, float]]:
    """Yield every number of a machine by the name it is set by, and its value."""
    yield "clock_hz", machine.clock_hz
    data = machine_to_dict(machine)
    for section, value in data.items():
        if section in _LISTS:
            for item in value:
                yield from (
                    (f"{section}.{item[_LISTS[section]]}.{key}", number)
                    for key, number in item.items()
                    if key not in _TEXTS
                )
        elif isinstance(value, dict) and section not in _TEXTS:
            yield from ((f"{section}.{key}", number) for key, number in value.items())


def with_settings(machine: Machine, settings: Mapping[str, Any]) -> Machine:
    """The machine with single fields set. Raises MachineError for a field that it does not have."""
    data, known = machine_to_dict(machine), dict(fields_of(machine))
    for name, value in settings.items():
        if name not in known:
            section = name.partition(".")[0]
            near = [field for field in known if field.startswith(f"{section}.")] or [
                f.name for f in dataclasses.fields(Machine) if f.name not in _TEXTS
            ]
            raise MachineError(f"machine {machine.name} has no field {name!r}\nuse one of: {', '.join(near)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MachineError(f"{name}={value!r} is not a number")
        _set(data, name.split("."), value)
    return machine_from_dict(data, where=f"machine {machine.name} with {', '.join(settings)} set")


def _set(data: dict[str, Any], path: list[str], value: float) -> None:
    if path[0] in _LISTS:
        item = next(i for i in data[path[0]] if i[_LISTS[path[0]]] == path[1])
        item[path[2]] = value
    elif len(path) == 1:
        data[path[0]] = value
    else:
        data[path[0]][path[1]] = value


#: Fields of the array that say something beyond the flow: mapping and cells ask them.
_MAPPED = frozenset({"array.rows", "array.columns"})


def idle_settings(settings: Mapping[str, Any], make: Callable[[Machine], Target], base: Machine) -> list[str]:
    """Names of settings that change nothing on a target.

    The array's other numbers reach a program through its flow alone: one that leaves all flows as they are is idle.
    ``make`` gives the target of a machine. A setting that repeats what the machine says is idle too.
    """
    known, idle = dict(fields_of(base)), []
    for name, value in settings.items():
        if known.get(name) == value:
            idle.append(name)
        elif name.startswith("array.") and name not in _MAPPED:
            others = {other: v for other, v in settings.items() if other != name}
            with_it, without = make(with_settings(base, settings)), make(with_settings(base, others))
            if with_it.flows == without.flows:
                idle.append(name)
    return idle


def refuse_idle(settings: Mapping[str, Any], make: Callable[[Machine], Target], base: Machine) -> None:
    """Raise TargetError if a setting changes nothing."""
    idle, known = idle_settings(settings, make, base), dict(fields_of(base))
    same = [name for name in idle if known.get(name) == settings[name]]
    if same:
        raise TargetError(f"{same[0]}={settings[same[0]]} changes nothing: machine {base.name} has that already")
    if idle:
        flows = few(flow.name for flow in make(base).flows)
        what = f"{', '.join(f'{name}={settings[name]}' for name in idle)} changes nothing on machine {base.name}"
        raise TargetError(f"{what}: its flows ({flows}) stay as they are\nleave it out, or change what limits them")
