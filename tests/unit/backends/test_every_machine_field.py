"""Every number of every machine: set to another legal value it has an effect, or is refused by name.

An effect is on counts, cycles, area or energy; of a converter's or a cell's bits, on what the network computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from pimc import driver
from pimc.machines import fields_of, with_settings
from pimc.passes.target import TargetError
from pimc.targets import find_target, target_names
from pimc_isa.energy import budget, program_energy
from pimc_isa.errors import PimcError
from pimc_isa.program import Program
from pimc_models import fashion

TARGETS = target_names()
#: Options that let a target compile without calibration images, with all it can do.
OPTIONS: dict[str, dict[str, Any]] = {
    "neural-pim": {"passes": "choose-ranges{force=0.125/4}", "centre": "on"},
    "raella": {"passes": "-choose-slices;-choose-inputs"},
}
PRICED = ("components.", "energies.")


def others(value: float) -> Iterator[float]:
    """Other values that may be legal, the likeliest to matter first."""
    found = [value * 2, value / 2, 1, value + 1, value * 8, value / 16, value / 64, value - 1]
    if isinstance(value, int):
        found = [int(v) for v in found]
    yield from (v for v in dict.fromkeys(found) if v != value)


@cache
def graph() -> Any:
    return fashion.int8_path().read_bytes()


def compiled(name: str, settings: dict[str, float]) -> driver.CompiledProgram:
    options: dict[str, Any] = {**OPTIONS.get(name, {}), **settings}
    target, steps = driver.choose(name, **options)
    return driver.emit(driver.lower(graph(), target, steps), target)


def measured(program: driver.CompiledProgram) -> tuple[object, ...]:
    """Counts, cycles, energy and area; the machine itself is not looked at."""
    return (
        sorted(program.energy.actions.items()),
        program.latency_cycles / program.program.machine.clock_hz,
        program.interval_cycles,
        *priced(program.program, program.interval_cycles),
        program.values(fashion.load_test()[0][:2])["logits"].tolist(),
    )


def priced(program: Program, cycles: int) -> tuple[object, ...]:
    energy = program_energy(program, cycles)
    return energy.joules, energy.static, energy.whole_chips_joules, budget(program.machine)


@cache
def published(name: str) -> tuple[driver.CompiledProgram, tuple[object, ...]]:
    program = compiled(name, {})
    return program, measured(program)


FIELDS = [
    (name, field)
    for name in TARGETS
    for field, _ in fields_of(find_target(name).machine())
    if not field.startswith(PRICED)
]


def weightless(name: str, field: str) -> bool:
    """Whether it is how many there are of a part that draws no power and takes no area."""
    parts = {f"components.{c.name}.count": c for c in find_target(name).machine().components}
    return field in parts and not (parts[field].power_mw or parts[field].area_mm2)


PRICES = [
    (name, field)
    for name in TARGETS
    for field, _ in fields_of(find_target(name).machine())
    if field.startswith(PRICED) and not weightless(name, field)
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_field_changes_something_or_is_refused(name: str, field: str) -> None:
    value = dict(fields_of(find_target(name).machine()))[field]
    refused: list[str] = []
    for other in others(value):
        try:
            found = measured(compiled(name, {field: other}))
        except TargetError as error:
            refused.append("by name" if f"{field}={other}" in str(error) else str(error))
            continue
        except PimcError:
            continue  # not legal
        if found != published(name)[1]:
            return
        refused.append("nothing changed")
    assert set(refused) <= {"by name"}, f"{field}: {refused}"


@pytest.mark.parametrize(("name", "field"), PRICES)
def test_a_price_changes_energy_or_area(name: str, field: str) -> None:
    program, _ = published(name)
    machine = find_target(name).machine()
    value = dict(fields_of(machine))[field]
    changed = replace(program.program, machine=with_settings(machine, {field: value * 2 or 1.0}))
    assert priced(changed, program.interval_cycles) != priced(program.program, program.interval_cycles)
