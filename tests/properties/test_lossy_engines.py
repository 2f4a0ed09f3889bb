"""Lossy targets on small random networks: the slow referee and every way of running the values engine agree."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from pimc.analysis.replicate import MappingError
from pimc.ir.graph import Graph
from pimc.passes.choose_inputs import ChooseInputs
from pimc.passes.choose_ranges import ChooseRanges
from pimc.passes.choose_slices import ChooseSlices
from pimc.passes.manager import run_passes
from pimc_backends import cascade, isaac, isaac_style, neural_pim, raella
from pimc_isa.engines import step
from pimc_isa.engines.noise import parse_noise
from pimc_isa.engines.values import Executor
from pimc_isa.machine import Chip
from pimc_isa.program import Program
from tests.properties.nets import graphs

Array = np.ndarray


def compile_for(backend: ModuleType, graph: Graph, arrays: int, scale: str = "0.125/20", **options: str) -> Program:
    """Compile with few crossbars in a tile, so that layers are cut along inputs and outputs; in the usual slices."""
    target = backend.target(**options)
    tile = replace(target.machine.tile, arrays=arrays)
    target = replace(target, machine=replace(target.machine, tile=tile, chip=Chip(6, 6)))
    kept = [p for p in backend.passes() if not isinstance(p, ChooseSlices | ChooseInputs)]
    passes = [ChooseRanges(force=scale) if isinstance(p, ChooseRanges) else p for p in kept]
    try:
        program: Program = backend.emit(run_passes(graph, passes, target), target)
    except MappingError:
        reject()
    return program


def inputs(program: Program, images: int = 2) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    return {p.name: rng.integers(0, 256, (images, *p.shape), dtype=np.uint8) for p in program.inputs}


def some(number: int) -> settings:
    """Settings for that many random networks."""
    return settings(max_examples=number, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.mark.parametrize("backend", [neural_pim, cascade, isaac_style])
@some(2)
@given(graph=graphs(), arrays=st.sampled_from([1, 2, 8]))
def test_the_referee_agrees(backend: ModuleType, graph: Graph, arrays: int) -> None:
    judge(compile_for(backend, graph, arrays))


@pytest.mark.slow
@pytest.mark.parametrize("backend", [neural_pim, cascade, isaac_style])
@some(12)
@given(graph=graphs(), arrays=st.sampled_from([1, 2, 8]))
def test_the_referee_agrees_on_many(backend: ModuleType, graph: Graph, arrays: int) -> None:
    judge(compile_for(backend, graph, arrays))


def judge(program: Program) -> None:
    x = inputs(program)
    slow = step.run(program, x, 2)
    for engine in (Executor(program), Executor(program, merge=False), Executor(program, prove=False)):
        fast = engine.run(x)
        for name, expected in slow.outputs.items():
            np.testing.assert_array_equal(fast.outputs[name], expected)


@pytest.mark.parametrize("kind", ["fitted", "trained"])
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(graph=graphs(), arrays=st.sampled_from([1, 8]))
def test_the_referee_agrees_with_peripherals(kind: str, graph: Graph, arrays: int) -> None:
    program = compile_for(neural_pim, graph, arrays, peripherals=kind)
    assert program.meta["peripherals"] == kind
    x = inputs(program, 1)
    slow, fast = step.run(program, x, 1), Executor(program).run(x)
    apart, rowwise = Executor(program, merge=False).run(x), Executor(program, rowwise=True).run(x)
    for name, expected in slow.outputs.items():
        np.testing.assert_array_equal(fast.outputs[name], expected)
        np.testing.assert_array_equal(apart.outputs[name], expected)
        np.testing.assert_array_equal(rowwise.outputs[name], expected)


@pytest.mark.parametrize(
    ("backend", "kind", "model"),
    [
        (neural_pim, "ideal", "device:cell=0.3,read=0.01"),
        (neural_pim, "fitted", "device:cell=0,read=0.02"),
        (neural_pim, "trained", "device"),
        (neural_pim, "ideal", "sinad=30"),
        (cascade, "ideal", "device:cell=0.3,read=0.01"),
        (isaac_style, "ideal", "sinad=40"),
        *((backend, "ideal", "column=0.2") for backend in (neural_pim, cascade, isaac, isaac_style, raella)),
    ],
)
@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(graph=graphs(), arrays=st.sampled_from([1, 8]))
def test_the_referee_agrees_on_noisy_chips(
    backend: ModuleType, kind: str, model: str, graph: Graph, arrays: int
) -> None:
    options = {"peripherals": kind} if backend is neural_pim else {}
    program = compile_for(backend, graph, arrays, **options)
    x, noise = inputs(program, 1), parse_noise(3, model)
    slow, fast = step.run(program, x, 1, noise=noise, first=5), Executor(program, noise=noise).run(x, first=5)
    for name, expected in slow.outputs.items():
        np.testing.assert_array_equal(fast.outputs[name], expected)


@pytest.mark.parametrize("kind", ["ideal", "fitted", "trained"])
@pytest.mark.parametrize("backend", [neural_pim, cascade, isaac_style])
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(graph=graphs(), arrays=st.sampled_from([1, 8]))
def test_noise_knows_neither_batches_nor_order_nor_cuts(
    backend: ModuleType, kind: str, graph: Graph, arrays: int
) -> None:
    if kind != "ideal" and backend is not neural_pim:
        return
    options = {"peripherals": kind} if backend is neural_pim else {}
    program = compile_for(backend, graph, arrays, **options)
    x = inputs(program, 3)
    for model in ("device:cell=0.3,read=0.01", "sinad=30", "column=0.2"):
        if model.startswith("column") and kind != "ideal":
            continue
        noise = parse_noise(7, model)
        engine = Executor(program, noise=noise)
        together = engine.run(x, keep=True)
        for n in (2, 0, 1):
            alone = engine.run({k: v[n : n + 1] for k, v in x.items()}, keep=True, first=n)
            for name, expected in together.tensors.items():
                np.testing.assert_array_equal(alone.tensors[name][0], expected[n], err_msg=name)
        if model != "sinad=30":
            apart = Executor(program, merge=False, noise=noise).run(x, keep=True)
            for name, expected in together.tensors.items():
                np.testing.assert_array_equal(apart.tensors[name], expected, err_msg=name)
        other = Executor(program, noise=parse_noise(8, model)).run(x, keep=True)
        assert any((other.tensors[name] != expected).any() for name, expected in together.tensors.items())
