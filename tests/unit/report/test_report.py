"""Figures of programs against counts made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pimc
from pimc.report.layers import layer_report
from pimc.report.summary import conversions_proved, summary
from pimc_isa.check import check
from pimc_isa.engines.cycles import simulate
from pimc_models import fashion
from tests.unit.isa.engines.tiny import both


@pytest.fixture(scope="module")
def compiled() -> pimc.CompiledProgram:
    return pimc.compile(fashion.int8_path())


def test_summary_counts_what_the_program_holds(compiled: pimc.CompiledProgram) -> None:
    values = summary(compiled.program)
    assert values["target"] == "isaac"
    assert values["tiles"] == len(compiled.program.tiles) - 1
    assert values["instructions"] == sum(len(t.code) for t in compiled.program.tiles)
    assert values["chips"] == 1


def test_small_layers_can_share_a_tile(compiled: pimc.CompiledProgram) -> None:
    """Two layers to a tile, but for the two that need most of one each: 10 tiles instead of 17, and no slower."""
    apart = compiled.program
    home = {n: apart.tile[n if n in (0, 13, 14) else (n - 1) // 2 * 2 + 1] for n in apart.tile}
    tiles = tuple(replace(t, chip=home[t.number].chip, x=home[t.number].x, y=home[t.number].y) for t in apart.tiles)
    program = replace(apart, tiles=tiles)
    check(program)
    timing = both(program, 2)
    assert (summary(program)["tiles"], summary(program)["arrays"]) == (10, summary(apart)["arrays"])
    assert timing.interval_cycles == simulate(apart, 2).interval_cycles
    before = layer_report(apart, simulate(apart, 2), compiled.energy, timing.interval_cycles)
    layers = layer_report(program, timing, compiled.energy, timing.interval_cycles)
    assert [layer.tiles for layer in layers] == [layer.tiles for layer in before]
    assert all(a.busy <= b.busy <= 1 for a, b in zip(before, layers, strict=True))
    assert any(a.busy < b.busy for a, b in zip(before, layers, strict=True))


def test_arrays_of_one_copy_by_hand(compiled: pimc.CompiledProgram) -> None:
    """128 x 128 cells of 2 bits hold 128 rows x 32 outputs of 8-bit weights."""
    expected = 0
    for w in compiled.program.weights:
        if w.groups == 1:
            expected += -(-w.k // 128) * -(-w.n // 32)
        else:  # depthwise: several groups share an array, 9 rows and 4 + 1 columns each
            expected += -(-w.groups // min(128 // w.k, 129 // 5))
    assert summary(compiled.program)["arrays_one_copy"] == expected


def test_a_column_that_can_overflow_is_not_proved(compiled: pimc.CompiledProgram) -> None:
    program = compiled.program
    assert conversions_proved(program) == 1.0
    name = max((w for w in program.weights if w.groups == 1), key=lambda w: w.k).name
    full = np.full_like(program.tensors[f"{name}.codes"], 255)
    clipped = replace(program, tensors={**program.tensors, f"{name}.codes": full})
    assert 0.5 < conversions_proved(clipped) < 1.0


def test_layers_share_out_the_energy(compiled: pimc.CompiledProgram) -> None:
    layers = layer_report(compiled.program, compiled.timing, compiled.energy, compiled.interval_cycles)
    assert sum(layer.joules for layer in layers) == pytest.approx(compiled.energy.joules)
    assert max(layer.busy for layer in layers) <= 1.0 + 1e-9
    stem = next(layer for layer in layers if "stem/conv" in layer.name)
    assert stem.utilisation == pytest.approx(9 * 16 * 4 / (128 * 128))


def test_streams_of_images_take_latency_and_intervals(compiled: pimc.CompiledProgram) -> None:
    assert compiled.cycles(0) == 0
    assert compiled.latency_cycles == compiled.cycles(1) <= compiled.timing.latency_cycles

    for images in (1, 2, 3, 4, 9):
        assert compiled.cycles(images) == simulate(compiled.program, images=images).image_ends[-1]
