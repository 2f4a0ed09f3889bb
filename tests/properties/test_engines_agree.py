"""Three engines, one program: timing and values must be the same to the cycle and to the bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pimc.ir.graph import Graph
from pimc.passes.target import Target
from pimc_isa.check import check
from pimc_isa.energy import Tallies, program_counts
from pimc_isa.engines import step, values
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.cycles.links import LinkTimes
from pimc_isa.engines.noise import Noise, parse_noise
from pimc_isa.engines.timing import Timing
from pimc_isa.errors import DeadlockError
from pimc_isa.instructions import Send
from pimc_isa.program import Program
from tests.properties.nets import compile_graph, graphs, targets
from tests.properties.programs import random_images, random_program
from tests.unit.isa.engines.tiny import same

Array = np.ndarray

RANDOM = st.randoms(use_true_random=False)
SETTINGS = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def fast(program: Program, images: int) -> Timing | None:
    try:
        return simulate(program, images)
    except DeadlockError as error:
        lines = len(str(error).splitlines())
    assert 2 <= lines <= 7
    return None


def slow(
    program: Program, inputs: Mapping[str, Array], images: int, with_values: bool, noise: Noise | None = None
) -> step.StepResult | None:
    try:
        return step.run(program, inputs, images, with_values, noise)
    except DeadlockError:
        return None


def assert_engines_agree(
    rng: Random, with_values: bool, noise: Noise | None = None, draft: Callable[[Random], Program] = random_program
) -> bool:
    """One random program through all engines; whether it ran to its end."""
    program = draft(rng)
    check(program)
    images = rng.randint(1, 3)
    inputs = random_images(rng, program, images)
    timing, result = fast(program, images), slow(program, inputs, images, with_values, noise)
    assert (timing is None) == (result is None), "only one engine sees a deadlock"
    if timing is None or result is None:
        return False
    same(timing, result.timing)
    if with_values:
        assert_values_agree(program, inputs, result, noise)
    return True


def assert_values_agree(
    program: Program, inputs: Mapping[str, Array], result: step.StepResult, noise: Noise | None = None
) -> None:
    """Outputs, every row of every buffer, every action. No tie is excused: the manual fixes the order of float sums."""
    computed = values.Executor(program, noise=noise).run(inputs, keep=True, counts=True)
    assert_counts_agree(program, len(next(iter(inputs.values()))), computed.tallies, result)
    assert computed.outputs.keys() == result.outputs.keys()
    for name, value in result.outputs.items():
        np.testing.assert_array_equal(computed.outputs[name], value)
    for tile in program.tiles:
        for b in tile.buffers:
            tensor = computed.tensors[b.views[0].tensor]
            if b.views[0].order == "CHW":
                tensor = tensor.transpose(0, 2, 3, 1)
            held = tensor[:, :, slice(*b.cols), slice(*b.chans)]
            np.testing.assert_array_equal(held, result.buffers[tile.number, b.name], f"tile {tile.number} {b.name}")


def assert_counts_agree(program: Program, images: int, tallies: Tallies, result: step.StepResult) -> None:
    """Actions by layer. Only shares of partial sums are no whole numbers; they are rounded."""
    counted = program_counts(program, images, tallies).layers
    assert counted.keys() == result.counts.keys()
    for layer, actions in result.counts.items():
        booked = {action: number for action, number in actions.items() if number}
        assert {a: n for a, n in counted[layer].items() if n} == pytest.approx(booked, rel=1e-12), layer


@SETTINGS
@given(RANDOM)
def test_step_and_cycles_agree_on_every_start_and_end(rng: Random) -> None:
    assert_engines_agree(rng, with_values=False)


@settings(SETTINGS, max_examples=40)
@given(RANDOM)
def test_step_and_values_agree_on_every_row(rng: Random) -> None:
    assert_engines_agree(rng, with_values=True)


@settings(SETTINGS, max_examples=15)
@given(graphs(), targets())
def test_step_and_cycles_agree_on_compiled_networks(graph: Graph, target: Target) -> None:
    program = compile_graph(graph, target)
    same(simulate(program, 2), step.run(program, {}, 2, values=False).timing)


def noise_of(seed: int) -> Noise | None:
    """For half of the programs none, else a chip whose cells vary, whose reads or columns are noisy, or both."""
    models = (
        *(None, "device:cell=0.2,read=0.02", None, "device:cell=0,read=0.02,hold=0.01"),
        *(None, "device", None, "column=0.12"),
    )
    model = models[seed % len(models)]
    return None if model is None else parse_noise(seed, model)


@pytest.mark.parametrize("seed", range(1, 41, 2))
def test_step_and_values_agree_on_noisy_chips(seed: int) -> None:
    assert_engines_agree(Random(seed), with_values=True, noise=noise_of(seed))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_many_programs(block: int) -> None:
    seeds = range(100 * block, 100 * block + 100)
    ran = [assert_engines_agree(Random(seed), with_values=True, noise=noise_of(seed)) for seed in seeds]
    assert sum(ran) > 50, "too many deadlocks to say anything"


@SETTINGS
@given(RANDOM)
def test_units_are_in_order_and_never_in_two_places(rng: Random) -> None:
    program = random_program(rng)
    timing = fast(program, 2)
    if timing is None:
        return
    for trace in timing.tiles:
        assert (trace.end > trace.start).all()
        code = program.tile[trace.tile].code
        for unit in {code[k].unit for k in trace.index} - {"matrix", "host"}:
            own = np.array([code[k].unit == unit for k in trace.index])
            start, end = trace.start[:, own].ravel(), trace.end[:, own].ravel()
            assert (start[1:] >= end[:-1]).all()
    assert list(timing.image_ends) == sorted(timing.image_ends)


@SETTINGS
@given(RANDOM)
def test_without_contention_deeper_channels_delay_nothing(rng: Random) -> None:
    """Where no two tiles share a link, a start is a maximum of earlier times, so room can only help."""
    program = random_program(rng)
    network = LinkTimes(program)
    if any(network.holds(t.number, k) for t in program.tiles for k, i in enumerate(t.code) if isinstance(i, Send)):
        return
    before = fast(program, 2)
    deeper = tuple(dataclasses.replace(c, depth=c.depth + 1) for c in program.channels)
    after = fast(dataclasses.replace(program, channels=deeper), 2)
    if before is None:
        return
    assert after is not None
    for a, b in zip(after.tiles, before.tiles, strict=True):
        assert (a.start <= b.start).all()
