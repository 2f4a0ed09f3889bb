"""Random networks on random small machines: whatever the cut, the program computes what the graph computes."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings

from pimc.ir.evaluate import evaluate
from pimc.ir.graph import Graph
from pimc.passes.target import Target
from pimc_isa.check import check
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.values import run
from tests.properties.nets import compile_graph, graphs, targets


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(graphs(), targets())
def test_program_equals_graph_and_does_not_deadlock(graph: Graph, target: Target) -> None:
    program = compile_graph(graph, target)
    check(program)
    shape = graph.inputs[0].shape
    x = np.random.default_rng(1).integers(0, 256, (2, *shape), dtype=np.uint8)
    golden = evaluate(graph, {"input": x})
    result = run(program, {"input": x}, keep=True)
    for op in graph.ops():
        for view in op.views:
            expected = golden[op.name].transpose(0, 3, 1, 2).reshape(len(x), *view.shape)
            np.testing.assert_array_equal(result.tensors[view.tensor], expected, err_msg=view.tensor)
    timing = simulate(program, images=3)
    assert 0 < timing.latency_cycles <= timing.total_cycles
    assert timing.interval_cycles > 0
