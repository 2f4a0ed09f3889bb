"""Random small quantised graphs, and small machines that force every way of cutting them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import reject
from hypothesis import strategies as st

import pimc_backends.isaac as isaac
from pimc.analysis.replicate import MappingError
from pimc.ir.graph import Graph
from pimc.passes.manager import run_passes
from pimc.passes.target import REPLICATIONS, Target
from pimc_isa.machine import Chip, Machine
from pimc_isa.program import Program
from tests.unit.passes.graphs import Net

__all__ = ["compile_graph", "graphs", "small_machine", "targets"]


def small_machine(arrays: int, memory_bytes: int, mesh: tuple[int, int]) -> Machine:
    """ISAAC's machine with few crossbars of full size, little memory, and a small mesh."""
    full = isaac.machine()
    tile = replace(full.tile, arrays=arrays, memory_bytes=memory_bytes)
    return replace(full, tile=tile, chip=Chip(*mesh))


def compile_graph(graph: Graph, target: Target) -> Program:
    """Compile for isaac; networks that do not fit are drawn again."""
    try:
        return isaac.emit(run_passes(graph, isaac.passes(), target), target)
    except MappingError:
        reject()


@st.composite
def targets(draw: st.DrawFn) -> Target:
    """The isaac target on a small machine, any replication; chips as needed or one too many."""
    machine = small_machine(
        draw(st.sampled_from([2, 3, 8, 96])),
        draw(st.sampled_from([6_000, 12_000, 65_536])),
        draw(st.sampled_from([(2, 2), (4, 3)])),
    )
    return replace(isaac.target(replication=draw(st.sampled_from(REPLICATIONS))), machine=machine)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Chains, residual and concatenating branches, strides, groups, depthwise, pools, tables."""
    side = draw(st.integers(5, 11))
    net = Net((side, side + draw(st.integers(0, 2)), draw(st.sampled_from([3, 8]))), draw(st.integers(0, 999)))
    x = net.conv(net.x, draw(st.sampled_from([8, 16])))
    for _ in range(draw(st.integers(1, 4))):
        x = draw(st.sampled_from(BLOCKS if min(net.graph[x].shape[:2]) > 2 else [_residual]))(draw, net, x)
    if draw(st.booleans()):
        x = net.gap(x)
        x = net.conv(x, 10, 1, 1, 0)
    return net.finish(x)


def _plain(draw: st.DrawFn, net: Net, x: str) -> str:
    kernel = draw(st.sampled_from([1, 3]))
    stride = draw(st.sampled_from([1, 1, 2]))
    return net.conv(x, draw(st.sampled_from([8, 24, 40])), kernel, stride, draw(st.integers(0, kernel // 2)))


def _residual(draw: st.DrawFn, net: Net, x: str) -> str:
    c = net.graph[x].shape[2]
    y = net.conv(x, c)
    if draw(st.booleans()):
        y = net.lut(y)
    for _ in range(draw(st.integers(0, 2))):
        y = net.conv(y, c)
    return net.add(y, x) if draw(st.booleans()) else net.add(x, y)


def _branches(draw: st.DrawFn, net: Net, x: str) -> str:
    wide = net.conv(net.conv(x, 8, 1, 1, 0), 16)
    thin = net.conv(x, 8, 1, 1, 0)
    if draw(st.booleans()):
        thin = net.lut(thin)
    return net.concat(thin, wide, x) if draw(st.booleans()) else net.concat(wide, thin)


def _depthwise(draw: st.DrawFn, net: Net, x: str) -> str:
    c = net.graph[x].shape[2]
    groups = draw(st.sampled_from([c, c // 4]))
    return net.conv(x, c * draw(st.sampled_from([1, 2])), 3, draw(st.sampled_from([1, 2])), 1, groups)


def _pool(draw: st.DrawFn, net: Net, x: str) -> str:
    return net.maxpool(x, draw(st.sampled_from([2, 3])), draw(st.sampled_from([1, 2])), draw(st.integers(0, 1)))


BLOCKS = [_plain, _residual, _branches, _depthwise, _pool]
