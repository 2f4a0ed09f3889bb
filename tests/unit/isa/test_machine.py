"""Machine files: lossless round trip, and errors that say what, where and the remedy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pimc_backends import cascade, isaac, isaac_style, neural_pim, raella
from pimc_isa.errors import MachineError
from pimc_isa.machine import ACTIONS, load_machine, machine_from_dict, machine_to_dict


def plain() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(machine_to_dict(isaac.machine())))
    return data


def test_round_trip_through_json_is_lossless() -> None:
    assert machine_from_dict(plain()) == isaac.machine()


def test_defaults_are_stored_in_every_part() -> None:
    machine = isaac.machine()
    parts: list[Any] = [machine, machine.array, *machine.components, *machine.energies]
    for part in parts:
        assert set(vars(part)) == {f.name for f in dataclasses.fields(part)}


def test_every_action_has_a_price_and_every_figure_a_source() -> None:
    machines = [isaac.machine(), cascade.machine(), isaac_style.machine(), neural_pim.machine(), raella.machine()]
    assert {e.action for m in machines for e in m.energies} == set(ACTIONS)
    assert all(c.source for m in machines for c in m.components)
    assert all(e.source for m in machines for e in m.energies)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("array", "rows", 0, "array.rows is 0"),
        ("array", "rows", "many", r"array\.rows"),
        ("array", "rowz", 3, "unknown key 'array.rowz'"),
        ("tile", "queue_depth", -1, "tile.queue_depth is -1"),
        ("network", "hop_cycles", -2, "network.hop_cycles is -2"),
    ],
)
def test_wrong_values_are_named(section: str, key: str, value: object, message: str) -> None:
    data = plain()
    data[section][key] = value
    with pytest.raises(MachineError, match=message):
        machine_from_dict(data, where="my.toml")


def test_missing_section_is_named() -> None:
    data = plain()
    del data["network"]
    with pytest.raises(MachineError, match=r"my\.toml.*network"):
        machine_from_dict(data, where="my.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": "teleport"}, "no action is called 'teleport'"),
        ({"component": "nothing"}, "booked on 'nothing'"),
        ({"energy_pj": -1.0}, "-1.0 pJ"),
        ({"source": " "}, "names no source"),
        ({"action": "dac_drive"}, "'dac_drive' is given twice"),
        ({"sauce": "x"}, r"unknown key 'energies\[0\].sauce'"),
    ],
)
def test_wrong_energies_are_named(change: dict[str, object], message: str) -> None:
    data = plain()
    data["energies"][0] |= change
    with pytest.raises(MachineError, match=message):
        machine_from_dict(data)


def test_component_per_something_else_is_refused() -> None:
    data = plain()
    data["components"][0]["per"] = "rack"
    with pytest.raises(MachineError, match="is per 'rack'"):
        machine_from_dict(data)


def test_unreadable_files_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot read"):
        load_machine(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(MachineError, match="not valid TOML"):
        load_machine(tmp_path / "bad.toml")
