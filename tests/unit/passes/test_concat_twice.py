"""A value may stand several times in a concatenation."""

from __future__ import annotations

import numpy as np

import pimc_backends.isaac as isaac
from pimc.ir.evaluate import evaluate
from pimc.passes.manager import run_passes
from pimc_isa.check import check
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.values import run
from tests.unit.passes.graphs import Net


def test_nested_concatenation_with_a_value_twice() -> None:
    net = Net((6, 5, 4))
    a, b = net.conv(net.x, 8), net.conv(net.x, 4)
    graph = net.finish(net.concat(net.concat(a, b), a))
    target = isaac.target()
    program = isaac.emit(run_passes(graph, isaac.passes(), target), target)
    check(program)
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 5), dtype=np.uint8)
    (last,) = graph["tail"].inputs
    expected = evaluate(graph, {"input": x})[last].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(run(program, {"input": x}).outputs["output"], expected)
    assert simulate(program).interval_cycles > 0
