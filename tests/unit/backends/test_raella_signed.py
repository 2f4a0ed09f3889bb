"""RAELLA's signed passes: programs against a plain model and onnxruntime, and how a layer's inputs are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc import driver
from pimc.analysis.calibrate import watched
from pimc.analysis.driving import Outcome, can_try, least_energy, outcomes
from pimc.analysis.slicing import BUDGET
from pimc.frontend import load_model
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import Pass, PassError
from pimc.passes.choose_inputs import ChooseInputs
from pimc.passes.choose_slices import sampled_layer
from pimc.passes.manager import run_passes
from pimc.passes.plan_file import PlanFile, plan_text, read_plan
from pimc.passes.target import Target, TargetError
from pimc_backends import isaac, raella
from pimc_backends.kit.target import analog_pipeline
from pimc_backends.raella.flows import SPECULATED, all_slicings, bits_flow, flow_name, speculative_flow
from pimc_isa.crossbar.cells import decode, encode_differential
from pimc_isa.crossbar.exactness import conversions_exact, sliced_dot
from pimc_isa.energy import program_counts
from pimc_isa.engines import step
from pimc_isa.engines.values import Executor
from pimc_isa.flow import normal_form
from pimc_isa.operands import Weights
from tests.properties.int8_nets import random_net
from tests.unit.backends.test_raella import MACHINE, ROWS, network

Array = np.ndarray
LOWEST, HIGHEST = -64, 63
WAYS = [(speculates, signed) for speculates in (True, False) for signed in (False, True)]


def layer(
    seed: int, inputs: int, zero: int, spread: float = 30.0, codes: float = 2.0
) -> tuple[onnx.ModelProto, Array, Array]:
    """A 1x1 convolution of inputs around their zero point: model, images, weights [inputs, outputs].

    ``codes``: how large its results are.
    """
    rng = np.random.default_rng(seed)
    w = np.clip(np.rint(rng.normal(rng.normal(0, 20, (3, 1)), 40, (3, inputs))), -128, 127).astype(np.int64)
    images = np.clip(np.rint(rng.normal(zero, spread, (4, inputs, 1, 3))), 0, 255).astype(np.uint8)
    return network(w, codes / 2 / (inputs * 60), zero), images, w.T


def lowered(model: onnx.ModelProto, images: Array, target: Target, steps: Sequence[Pass] | None = None) -> Graph:
    name = model.graph.input[0].name
    return driver.lower(model.SerializeToString(), target, steps or raella.passes(), calibration={name: images})


def on(flow: str, signed: str = "off") -> Target:
    """A chip whose layers all have this flow."""
    return replace(raella.target(centre="best", signed=signed), conv_flow=flow)


def cut(widths: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(sum(widths[n + 1 :]), width) for n, width in enumerate(widths)]


def plain_model(
    x: Array, w: Array, centre: Array, slicing: tuple[int, ...], zero: int, speculates: bool
) -> tuple[Array, dict[str, int]]:
    """Products [m, n] of inputs less their zero point, and what is done for them, in int64 with no cleverness."""
    total, made, flagged, pulses = np.zeros((len(x), w.shape[1]), np.int64), 0, 0, 0
    for block, top in enumerate(range(0, len(w), ROWS)):
        far, offset = x[:, top : top + ROWS].astype(np.int64) - zero, w[top : top + ROWS] - centre[block]
        total += far.sum(axis=1)[:, None] * centre[block]
        for sign in (1, -1):
            part = np.maximum(sign * far, 0)
            for first, bits in cut(SPECULATED if speculates else (1,) * 8):
                pulses += int((part >> first & (1 << bits) - 1).sum())
                pulses += sum(int((part >> bit & 1).sum()) for bit in range(first, first + bits)) * speculates
                for low, width in cut(slicing):
                    field = np.sign(offset) * (np.abs(offset) >> low & (1 << width) - 1)
                    code = np.clip((part >> first & (1 << bits) - 1) @ field, LOWEST, HIGHEST)
                    ends = ((code == LOWEST) | (code == HIGHEST)) & speculates
                    ones = [np.clip((part >> b & 1) @ field, LOWEST, HIGHEST) << b for b in range(first, first + bits)]
                    total += sign * (np.where(ends, sum(ones), code << first) << low)
                    made, flagged = made + code.size + bits * int(ends.sum()), flagged + int(ends.sum())
    corrections = w.shape[1] * len(x) * (block + 1)
    counts = {"adc_conversion": made, "shift_add": made - flagged + corrections, "dac_pulse": pulses}
    return total, counts


@pytest.mark.parametrize(("inputs", "zero", "slicing"), [(40, 128, (4, 2, 2)), (700, 100, (4, 4)), (300, 0, (2,) * 4)])
@pytest.mark.parametrize("speculates", [True, False])
def test_programs_compute_what_the_plain_model_does(
    inputs: int, zero: int, slicing: tuple[int, ...], speculates: bool
) -> None:
    model, images, w = layer(inputs, inputs, zero)
    target = on(flow_name(slicing, speculates, signed=True))
    program = driver.CompiledProgram(raella.emit(lowered(model, images, target, analog_pipeline()), target))
    (group,) = (g for t in program.program.tiles for g in t.groups)
    assert group.zero == zero
    centre = program.program.tensors[f"{group.weights}.centre"][0]
    x = images.transpose(0, 2, 3, 1).reshape(-1, inputs)
    sums, counts = plain_model(x, w, centre, slicing, zero, speculates)
    ran = program.run({"x": images})
    real = sums.astype(np.float32) * np.float32(1 / (inputs * 60))
    wanted = np.clip(np.rint(real) + 128, 0, 255)
    made = ran.outputs["y"].transpose(0, 2, 3, 1).reshape(-1, 3)
    assert (made == wanted)[np.abs(real - np.floor(real) - 0.5) > 1e-3].all()
    (booked,) = (actions for actions in ran.counts.layers.values() if actions.get("adc_conversion"))
    assert {action: booked[action] for action in counts} == counts
    slow = step.run(program.program, {"x": images[:1]})
    assert (slow.outputs["y"] == ran.outputs["y"][:1]).all()
    assert not speculates or inputs == 40 or counts["adc_conversion"] > 6 * len(slicing) * 12 * 3 * -(-inputs // ROWS)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(all_slicings()), st.booleans(), st.integers(0, 255), st.integers(0, 2**31))
def test_a_wide_converter_loses_nothing(slicing: tuple[int, ...], speculates: bool, zero: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, n = int(rng.integers(1, 700)), int(rng.integers(1, 4))
    flow = (speculative_flow if speculates else bits_flow)(slicing, 100, 24, True)
    weights, form = Weights("w", 1, k, n, ROWS, slicing[::-1], True), normal_form(flow).at(zero)
    w, centre = rng.integers(-128, 128, (1, k, n)), rng.integers(-127, 128, (1, -(-k // ROWS), n))
    cells = encode_differential(w, slicing[::-1], ROWS, centre=centre)
    assert (decode(cells, weights) == w).all()
    assert conversions_exact(cells, weights, form).holds
    x = rng.integers(0, 256, (2, 1, k)).astype(np.uint8)
    product = np.einsum("mgk,gkn->mgn", x.astype(np.int64) - zero, w)
    assert (sliced_dot(x, cells, weights, form) == product).all()


@pytest.mark.filterwarnings("ignore::pimc.frontend.macs.HostLayersWarning")
@pytest.mark.parametrize("signed", ["on", "best"])
@pytest.mark.parametrize("seed", range(3))
def test_networks_are_onnxruntimes_where_converters_are_wide(seed: int, signed: str) -> None:
    """Padded, grouped and strided convolutions with any zero points, as int8 networks have them."""
    model = random_net(seed)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    images = np.random.default_rng(seed).normal(0, 2, (6, *shape)).astype(np.float32)
    machine = replace(MACHINE, array=replace(MACHINE.array, converter_bits=20))
    target = raella.target(machine=machine, signed=signed)
    program = driver.CompiledProgram(raella.emit(lowered(model, images, target), target))
    if signed == "on":
        assert all(program.program.flow[g.flow].signed for t in program.program.tiles for g in t.groups)
    feeds = {model.graph.input[0].name: images}
    assert program.verify(feeds, own=model.SerializeToString()).verdict == "PASS"
    unproved = Executor(program.program, prove=False).run({p.name: images for p in program.program.inputs})
    for name, value in program.run(feeds).outputs.items():
        np.testing.assert_array_equal(unproved.outputs[name], value)


# ---- the choice ----


@pytest.mark.parametrize(("inputs", "zero"), [(40, 128), (700, 100), (300, 0)])
def test_a_trial_is_what_the_program_does(inputs: int, zero: int) -> None:
    """Errors are those of the results, actions those of the crossbars in a run, for every way to drive the inputs."""
    model, images, w = layer(inputs, inputs, zero)
    x = images.transpose(0, 2, 3, 1).reshape(-1, inputs).astype(np.int64)
    exact = np.clip(np.rint(((x - zero) @ w).astype(np.float32) * np.float32(1 / (inputs * 60))) + 128, 0, 255)
    for speculates, signed in WAYS:
        flow = raella.flow((4, 4), speculates, signed)
        target = on(flow.name)
        graph = lowered(model, images, target, analog_pipeline())
        program = driver.CompiledProgram(raella.emit(graph, target))
        (op,) = graph.of(Conv)
        windows = watched(graph, graph.calibration, ROWS)[op.name]
        assert len(windows) == 12
        (found,) = outcomes(sampled_layer(graph, op, windows, flow, target), [flow], zero, MACHINE)
        ran = program.run({"x": images})
        made = ran.outputs["y"].transpose(0, 2, 3, 1).reshape(-1, 3)
        counts = exact != 128
        assert found.error == pytest.approx(np.abs(made - exact)[counts].mean(), abs=0.03)
        (booked,) = (actions for actions in ran.counts.layers.values() if actions.get("adc_conversion"))
        own = ("adc_conversion", "dac_pulse", "cell_read", "cell_charge", "shift_add", "input_count", "dac_drive")
        assert {a: found.actions.get(a) for a in own} == {a: booked.get(a) for a in own}
        priced = {e.action: e.energy_pj for e in MACHINE.energies}
        assert found.energy_pj == pytest.approx(sum(n * priced.get(a, 0.0) for a, n in found.actions.items()))


def test_the_least_energy_within_the_budget_is_taken() -> None:
    found = {"a": Outcome(0.2, {}, 1.0), "b": Outcome(0.05, {}, 3.0), "c": Outcome(0.01, {}, 2.0)}
    assert least_energy(found, BUDGET) == "c"
    assert least_energy(found, 0.3) == "a"
    assert least_energy(found, 0.001) == "a"  # none is within it: all count
    assert least_energy({"b": found["b"], "a": replace(found["a"], energy_pj=3.0, error=0.01)}, BUDGET) == "a"


def chosen(graph: Graph) -> list[str | None]:
    return [op.flow for op in graph.of(Conv)]


def test_every_layer_gets_the_way_that_costs_least() -> None:
    """By the outcomes themselves; where nothing else is offered, or asked for, a layer keeps its own."""
    model, images, _ = layer(5, 300, 128, 8.0)
    graphs = {
        signed: lowered(model, images, on("raella-4-2-2", signed), (analog_pipeline()[0], ChooseInputs(10.0)))
        for signed in ("off", "best")
    }
    assert chosen(graphs["off"]) == ["raella-4-2-2"]
    graph, target = graphs["off"], on("raella-4-2-2")
    (op,) = graph.of(Conv)
    flows = [raella.flow((4, 2, 2), *way) for way in WAYS]
    assert all(map(can_try, flows))
    layer_ = sampled_layer(graph, op, watched(graph, graph.calibration, ROWS)[op.name], flows[0], target)
    energies = {f.name: o.energy_pj for f, o in zip(flows, outcomes(layer_, flows, 128, MACHINE), strict=True)}
    assert chosen(graphs["best"]) == [min(energies, key=lambda name: energies[name])]
    dear = tuple(replace(e, energy_pj=1e3) if e.action == "dac_pulse" else e for e in MACHINE.energies)
    pulses = replace(on("raella-4-2-2", "best"), machine=replace(MACHINE, energies=dear))
    steps = (analog_pipeline()[0], ChooseInputs(10.0))
    assert chosen(lowered(model, images, pulses, steps)) == ["raella-4-2-2-bits-signed"]


def test_errors_decide_before_energy() -> None:
    """512 cells and inputs around 128, bit 7 of half of them set: one pass clips even bit by bit, two do not."""
    model, images, _ = layer(3, 512, 128, 3.0, 800.0)
    target = on("raella-4-4", "best")
    graph = lowered(model, images, on("raella-4-4"), analog_pipeline()[:1])
    (op,) = graph.of(Conv)
    flows = [raella.flow((4, 4), *way) for way in WAYS]
    layer_ = sampled_layer(graph, op, watched(graph, graph.calibration, ROWS)[op.name], flows[0], target)
    errors = dict(zip(WAYS, (o.error for o in outcomes(layer_, flows, 128, MACHINE)), strict=True))
    assert max(errors[True, True], errors[False, True]) < min(errors[True, False], errors[False, False])
    between = (max(errors[True, True], errors[False, True]) + min(errors[True, False], errors[False, False])) / 2
    made = lowered(model, images, target, (analog_pipeline()[0], ChooseInputs(between)))
    assert "signed" in str(chosen(made))


def test_the_choice_is_in_the_plan_and_can_be_forced(tmp_path: Path) -> None:
    model, images, _ = layer(5, 300, 128)
    target, steps = raella.target(signed="best"), raella.passes()
    graph = lowered(model, images, target)
    (op,) = graph.of(Conv)
    plan = tmp_path / "plan.toml"
    plan.write_text(plan_text(graph, steps), encoding="utf-8")
    assert f'[choose-inputs."{op.name}"]\nflow = "{op.flow}"\n' in plan.read_text(encoding="utf-8")
    quantised = lowered(model, images, target, steps[:1])
    assert chosen(run_passes(quantised, steps[1:3], target, plan=_only(read_plan(plan)))) == [op.flow]
    other = flow_name((4, 4), False, signed=True)
    forced = PlanFile({}, {"choose-inputs": {op.name: {"flow": other}}})
    assert chosen(run_passes(quantised, steps[1:3], target, plan=forced)) == [other]


def _only(plan: PlanFile) -> PlanFile:
    names = ("choose-slices", "choose-inputs")
    return PlanFile({}, {name: fields for name, fields in plan.decisions.items() if name in names})


def test_a_choice_without_data_is_refused() -> None:
    model, _, _ = layer(5, 30, 128)
    target = on("raella-4-2-2", "best")
    with pytest.raises(
        PassError, match="chooses how inputs are driven from data, and there is none for x\ngive typical"
    ):
        run_passes(load_model(model.SerializeToString()), (analog_pipeline()[0], ChooseInputs()), target)


def test_options_that_cannot_be() -> None:
    with pytest.raises(TargetError, match="signed 'twice' do not exist; choose one of off, on, best"):
        raella.target(signed="twice")


def test_other_targets_leave_nothing_to_choose() -> None:
    model, images, _ = layer(0, 20, 128)
    target = replace(isaac.target(), signed="best")
    graph = lowered(model, images, target, (analog_pipeline()[0], ChooseInputs()))
    assert chosen(graph) == ["isaac8"]


def test_static_counts_of_two_passes_are_an_upper_bound() -> None:
    model, images, _ = layer(0, 100, 90)
    target = raella.target(signed="on")
    program = driver.CompiledProgram(raella.emit(lowered(model, images, target), target))
    most, ran = program_counts(program.program).of(4), program.run({"x": images})
    for name, actions in ran.counts.layers.items():
        assert all(number <= most.layers[name][action] for action, number in actions.items())
