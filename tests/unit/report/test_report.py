"""Figures of programs against counts made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pimc
from pimc.report.layers import layer_report
from pimc.report.summary import conversions_proved, summary
from pimc_models import fashion


@pytest.fixture(scope="module")
def compiled() -> pimc.CompiledProgram:
    return pimc.compile(fashion.int8_path())


def test_summary_counts_what_the_program_holds(compiled: pimc.CompiledProgram) -> None:
    values = summary(compiled.program)
    assert values["target"] == "isaac"
    assert values["tiles"] == len(compiled.program.tiles) - 1
    assert values["instructions"] == sum(len(t.code) for t in compiled.program.tiles)
    assert values["chips"] == 1


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
    from pimc_isa.engines.cycles import simulate

    for images in (1, 2, 3, 4, 9):
        assert compiled.cycles(images) == simulate(compiled.program, images=images).image_ends[-1]
