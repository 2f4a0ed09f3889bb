"""Channel depths: enough never deadlocks, too little on a skip connection does."""

from __future__ import annotations

from dataclasses import replace

import pytest

import pimc_backends.isaac as isaac
from pimc.ir.graph import Graph
from pimc.ir.ops import Relay
from pimc.passes.manager import run_passes
from pimc_isa.engines.cycles import simulate
from pimc_isa.errors import DeadlockError
from pimc_isa.program import Program
from tests.properties.nets import small_machine
from tests.unit.passes.graphs import Net


def residual(depth: int) -> Graph:
    net = Net((24, 24, 8))
    x = net.conv(net.x, 8)
    y = x
    for _ in range(depth):
        y = net.conv(y, 8)
    return net.finish(net.add(y, x))


def compiled(graph: Graph) -> Program:
    target = isaac.target()
    return isaac.emit(run_passes(graph, isaac.passes(), target), target)


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_skip_channel_holds_the_lag_of_the_main_branch(depth: int) -> None:
    program = compiled(residual(depth))
    deepest = max((c for c in program.channels if c.source and c.dests != (0,)), key=lambda c: c.depth)
    # Every 3x3 convolution needs one row more than it has made: the main branch lags by one row each.
    assert depth + 1 <= deepest.depth <= 3 * depth + 4
    assert simulate(program, images=2).interval_cycles > 0


def too_shallow() -> Program:
    """A residual block whose skip connection holds fewer rows than the main branch lags."""
    program = compiled(residual(4))
    shallow = tuple(replace(c, depth=min(c.depth, 1)) for c in program.channels)
    slots = tuple(
        replace(t, buffers=tuple(replace(b, slots=min(b.slots, 3)) for b in t.buffers)) for t in program.tiles
    )
    return replace(program, channels=shallow, tiles=(program.tiles[0], *slots[1:]))


def test_too_shallow_a_skip_channel_deadlocks_and_names_who_waits() -> None:
    with pytest.raises(DeadlockError, match="waits for"):
        simulate(too_shallow(), images=1)


def test_relay_holds_rows_where_the_reader_has_no_memory() -> None:
    net = Net((32, 6, 8))
    x = net.conv(net.x, 24)
    y = x
    for _ in range(7):
        y = net.conv(y, 8)
    z = net.conv(net.concat(y, x), 8, 1, 1, 0)
    target = replace(isaac.target(), machine=small_machine(96, 420, (14, 12)))
    graph = run_passes(net.finish(z), isaac.passes(), target)
    assert any(isinstance(op, Relay) for op in graph.ops())
    assert simulate(isaac.emit(graph, target), images=2).interval_cycles > 0
