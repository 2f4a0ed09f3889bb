"""Random rounds: engines agree, flipped columns stay exact, the check accepts what sums only what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pimc_isa.binary.container import from_bytes, to_bytes
from pimc_isa.check.rounds import rounds_tensors
from pimc_isa.crossbar.cells import Cells, encode, encode_differential
from pimc_isa.crossbar.rounds import OneRound, rounds_of
from pimc_isa.engines.dots import rounds as dots
from pimc_isa.engines.dots.analog import AnalogLayer
from pimc_isa.engines.dots.layer import Layer, LayerPart
from pimc_isa.engines.values import Executor
from pimc_isa.operands import Range, Weights
from pimc_isa.program import Program
from pimc_isa.text import assemble, disassemble
from tests.properties.drafts import make_machine
from tests.properties.drafts_flows import KINDS, make_cells, make_flow
from tests.properties.drafts_rounds import Patch, Plan, group_of, is_legal, random_plan
from tests.properties.programs import random_images
from tests.properties.programs_rounds import random_rounds_program
from tests.properties.test_engines_agree import SETTINGS, assert_engines_agree, noise_of

Array = np.ndarray
RANDOM = st.randoms(use_true_random=False)


@settings(SETTINGS, max_examples=60)
@given(RANDOM)
def test_step_and_cycles_agree_on_every_start_and_end(rng: Random) -> None:
    assert_engines_agree(rng, with_values=False, draft=random_rounds_program)


@settings(SETTINGS, max_examples=40)
@given(RANDOM)
def test_step_and_values_agree_on_every_row(rng: Random) -> None:
    assert_engines_agree(rng, with_values=True, draft=random_rounds_program)


@pytest.mark.parametrize("seed", range(1, 19, 2))
def test_step_and_values_agree_on_noisy_chips(seed: int) -> None:
    assert_engines_agree(Random(seed), with_values=True, noise=noise_of(seed), draft=random_rounds_program)


@settings(SETTINGS, max_examples=25)
@given(RANDOM)
def test_every_way_of_running_gives_the_same_values(rng: Random) -> None:
    program = random_rounds_program(rng)
    inputs = random_images(rng, program, 2)
    expected = Executor(program).run(inputs).outputs
    others = Executor(program, rowwise=True), Executor(program, merge=False), Executor(program, prove=False)
    for other in others:
        for name, value in other.run(inputs).outputs.items():
            np.testing.assert_array_equal(value, expected[name])


@settings(SETTINGS, max_examples=25)
@given(RANDOM)
def test_text_and_file_are_inverses(rng: Random) -> None:
    program = random_rounds_program(rng)
    text, data = disassemble(program), to_bytes(program)
    assert disassemble(assemble(text)) == text == disassemble(from_bytes(data))
    assert to_bytes(assemble(text)) == data
    assert assemble(text).rounds == from_bytes(data).rounds == program.rounds


# ---- a judge that can fail ----


def copies_forgotten(patch: pytest.MonkeyPatch) -> None:
    nothing = np.zeros(0, np.int64)
    patch.setattr(dots, "copied", lambda program, group: (nothing, nothing))


def nothing_added(patch: pytest.MonkeyPatch) -> None:
    def overwriting(*args: Any) -> tuple[OneRound, ...]:
        return tuple(replace(done, added=np.zeros_like(done.added)) for done in rounds_of(*args))

    patch.setattr(dots, "rounds_of", overwriting)
    patch.setattr(dots.RoundsProduct, "exact", dots.RoundsProduct.converted)


def one_round_in_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Program, "rounds_of", lambda program, group: 1)


def one_draw_for_all_rounds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AnalogLayer, "of_round", lambda layer, number: layer)


FAULTS = (copies_forgotten, nothing_added, one_round_in_time, one_draw_for_all_rounds)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_rule_is_found(fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    assert any(_differ(seed) for seed in range(40))


def _differ(seed: int) -> bool:
    try:
        assert_engines_agree(Random(seed), with_values=True, noise=noise_of(seed), draft=random_rounds_program)
    except AssertionError:
        return True
    return False


# ---- one group ----


def sizes_of(rng: Random, height: int = 0) -> Plan:
    """Weights, and a part of them, of any size: short last blocks, a few outputs side by side."""
    k, n = rng.randint(1, 3 * height or 24), rng.randint(1, 8)
    height, across = height or rng.randint(1, 9), rng.randint(1, 4)
    weights = Weights("w", 1, k, n, height, (2, 2, 2, 2))
    first, outputs = height * rng.randint(0, weights.blocks - 1), rng.randint(0, 3)
    span: Range = (rng.randint(0, n - 1), n)
    return Plan(weights, (first, k), span, rng.randint(1, 30), (outputs, outputs + rng.randint(1, 12)), across)


def program_of(rng: Random, plan: Plan, cells: Cells, kind: str, exact: bool = True) -> Program:
    """No more than the group's weights, flow, rounds and tables."""
    machine, _ = make_machine(rng, 1)
    machine = replace(machine, array=replace(machine.array, columns=plan.across * plan.weights.columns))
    flow = make_flow(rng, "f", kind, plan.weights.slices, exact)
    held = {f"w.{part}": getattr(cells, part) for part in ("codes", "polarity", "centre")}
    tensors = {**held, **plan.tensors("r", rng)}
    return Program(machine, (), (), (flow,), (plan.weights,), (), (), tensors, {}, (plan.declared("r"),))


@settings(SETTINGS, max_examples=60)
@given(RANDOM, st.sampled_from(["offset", "pairs"]))
def test_conversions_that_lose_nothing_leave_integer_sums(rng: Random, kind: str) -> None:
    """Whatever is driven, flipped columns and centres count it and nothing else."""
    plan = random_plan(rng, sizes_of(rng))
    values = np.random.default_rng(rng.randrange(1 << 30)).integers(-128, 128, (1, plan.weights.k, plan.weights.n))
    plan.weights = replace(plan.weights, bipolar=kind == "pairs")
    made = encode if kind == "offset" else encode_differential
    cells = made(np.maximum(values, -127).astype(np.int8), plan.weights.slices, plan.weights.block_rows)
    p, group = program_of(rng, plan, cells, kind), group_of(plan, "r", "f", 1, (0.0, 1.0))
    assert not list(rounds_tensors(p, group))
    layer = Layer(p, LayerPart.of(group))
    assert layer.exact
    assert layer.rounds is not None
    x = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, (5, plan.inputs)).astype(np.uint8)
    want = x.astype(np.int64) @ plan.matrix(np.maximum(values[0], -127))
    np.testing.assert_array_equal(layer.rounds.matrix(), plan.matrix(np.maximum(values[0], -127)))
    for sums in (layer.rounds.exact(x), layer.rounds.converted(x), layer.rounds.sliced(x)):
        np.testing.assert_array_equal(sums, want)


@settings(SETTINGS, max_examples=40)
@given(RANDOM, st.sampled_from(KINDS), st.sampled_from([5, 32, 40, 64]))
def test_kernels_compute_what_slices_do(rng: Random, kind: str, height: int) -> None:
    """Conversions that round and clip, in row blocks whose bits can be counted and in others."""
    plan = random_plan(rng, sizes_of(rng, height))
    plan.weights = replace(plan.weights, bipolar=kind != "offset")
    shape = 1, plan.weights.k, plan.weights.n
    values = np.random.default_rng(rng.randrange(1 << 30)).integers(-127, 128, shape).astype(np.int8)
    cells = make_cells(kind, values, plan.weights.slices, height)
    p = program_of(rng, plan, cells, kind, exact=False)
    group = group_of(plan, "r", "f", 1, (0.125, 3.0) if "ranged" in kind else (0.0, 1.0))
    rounds = Layer(p, LayerPart.of(group)).rounds
    assert rounds is not None
    x = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, (5, plan.inputs)).astype(np.uint8)
    np.testing.assert_array_equal(rounds.converted(x), rounds.sliced(x))


@settings(SETTINGS, max_examples=300, suppress_health_check=list(HealthCheck))
@given(RANDOM)
def test_the_check_accepts_what_sums_only_what_is_wanted(rng: Random) -> None:
    """Two or three patches anywhere in one round, against all pairs of a driven row and an output that is read."""
    plan = sizes_of(rng)
    patches = [_anywhere(rng, plan) for _ in range(rng.randint(2, 3))]
    channels = set().union(*(patch.columns.values() for patch in patches))
    plan.rounds = [patches]
    plan.copies = {channel: min(channels) for channel in range(*plan.outputs) if channel not in channels}
    cells = encode(np.zeros((1, plan.weights.k, plan.weights.n), np.int8), plan.weights.slices, plan.weights.block_rows)
    p = program_of(rng, plan, cells, "offset")
    assert (not list(rounds_tensors(p, group_of(plan, "r", "f", 1, (0.0, 1.0))))) == is_legal(plan, patches)


def _anywhere(rng: Random, plan: Plan) -> Patch:
    """Some rows and some outputs; inputs and channels follow from them more often than not."""
    rows = rng.sample(range(*plan.k), rng.randint(1, plan.k[1] - plan.k[0]))
    columns = rng.sample(range(*plan.n), rng.randint(1, plan.n[1] - plan.n[0]))
    (lo, hi), free = plan.outputs, rng.random() < 0.1
    return Patch(
        {row: rng.randrange(plan.inputs) if free else row % plan.inputs for row in rows},
        {column: rng.randrange(lo, hi) if free else lo + column % (hi - lo) for column in columns},
    )
