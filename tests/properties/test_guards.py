"""Random programs with guarded conversions and pulse trains: all engines agree on every row and every action.

Static counts are an upper bound of what is counted, and equal where nothing depends on data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from pimc_isa.check import check
from pimc_isa.define import Context
from pimc_isa.energy import program_counts
from pimc_isa.engines import values
from pimc_isa.engines.noise import Noise, parse_noise
from pimc_isa.instructions import Mvm
from pimc_isa.program import Program, Tile
from tests.properties.programs import random_images, random_program
from tests.properties.programs_rounds import random_rounds_program
from tests.properties.test_engines_agree import assert_counts_agree, assert_values_agree, noise_of, slow


def agree(seed: int, draft: Callable[..., Program] = random_program, noise: Noise | None = None, **how: bool) -> None:
    rng = Random(seed)
    program = draft(rng, 3, guarded=True, **how)
    check(program)
    images = rng.randint(1, 2)
    inputs, noise = random_images(rng, program, images), noise or noise_of(seed)
    result = slow(program, inputs, images, True, noise)
    if result is None:
        return
    assert_values_agree(program, inputs, result, noise)
    for way in ({"rowwise": True}, {"merge": False}, {"prove": False}):
        computed = values.Executor(program, noise=noise, **way).run(inputs, counts=True)
        assert_counts_agree(program, images, computed.tallies, result)
        for name, expected in result.outputs.items():
            np.testing.assert_array_equal(computed.outputs[name], expected)


@pytest.mark.parametrize("seed", range(40))
def test_engines_agree(seed: int) -> None:
    agree(seed)


@pytest.mark.parametrize("seed", range(40))
def test_engines_agree_on_rounds(seed: int) -> None:
    agree(seed, random_rounds_program)


@pytest.mark.parametrize("seed", range(40))
def test_engines_agree_on_signed_passes(seed: int) -> None:
    agree(seed, signed=True)


@pytest.mark.parametrize("seed", range(30))
def test_engines_agree_on_signed_passes_in_rounds(seed: int) -> None:
    agree(seed, random_rounds_program, signed=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_engines_agree_on_many_signed_passes(seed: int) -> None:
    agree(seed, random_program if seed % 2 else random_rounds_program, signed=True)


@pytest.mark.parametrize("draft", [random_program, random_rounds_program])
@pytest.mark.parametrize("seed", range(40, 48))
def test_engines_agree_on_noisy_columns(seed: int, draft: Callable[..., Program]) -> None:
    """Speculation that fails because of noise is recovered, with draws of its own."""
    agree(seed, draft, parse_noise(seed, "column=0.4"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_engines_agree_on_many_rounds(seed: int) -> None:
    agree(seed, random_rounds_program)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1400))
def test_engines_agree_on_many(seed: int) -> None:
    agree(seed)


def test_the_programs_have_what_is_tested() -> None:
    """Flagged conversions, some but not all; pulses, fewer than there could be."""
    flags = pulses = 0
    for seed in range(40):
        rng = Random(seed)
        program = random_program(rng, 3, guarded=True)
        ran = values.Executor(program).run(random_images(rng, program, 1), counts=True)
        most, counted = program_counts(program), program_counts(program, 1, ran.tallies)
        assert not counted.bound
        for layer, actions in counted.layers.items():
            for action, number in actions.items():
                assert number <= most.layers[layer][action], (layer, action)
            flags += 0 < most.layers[layer].get("adc_conversion", 0) > actions.get("adc_conversion", 0)
            pulses += 0 < actions.get("dac_pulse", 0) < most.layers[layer].get("dac_pulse", 0)
    assert flags > 40
    assert pulses > 20


@pytest.mark.parametrize("seed", range(30))
def test_without_guards_and_pulses_static_counts_are_the_counts(seed: int) -> None:
    rng = Random(seed)
    program = random_program(rng, 4)
    images = rng.randint(1, 3)
    static = program_counts(program)
    ran = values.Executor(program).run(random_images(rng, program, images), counts=True)
    assert not static.bound
    assert not ran.tallies
    assert program_counts(program, images, ran.tallies).layers == static.of(images).layers


def test_counts_do_not_depend_on_batches_and_noise_of_nothing() -> None:
    for seed in range(12):
        rng = Random(seed)
        program = random_program(rng, 3, guarded=True)
        inputs = random_images(rng, program, 3)
        whole = values.Executor(program).run(inputs, counts=True).tallies
        pieces = [
            values.Executor(program).run({k: v[n : n + 1] for k, v in inputs.items()}, first=n, counts=True).tallies
            for n in range(3)
        ]
        assert {step: pieces[0][step] + pieces[1][step] + pieces[2][step] for step in whole} == whole
        quiet = parse_noise(3, "device:cell=0,read=0,hold=0,peripherals=0")
        assert values.Executor(program, noise=quiet).run(inputs, counts=True).tallies == whole


def test_what_nobody_reads_is_counted() -> None:
    """A matrix instruction more, into a buffer that nobody reads: the chip multiplies all the same."""
    seen = 0
    for seed in range(60):
        program = random_program(Random(seed), 2, guarded=True)
        more = replace(program, tiles=tuple(map(_with_unread, program.tiles)))
        apart = values.Executor(more, merge=False)  # else both are one operation
        tallies = apart.run(random_images(Random(seed), program, 1), counts=True).tallies
        for tile in more.tiles:
            for position, instr in enumerate(tile.code):
                if isinstance(instr, Mvm) and instr.dst.buffer == "unread":
                    measured = instr.measures(Context(more, tile))
                    assert tallies.get((tile.number, position)) == tallies.get((tile.number, position - 1))
                    assert bool(measured) == ((tile.number, position) in tallies)
                    seen += bool(measured)
    assert seen > 20


def _with_unread(tile: Tile) -> Tile:
    """Its first ``mvm`` twice, the second time into a buffer that nobody reads."""
    at = next((n for n, instr in enumerate(tile.code) if isinstance(instr, Mvm)), None)
    if at is None:
        return tile
    instr = tile.code[at]
    assert isinstance(instr, Mvm)
    unread = replace(tile.buffer[instr.dst.buffer], name="unread", views=())
    code = (*tile.code[: at + 1], replace(instr, dst=replace(instr.dst, buffer="unread")), *tile.code[at + 1 :])
    return replace(tile, buffers=(*tile.buffers, unread), code=code, nodes=("",) * len(code) if tile.nodes else ())
