"""The mapper plans nothing that the check refuses: what it reckons is what a tile's memory holds, also when short."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from pimc import driver
from pimc.analysis.cut import Cut, tile_memory
from pimc.analysis.facts import facts_of, is_fused
from pimc.analysis.replicate import MappingError
from pimc.ir.graph import Graph
from pimc.passes.map_weights import resources
from pimc.passes.target import Target
from pimc_isa.check.tile import message_bytes
from pimc_isa.program import Program
from tests.differential.frontend_models import Net


def dense(seed: int) -> Net:
    """Blocks in which every layer reads all before it, with tables in tiles and pools in between."""
    net = Net(seed, qdq=False)
    rng = net.rng
    x = net.conv(net.input(3, 24, 20), 8, (3, 3), pads=[1, 1, 1, 1])
    for _ in range(2):
        for _ in range(int(rng.integers(1, 4))):
            y = net.conv(x, int(rng.integers(4, 12)), (1, 1))
            if rng.random() < 0.5:
                y = net.unary("Sigmoid", y)
            y = net.conv(y, int(rng.integers(3, 9)), (3, 3), pads=[1, 1, 1, 1])
            x = net.concat(x, y, same=bool(rng.random() < 0.5))
        x = net.max_pool(x, (2, 2), strides=[2, 2])
    net.output(net.conv(x, 5, (1, 1)))
    return net


def compiled(seed: int, memory: int, replication: str) -> tuple[Graph, Target, Program]:
    target, steps = driver.choose("isaac", replication=replication)
    machine = target.machine
    small = replace(target, machine=replace(machine, tile=replace(machine.tile, memory_bytes=memory)))
    graph = driver.lower(dense(seed).model(), small, steps)
    return graph, small, driver.emit(graph, small).program


@pytest.mark.parametrize("replication", ["balanced", "none", "stride2", "equal"])
@pytest.mark.parametrize("seed", range(4))
def test_short_memory_is_never_a_bug(replication: str, seed: int) -> None:
    """From plenty to nothing: programs that the check takes, then an error that names a layer."""
    for memory in (65536, 9000):
        compiled(seed, memory, replication)
    for memory in (5000, 3000, 1800, 1000, 600, 450, 300):
        with suppress(MappingError):
            compiled(seed, memory, replication)
    with pytest.raises(MappingError, match="layer"):
        compiled(seed, 100, replication)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("memory", [65536, 5000])
def test_what_is_reckoned_is_what_the_fullest_tile_holds(seed: int, memory: int) -> None:
    try:
        graph, target, program = compiled(seed, memory, "balanced")
    except MappingError:
        pytest.skip("too little")
    res = resources(graph, target)
    for op in graph.ops():
        m = op.mapping
        if m is None or is_fused(graph, op):
            continue
        assert op.schedule is not None
        cut = Cut(len(m.strips), len(m.parts), len(m.chain), m.copies)
        facts = facts_of(graph, op)
        reckoned = max(
            tile_memory(facts, cut, res, op.schedule.depth, loose)
            for loose in (False, True)
            if op.schedule.out_slots == (2 if loose and facts.shape[0] > 1 else 1)
        )
        tiles = [program.tile[p.tile] for p in op.placement or ()]
        assert max(_held(program, t.number) for t in tiles) <= reckoned


def _held(program: Program, number: int) -> int:
    tile = program.tile[number]
    queues = sum(program.channel[name].depth * size for name, size in message_bytes(program, tile).items())
    return queues + sum(b.memory_bytes for b in tile.buffers)
