"""The baseline of RAELLA's comparison: its chip, its flow beside ISAAC's own, and that eight bits lose nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

import pimc
from pimc.targets import find_target, target_names
from pimc_backends import isaac, isaac_8b
from pimc_isa.crossbar.footprint import group_footprint
from pimc_isa.energy import peak, program_counts, program_energy, total
from pimc_isa.engines import step
from pimc_isa.flow import check_flow, normal_form
from pimc_isa.flow.microops import CountInputs, SumInputs
from pimc_isa.program import Program
from pimc_models import fashion, zoo
from tests.differential.test_frontend import FORMS, convolution

IMAGES = fashion.load_test()[0][:8]


@pytest.fixture(scope="module")
def program() -> pimc.CompiledProgram:
    return pimc.compile(fashion.int8_path(), "isaac-8b")


def test_the_chip_is_the_papers() -> None:
    machine = isaac_8b.machine()
    assert "isaac-8b" in target_names()
    assert find_target("isaac-8b").target().name == machine.name == "isaac-8b"
    assert machine.chip.tiles == 1024
    assert machine.tile.arrays == 12 * 8
    assert total(machine).area_mm2 == pytest.approx(600)
    assert isaac_8b.flow().interval_cycles / machine.clock_hz == pytest.approx(0.8e-6)
    assert peak(machine, isaac_8b.flow()).gops_per_watt is None


def test_the_flow_is_isaacs_with_digital_sums() -> None:
    """Conversions, shifts and steps are those of the hand-written flow; the unit column's are gone."""
    ours, theirs = isaac_8b.flow(), isaac.flow("isaac8")
    assert (ours.interval, ours.latency, ours.slices) == (theirs.interval, theirs.latency, theirs.slices)
    kept = [[op for op in flow.ops if not isinstance(op, CountInputs | SumInputs)] for flow in (ours, theirs)]
    assert sorted(kept[0], key=repr) == sorted(kept[1], key=repr)
    assert not any(isinstance(op, SumInputs) for op in ours.ops)
    assert [op.bits for op in ours.ops if isinstance(op, CountInputs)] == [(bit, bit + 1) for bit in range(8)]
    assert len(normal_form(ours).blocks) == 32
    check_flow(ours, isaac_8b.machine())


def test_networks_equal_onnxruntime(program: pimc.CompiledProgram) -> None:
    report = program.verify(IMAGES)
    assert (report.verdict, report.mismatches, report.skipped) == ("PASS", 0, {})
    small = zoo.build_int8("shufflenet_v2", size=64, classes=10)
    assert pimc.compile(small, "isaac-8b", replication="none").verify().verdict == "PASS"


@pytest.mark.parametrize("form", FORMS)
def test_layers_equal_onnxruntime(form: str) -> None:
    made = pimc.compile(convolution(5, FORMS[form]).model().SerializeToString(), "isaac-8b", calibration=None)
    assert made.verify().verdict == "PASS"


def test_the_referee_agrees() -> None:
    """Values, cycles, and how often everything is done, one clock at a time."""
    model = convolution(5, FORMS["qoperator-u8s8"]).model()
    made = pimc.compile(model.SerializeToString(), "isaac-8b")
    (port,) = made.program.inputs
    images = {port.name: np.random.default_rng(2).normal(0, 4, (2, *port.shape)).astype(np.float32)}
    run, slow = made.run(images), step.run(made.program, images, 2)
    for name, values in run.outputs.items():
        assert (slow.outputs[name] == values).all()
    assert slow.timing.image_ends[-1] == run.cycles
    for layer, actions in slow.counts.items():
        booked = {action: number for action, number in actions.items() if number}
        assert booked == pytest.approx({a: n for a, n in run.counts.layers[layer].items() if n})


def test_flipped_columns_keep_to_eight_bits() -> None:
    """128 rows of what two bits hold at most are 384, which is 9 bits; 192 are 8, and 7 would clip."""
    model = zoo.build_int8("resnet18", size=32, classes=10)
    made = pimc.compile(model, "isaac-8b", replication="none").program
    largest = max(int(sums.max()) for sums in column_sums(made))
    assert 127 < largest <= 192
    assert any(made.tensors[f"{weights.name}.polarity"].any() for weights in made.weights)
    narrow = pimc.compile(model, "isaac-8b", replication="none", target_options={"array.converter_bits": 7})
    assert narrow.verify().verdict == "LOSSY"


def column_sums(program: Program) -> Iterator[npt.NDArray[np.int64]]:
    """Sums of what the cells of every column hold: what a conversion sees if all inputs have the bit."""
    for weights in program.weights:
        codes = program.tensors[f"{weights.name}.codes"].astype(np.int64)
        for start in range(0, weights.k, weights.block_rows):
            block = codes[:, start : start + weights.block_rows]
            yield from ((block >> shift & 3).sum(axis=1) for shift in (0, 2, 4, 6))


def test_no_unit_column_is_converted(program: pimc.CompiledProgram) -> None:
    """Conversions are outputs x row blocks x slices x input bits."""
    made = program.program
    for tile in made.tiles:
        for group in tile.groups:
            assert group_footprint(made, group).unit_columns == 0
    for actions in program_counts(made).layers.values():
        assert actions.get("adc_conversion", 0) == 32 * actions.get("merge_add", 0)


def test_without_data_the_energy_is_a_bound(program: pimc.CompiledProgram) -> None:
    """Cells and word lines cost what the bits of the inputs say."""
    bound = program_energy(program.program)
    run = program.run(IMAGES)
    assert bound.bound
    assert not run.energy.bound
    assert run.energy.joules < bound.joules
    for action in ("dac_pulse", "cell_read", "cell_charge"):
        assert run.energy.actions[action] < bound.actions[action]
    for action in ("adc_conversion", "shift_add", "memory_byte"):
        assert run.energy.actions[action] == bound.actions[action]
