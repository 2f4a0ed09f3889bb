"""Host calls between layers: each a process of its own, all engines agree, and the network keeps its pace."""

from __future__ import annotations

import numpy as np
import pytest

import pimc_backends.isaac as isaac
import pimc_backends.neural_pim as neural_pim
from pimc.ir.evaluate import evaluate
from pimc.ir.graph import Graph
from pimc.passes.manager import run_passes
from pimc_isa.check import check
from pimc_isa.engines import step
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.values import run
from pimc_isa.instructions import Copy, Recv, Send
from pimc_isa.program import Program
from pimc_isa.text import assemble, disassemble
from tests.unit.passes.graphs import Net

IMAGES = 6


def network(kind: str, operator: str = "softmax", side: int = 12, channels: int = 8, rows: bool = False) -> Graph:
    """Convolutions with an island in line, on a residual branch, twice on a branch, behind another, or none."""
    net = Net((side, side, 8), 1)
    x = net.conv(net.x, channels)
    if kind == "none":
        y = net.add(net.conv(x, channels), x)
    elif kind == "line":
        y = net.conv(net.island(x, operator, rows), channels)
    elif kind == "behind":
        y = net.conv(net.island(net.island(x, operator), "softmax", rows), channels)
    elif kind == "two":
        y = net.conv(net.island(net.conv(net.island(x, operator, rows), channels), "softmax"), channels)
    elif kind == "from the head":
        y = net.concat(net.conv(net.island(net.x, "softmax", rows), channels), x)
    else:
        branch = net.island(x, operator, rows)
        branch = net.maxpool(branch, 2, 2, 0) if operator == "resize" else branch
        if kind == "deep":
            branch = net.island(net.conv(branch, channels), "softmax", rows)
        y = net.add(branch, x)
    return net.finish(net.conv(y, channels))


def compiled(graph: Graph) -> Program:
    target = isaac.target()
    program = isaac.emit(run_passes(graph, isaac.passes(), target), target)
    check(program)
    return program


KINDS = [
    (kind, operator)
    for kind in ("line", "residual", "behind", "two", "deep", "from the head")
    for operator in ("softmax", "resize")
    if (kind, operator) != ("from the head", "resize")
]
WAYS = [
    (kind, operator, rows) for kind, operator in KINDS for rows in (False, True) if not rows or operator == "softmax"
]


@pytest.mark.parametrize(("kind", "operator", "rows"), WAYS)
def test_all_engines_agree_with_the_graph(kind: str, operator: str, rows: bool) -> None:
    graph = network(kind, operator, rows=rows)
    program = compiled(graph)
    x = {"input": np.random.default_rng(2).integers(0, 256, (2, *graph.inputs[0].shape), dtype=np.uint8)}
    golden, values, slow = evaluate(graph, x), run(program, x, keep=True), step.run(program, x, 2)
    for op in graph.ops():
        for view in op.views:
            expected = golden[op.name].transpose(0, 3, 1, 2).reshape(2, *view.shape)
            np.testing.assert_array_equal(values.tensors[view.tensor], expected, err_msg=view.tensor)
    assert all((slow.outputs[name] == array).all() for name, array in values.outputs.items())
    for one, other in zip(simulate(program, 2).tiles, slow.timing.tiles, strict=True):
        assert (one.start == other.start).all()
        assert (one.end == other.end).all()


@pytest.mark.parametrize(("kind", "operator", "rows"), WAYS)
def test_each_island_is_a_process_with_a_call(kind: str, operator: str, rows: bool) -> None:
    graph = network(kind, operator, rows=rows)
    program = compiled(graph)
    islands = [t for t in program.tiles if t.kind == "host" and t.number]
    assert len(islands) == sum(op.is_host and bool(op.inputs) and op.type is not None for op in graph.ops())
    text = disassemble(program)
    for tile in islands:
        part = text.split(f".tile {tile.number} ")[1].split(".tile ")[0]
        assert "call   f0" in part or (rows and "call.row f0, row=i" in part)
        assert [type(i) for i in tile.code if isinstance(i, Recv | Send | Copy)].count(Recv) >= 1
    assert disassemble(assemble(text)) == text


PACES = [
    (kind, operator, side, 16, rows)
    for kind, operator in (("line", "softmax"), ("residual", "softmax"), ("residual", "resize"), ("deep", "softmax"))
    for side in (28, 56)
    for rows in (False, True)
    if not rows or operator == "softmax"
]


@pytest.mark.parametrize(
    ("kind", "operator", "side", "channels", "rows"), [*PACES, ("residual", "softmax", 56, 64, True)]
)
def test_an_island_costs_no_pace(kind: str, operator: str, side: int, channels: int, rows: bool) -> None:
    """At most 5 % over the larger of the network's own interval and the busiest unit of the island."""
    without = simulate(compiled(network("none", side=side, channels=channels)), IMAGES).interval_cycles
    program = compiled(network(kind, operator, side, channels, rows))
    timing = simulate(program, IMAGES)
    hosts = {t.number for t in program.tiles if t.kind == "host"}
    own = max(cycles / IMAGES for (tile, _), cycles in timing.unit_busy.items() if tile in hosts)
    assert timing.interval_cycles <= 1.05 * max(without, own)


def test_lossy_targets_have_islands_too() -> None:
    graph = network("residual")
    target = neural_pim.target(ranges="wide")
    program = neural_pim.emit(run_passes(graph, neural_pim.passes(), target), target)
    x = {"input": np.random.default_rng(2).integers(0, 256, (1, *graph.inputs[0].shape), dtype=np.uint8)}
    golden, found = evaluate(graph, x), run(program, x)
    assert all((found.outputs[p.name] == golden[f"${p.name}"]).all() for p in program.outputs)


def test_tile_0_must_be_a_host() -> None:
    from dataclasses import replace

    from pimc_isa.errors import ProgramError

    program = compiled(network("line"))
    tiles = tuple(replace(t, kind="tile") if t.number == 0 else t for t in program.tiles)
    with pytest.raises(ProgramError, match=r"tile 0 must be of kind=host|only the host"):
        check(replace(program, tiles=tiles))
