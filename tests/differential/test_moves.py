"""Movements of data on tiles: whatever the index, all engines give what a gather gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc.ir.evaluate import evaluate
from pimc.ir.graph import Graph
from pimc.ir.ops import Move, Reach
from pimc_isa.engines import step
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.values import run
from pimc_isa.instructions import Copy, Loop
from pimc_isa.text import assemble, disassemble
from tests.differential.test_islands import compiled
from tests.unit.passes.graphs import Net

H, W, C = 8, 6, 8
Array = np.ndarray
X = np.arange(H * W * C).reshape(H, W, C)


def blocks(x: Array, size: int) -> Array:
    """DepthToSpace in DCR order."""
    h, w, c = x.shape
    cut = x.reshape(h, w, size, size, c // size**2).transpose(0, 2, 1, 3, 4)
    return cut.reshape(h * size, w * size, c // size**2)


def gathered(x: Array, size: int) -> Array:
    """SpaceToDepth."""
    h, w, c = x.shape
    return x.reshape(h // size, size, w // size, size, c).transpose(0, 2, 1, 3, 4).reshape(h // size, w // size, -1)


def column_wise(x: Array, size: int) -> Array:
    """DepthToSpace in CRD order."""
    h, w, c = x.shape
    cut = x.reshape(h, w, c // size**2, size, size).transpose(0, 3, 1, 4, 2)
    return cut.reshape(h * size, w * size, c // size**2)


PAD = ((1, 1), (2, 1), (0, 0))
MOVES: dict[str, Callable[[Array], Array]] = {
    "crop": lambda x: x[1:-2, 2:-1],
    "stride": lambda x: x[::2, 1::2],
    "channels strided": lambda x: x[..., ::2],
    "upsample": lambda x: x.repeat(2, 0).repeat(2, 1),
    "upsample by 3": lambda x: x.repeat(3, 0),
    "downsample": lambda x: x[[0, 2, 3, 5], :],
    "transposed": lambda x: x.transpose(1, 0, 2),
    "shuffle": lambda x: x.reshape(H, W, 2, C // 2).transpose(0, 1, 3, 2).reshape(H, W, C),
    "reflect": lambda x: np.pad(x, PAD, mode="reflect"),
    "edge": lambda x: np.pad(x, PAD, mode="edge"),
    "wrap": lambda x: np.pad(x, PAD, mode="wrap"),
    "constant": lambda x: np.pad(x, PAD, constant_values=-1),
    "depth to space": lambda x: blocks(x, 2),
    "depth to space by columns": lambda x: column_wise(x, 2),
    "space to depth": lambda x: gathered(x, 2),
    "flipped": lambda x: x[:, ::-1],
    "upside down": lambda x: x[::-1],
    "tiled": lambda x: np.tile(x, (1, 2, 2)),
    "flattened": lambda x: x.reshape(1, 1, -1),
    "one row": lambda x: x.reshape(1, H * W, C),
    "folded": lambda x: x.reshape(H // 2, W * 2, C),
}


def network(index: Array, *, two: bool = False, fill: int = 0) -> Graph:
    net = Net((H, W, C), 3)
    x = net.conv(net.x, C)
    values = (x, net.conv(x, C)) if two else (x,)
    y = net.move(index, *values, fill=fill)
    h, w, c = index.shape
    return net.finish(net.conv(y, 4) if h * w * c < 4000 else y)


def agrees(graph: Graph) -> None:
    program = compiled(graph)
    x = {"input": np.random.default_rng(2).integers(0, 256, (2, *graph.inputs[0].shape), dtype=np.uint8)}
    golden, values, slow = evaluate(graph, x), run(program, x, keep=True), step.run(program, x, 2)
    for op in graph.ops():
        for view in op.views:
            expected = golden[op.name].transpose(0, 3, 1, 2).reshape(2, *view.shape)
            if view.tensor in values.tensors and view.tensor not in values.partial:
                np.testing.assert_array_equal(values.tensors[view.tensor], expected, err_msg=view.tensor)
    assert all((slow.outputs[name] == array).all() for name, array in values.outputs.items())
    for one, other in zip(simulate(program, 2).tiles, slow.timing.tiles, strict=True):
        assert (one.end == other.end).all()
    assert disassemble(assemble(disassemble(program))) == disassemble(program)


@pytest.mark.parametrize("name", MOVES)
def test_every_movement(name: str) -> None:
    agrees(network(MOVES[name](X), fill=77))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_inputs_side_by_side(axis: int) -> None:
    agrees(network(np.concatenate([X, X + X.size], axis), two=True))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_index(data: st.DataObject) -> None:
    """Gathers without any order, on one tile."""
    shape = tuple(data.draw(st.integers(1, 5)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    agrees(network(rng.integers(-1, 2 * X.size, shape), two=True, fill=9))


@pytest.mark.parametrize("ranges", [((0, 4, 8),), ((0, 4, 8), (0, 0, 4)), ((0, 6, 8), (1, 0, 3), (0, 1, 2))])
def test_picked_channels(ranges: tuple[tuple[int, int, int], ...]) -> None:
    net = Net((H, W, C), 3)
    x = net.conv(net.x, C)
    y = net.pick(ranges, x, net.conv(x, C)) if len(ranges) == 3 else net.pick(ranges, x)
    agrees(net.finish(net.conv(net.concat(y, x), 4)))


def test_rows_that_repeat_are_loops() -> None:
    program = compiled(network(MOVES["upsample"](X)))
    (tile,) = [t for t in program.tiles if any(isinstance(i, Copy) for i in t.code)]
    assert [i.times for i in tile.code if isinstance(i, Loop)] == [H]


def test_reach_of_reflected_rows() -> None:
    reach = Reach(MOVES["reflect"](X), [X.shape])
    assert [(s.first, s.period, s.times) for s in reach.segments] == [(0, 1, 1), (1, 1, H), (H + 1, 1, 1)]
    assert reach.until == ((2, 2, 2, 3, 4, 5, 6, 7, 8, 8),)


def test_a_movement_checks_its_index() -> None:
    from pimc.ir.ops import InferError

    move = Move(name="m", inputs=("x",), type=None, index="i")
    with pytest.raises(InferError, match="does not fit inputs of 8 elements"):
        move.infer([(2, 2, 2)], {"i": np.full((1, 1, 1), 8)})
