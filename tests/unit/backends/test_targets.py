"""The targets of the Neural-PIM comparison: options, their flows and machines, and programs that carry the ranges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pimc
from pimc.passes.target import TargetError
from pimc.targets import find_target, target_names
from pimc_backends import cascade, isaac_style, neural_pim
from pimc_isa.crossbar.footprint import check_group
from pimc_isa.energy import total
from pimc_isa.errors import ProgramError
from tests.differential.test_frontend import FORMS, convolution

NAMES = ["cascade", "isaac-style", "neural-pim"]


def compiled(target: str, **options: Any) -> pimc.CompiledProgram:
    """A small convolution; ranges from random inputs."""
    model = convolution(5, FORMS["qoperator-u8s8"]).model()
    port = model.graph.input[0]
    shape = [3, *(d.dim_value for d in port.type.tensor_type.shape.dim[1:])]
    data = {port.name: np.random.default_rng(0).normal(0, 4, shape).astype(np.float32)}
    return pimc.compile(model.SerializeToString(), target, calibration=data, **options)


@pytest.mark.parametrize("name", NAMES)
def test_targets_are_installed(name: str) -> None:
    assert name in target_names()
    target = find_target(name).target()
    assert target.name == target.machine.name == name
    assert [f.name for f in target.flows] == [target.conv_flow]
    assert target.machine.notes
    assert "wide" not in target.machine.notes


@pytest.mark.parametrize("name", ["cascade", "neural-pim"])
def test_wide_says_that_it_is_no_real_chip(name: str) -> None:
    """Power and area are those of the real converters."""
    real, wide = (find_target(name).target(ranges=ranges).machine for ranges in ("gain", "wide"))
    assert wide.notes["wide"].startswith("Not a real chip")
    assert wide.array.converter_bits > real.array.converter_bits
    assert total(wide) == total(real)


def test_isaac_style_is_wide_as_it_is() -> None:
    assert isaac_style.target(ranges="wide").machine == isaac_style.machine()


def test_encoders() -> None:
    assert neural_pim.flow().bipolar
    for backend in (cascade, isaac_style):
        flipped, differential = backend.target(), backend.target(encoder="differential")
        assert (flipped.flows[0].bipolar, differential.flows[0].bipolar) == (False, True)
        assert differential.flows[0].columns == 2 * flipped.flows[0].columns == 16
    assert isaac_style.target(encoder="differential").flows[0].interval == 8
    assert cascade.target(encoder="differential").flows[0].interval == 8


@pytest.mark.parametrize("backend", [cascade, isaac_style], ids=["cascade", "isaac-style"])
def test_unknown_encoders_are_refused(backend: Any) -> None:
    with pytest.raises(TargetError, match="encoder 'offset' does not exist; choose flipped or differential"):
        backend.target(encoder="offset")


def test_converters_of_isaac_style() -> None:
    seven, eight = isaac_style.machine(), isaac_style.target(converter_bits=8).machine
    grown = 64 * (0.0012 - 0.000845)
    assert total(eight, "tile").area_mm2 - total(seven, "tile").area_mm2 == pytest.approx(grown)
    with pytest.raises(TargetError, match="7 or 8 bits, not 6"):
        isaac_style.target(converter_bits=6)


def test_a_faster_cycle_leaves_converters_as_they_are() -> None:
    slow, fast = (cascade.target(cycle_ns=ns) for ns in (100, 50))
    assert fast.machine.array.step_cycles == slow.machine.array.step_cycles // 2
    assert fast.flows[0].step_cycles == 60
    rates = [m.array.conversions_per_step / m.array.step_cycles for m in (slow.machine, fast.machine)]
    assert rates[0] == rates[1]
    assert fast.flows[0].interval_cycles <= slow.flows[0].interval_cycles


def test_programs_carry_their_ranges(tmp_path: Path) -> None:
    made = compiled("neural-pim")
    groups = [g for t in made.program.tiles for g in t.groups]
    assert groups
    assert all(g.v_max > 0 and g.gain > 0 for g in groups)
    for name in ("x.pim", "x.pimasm"):
        made.save(tmp_path / name)
        again = pimc.load(tmp_path / name).program
        assert [g for t in again.tiles for g in t.groups] == groups
        assert (again.flows, again.machine) == (made.program.flows, made.program.machine)
        assert all(w.bipolar for w in again.weights)


@pytest.mark.parametrize("name", ["isaac-style", "cascade"])
def test_programs_without_ranged_conversions_carry_none(name: str) -> None:
    assert {g.v_max for t in compiled(name).program.tiles for g in t.groups} == {0.0}


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ("neural-pim", {"v_max": 0.0}, r"ranged conversions, v_max=0.0 gain=.*\ngive both"),
        ("neural-pim", {"gain": 0.0}, "give both, above 0"),
        ("neural-pim", {"gain": float("inf")}, "give both, above 0"),
        ("isaac-style", {"v_max": 0.5}, "has no ranged conversions"),
    ],
)
def test_groups_and_flows_must_agree_on_ranges(target: str, changes: dict[str, float], message: str) -> None:
    program = compiled(target).program
    group = next(g for t in program.tiles for g in t.groups)
    check_group(program, group)
    with pytest.raises(ProgramError, match=message):
        check_group(program, replace(group, **changes))  # type: ignore[arg-type]


def test_groups_and_flows_must_agree_on_columns() -> None:
    program = compiled("isaac-style").program
    single = tuple(replace(w, bipolar=True) for w in program.weights)
    group = next(g for t in program.tiles for g in t.groups)
    with pytest.raises(ProgramError, match="weights in pairs of columns, flow isaac8x1 reads single columns"):
        check_group(replace(program, weights=single), group)
