"""The modulo scheduler: published pipelines come out, intervals are the smallest, the product is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc.analysis.dataflow import Dataflow
from pimc.analysis.modulo import least_interval, lossless, schedule
from pimc.analysis.tasks import Task, tasks_of
from pimc_backends import cascade, isaac, isaac_style, neural_pim
from pimc_backends.kit.target import widened
from pimc_isa.crossbar.cells import encode, encode_differential
from pimc_isa.crossbar.exactness import conversions_exact, sliced_dot
from pimc_isa.errors import FlowError
from pimc_isa.flow import Flow, check_flow, parse_flow, print_flow
from pimc_isa.flow.microops import MicroOp, micro_op
from pimc_isa.machine import Machine
from pimc_isa.operands import Weights

NPIM = neural_pim.DATAFLOW


def with_array(machine: Machine, **fields: Any) -> Machine:
    return replace(machine, array=replace(machine.array, **fields))


@pytest.mark.parametrize(("name", "bits"), [("isaac8", 8), ("isaac16", 16)])
def test_isaacs_published_pipelines_come_out(name: str, bits: int) -> None:
    """The texts follow the paper's table; the scheduler has not seen them."""
    found = schedule(Dataflow("A", bits, bits, cell_bits=2, count_inputs=False), isaac.machine(), name)
    text = isaac.flow(name)
    assert sorted(found.ops, key=MicroOp.text) == sorted(text.ops, key=MicroOp.text)
    assert replace(found, ops=()) == replace(text, ops=())


def test_the_flow_of_neural_pim() -> None:
    text = """.flow npim8 input_bits=8 slices=1,1,1,1,1,1,1,1 step_cycles=120 interval=3 latency=9
      @0 load
      @1 drive 0:4
      @1 read pairs
      @2 drive 4:8
      @2 read pairs
      @2 fold >>4
      @3 fold >>4
      @4 convert signed 8 ranged
      @5 merge
      @6 scale
      @7 activate
      @8 store
    """
    assert neural_pim.flow() == parse_flow(text)


@pytest.mark.parametrize(
    ("fields", "interval"),
    [
        ({}, 3),
        ({"held_copies": 2}, 2),
        ({"conversions_per_step": 7.5}, 4),  # 8 results through 1.2 GS/s take two steps
        ({"folds_per_step": 4}, 5),  # two steps for each fold, one for the conversion
        ({"folds_per_step": 16}, 3),
        ({"conversions_per_step": 1, "held_copies": 4}, 8),
    ],
)
def test_resources_set_the_interval(fields: dict[str, Any], interval: int) -> None:
    assert schedule(NPIM, with_array(neural_pim.machine(), **fields), "x").interval == interval


@pytest.mark.parametrize(("summed", "conversions"), [(1, 15), (11, 5)])
def test_converters_set_the_interval_of_cascade(summed: int, conversions: int) -> None:
    """16 outputs in an array, 5.625 conversions in a step; each kind of conversion takes whole steps."""
    flow = cascade.target(summed_columns=summed).flows[0]
    parts = [conversions] if summed == 1 else [1, conversions - 1]
    assert flow.interval == sum(ceil(Fraction(16 * part) / Fraction("5.625")) for part in parts)


def placements(tasks: tuple[Task, ...], interval: int, starts: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Every placement in which no task waits a whole interval for nothing."""
    if len(starts) == len(tasks):
        yield starts
        return
    task = tasks[len(starts)]
    ends = [starts[n] + tasks[n].steps for n in task.after]
    lead = 0 if task.gradual else task.steps
    ready = max([0, *ends, *(starts[n] + tasks[n].steps - lead for n in task.frees)])
    for start in range(ready, ready + interval):
        yield from placements(tasks, interval, (*starts, start))


def built(tasks: tuple[Task, ...], starts: tuple[int, ...], like: Flow, interval: int) -> Flow:
    ops = [
        micro_op(start, op, (*args, f"steps={task.steps}") if task.steps > 1 else args)
        for task, start in zip(tasks, starts, strict=True)
        for op, args in task.ops
    ]
    return replace(like, interval=interval, latency=max(op.end for op in ops), ops=tuple(ops))


def legal(flow: Flow, machine: Machine) -> bool:
    try:
        check_flow(flow, machine)
    except FlowError:
        return False
    return True


@pytest.mark.parametrize(
    ("dataflow", "fields"),
    [
        (NPIM, {}),
        (replace(NPIM, dac_bits=8, ranged=False), {"dac_bits": 8}),
        (Dataflow("A", 2, 2, encoding="pairs", converter_bits=8), {}),
        (Dataflow("A", 2, 2, encoding="pairs", converter_bits=8), {"conversions_per_step": 127}),
        (Dataflow("C", 2, 2, encoding="pairs"), {}),
    ],
)
def test_no_shorter_interval_has_a_legal_schedule(dataflow: Dataflow, fields: dict[str, Any]) -> None:
    """Exhaustive search below what the scheduler found."""
    machine = with_array(neural_pim.machine(), **{"conversions_per_step": 64, "folds_per_step": 64} | fields)
    found = schedule(dataflow, machine, "x")
    tasks = tasks_of(dataflow, machine)
    assert found.interval <= 3
    for interval in range(1, found.interval):
        every = placements(tasks, interval)
        assert not any(legal(built(tasks, starts, found, interval), machine) for starts in every)
    assert any(legal(built(tasks, starts, found, found.interval), machine) for starts in placements(tasks, 2))


@pytest.mark.parametrize("rate", [16, 20, 40, 64, 100, 128])
def test_slow_converters_are_never_idle(rate: float) -> None:
    """Dataflow A: eight conversions of 128 columns, each in whole steps because the samples must stay until its end."""
    machine = with_array(isaac_style.machine(), conversions_per_step=rate, input_sum_copies=4)
    found = schedule(Dataflow("A"), machine, "x")
    assert found.interval == 8 * ceil(128 / rate) >= least_interval(Dataflow("A"), machine)


@pytest.mark.parametrize(
    ("dataflow", "machine", "message"),
    [
        (NPIM, isaac.machine(), "no folder"),
        (Dataflow("B"), isaac_style.machine(), "no buffer-writer"),
        (replace(NPIM, output_bits=9), neural_pim.machine(), "converters are narrower"),
        (replace(NPIM, dac_bits=8), neural_pim.machine(), "does not fit the DACs"),
        (replace(NPIM, cell_bits=2), neural_pim.machine(), "do not fit 1-bit cells"),
        (Dataflow("B", summed_columns=12), cascade.machine(), "summing amplifiers add fewer columns"),
        (Dataflow("B", buffer_bits=7), cascade.machine(), "buffer cells are narrower"),
        (Dataflow("A", weight_bits=200), isaac_style.machine(), "does not fit arrays of 128"),
    ],
)
def test_machines_that_cannot(dataflow: Dataflow, machine: Machine, message: str) -> None:
    with pytest.raises(FlowError, match=message):
        schedule(dataflow, machine, "x")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "D"}, "does not exist"),
        ({"kind": "A", "encoding": "folded"}, "does not exist"),
        ({"kind": "C", "encoding": "sides"}, "use pairs"),
        ({"kind": "A", "input_bits": 0}, "at least 1 bit"),
    ],
)
def test_dataflows_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FlowError, match=message):
        Dataflow(**fields)


# ---- random precisions and resources ----


@st.composite
def problems(draw: st.DrawFn) -> tuple[Dataflow, Machine]:
    """Any dataflow, and a machine that has its parts, slow or fast."""
    kind = draw(st.sampled_from("ABC"))
    encoding = draw(st.sampled_from(["flipped", "pairs", *(["sides"] if kind == "A" else [])]))
    p_i, p_w, p_r, p_d = (draw(st.integers(low, high)) for low, high in ((1, 9), (2, 9), (1, 3), (1, 4)))
    dataflow = lossless(Dataflow(kind, p_i, p_w, p_r, p_d, encoding=encoding), 16)
    rates = st.sampled_from([2.5, 7.0, 16.0, 128.0])
    base = with_array(
        neural_pim.machine(),
        rows=16,
        columns=draw(st.sampled_from([32, 128])),
        cell_bits=3,
        dac_bits=4,
        conversions_per_step=draw(rates),
        folds_per_step=draw(rates),
        buffer_writes_per_step=draw(rates),
        held_copies=draw(st.integers(1, 2)),
        input_sum_copies=draw(st.integers(1, 2)),
        buffer_arrays=draw(st.sampled_from([4, 64])),
    )
    return dataflow, widened(base, dataflow)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(problems())
def test_schedules_are_legal_and_print_and_fill_the_grid(problem: tuple[Dataflow, Machine]) -> None:
    dataflow, machine = problem
    flow = schedule(dataflow, machine, "x")
    form = check_flow(parse_flow(print_flow(flow)), machine)
    pairs = sorted(pair for block in form.blocks for pair in block.pairs)
    assert pairs == list(product(range(len(dataflow.input_slices)), range(len(dataflow.slices))))
    for block in form.blocks:
        for (i, j), exponent in zip(block.pairs, block.exponents, strict=True):
            assert block.shift + exponent == form.input_slices[i][0] + form.weight_shifts[j]
    assert flow.interval >= least_interval(dataflow, machine)
    if flow.interval > 1:
        assert not legal(replace(flow, interval=flow.interval - 1), machine)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(problems(), st.integers(0, 2**32 - 1), st.booleans())
def test_lossless_dataflows_compute_the_product(problem: tuple[Dataflow, Machine], seed: int, extreme: bool) -> None:
    """Proved exact for any weights, and equal to the integer product, also for the largest values there are."""
    dataflow, machine = problem
    form = check_flow(schedule(dataflow, machine, "x"), machine)
    rng = np.random.default_rng(seed)
    top, most = (1 << (dataflow.weight_bits - 1)) - 1, (1 << dataflow.input_bits) - 1
    k, n = 40, 3
    values = rng.choice([-top - 1, top], (1, k, n)) if extreme else rng.integers(-top - 1, top + 1, (1, k, n))
    x = np.full((2, 1, k), most) if extreme else rng.integers(0, most + 1, (2, 1, k))
    weights = Weights("w", 1, k, n, 16, dataflow.slices, dataflow.bipolar)
    cells = (encode_differential if dataflow.bipolar else encode)(values, weights.slices, 16)
    assert conversions_exact(cells, weights, form).holds
    want = np.einsum("pgk,gkn->pgn", x.astype(np.int64), values.astype(np.int64))
    np.testing.assert_array_equal(sliced_dot(x, cells, weights, form), want)
