"""The first of all checks: is the program of a size that can be judged (see ``limits``)? Nothing is made of it here."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from pimc_isa.instructions import executed_instructions
from pimc_isa.limits import LIMITS, beyond
from pimc_isa.operands import Buffer, Group, Weights, Window
from pimc_isa.program import Port, Program

__all__ = ["buffer_sizes", "group_sizes", "size_problems", "weights_sizes", "window_sizes"]

PORT_DTYPES = {
    "bool",
    "float16",
    "float32",
    "float64",
    *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)),
}


def size_problems(program: Program) -> Iterator[str]:
    """What is too large, or has no size at all, in the program as a whole."""
    yield from filter(None, _whole(program))
    for what, ports in (("input", program.inputs), ("output", program.outputs)):
        for port in ports:
            yield from _port(what, port)
    for channel in program.channels:
        yield from filter(None, [beyond("depth", f"the depth of channel '{channel.name}'", channel.depth)])
    for tile in program.tiles:
        yield from filter(None, [beyond("code", f"the number of instructions of tile {tile.number}", len(tile.code))])
        yield from filter(None, [beyond("chips", f"the chip of tile {tile.number}", tile.chip + 1)])
    executed = sum(map(executed_instructions, program.tiles))
    yield from filter(None, [beyond("executed", "the number of instructions executed for an image", executed)])
    yield from filter(None, [beyond("hops", "the number of links on the ways of all channels", _hops(program))])


def _whole(program: Program) -> Iterator[str]:
    yield beyond("parts", "the number of the program's parts", _parts(program))
    yield beyond("flows", "the number of flows", len(program.flows))
    yield beyond("all micro-ops", "the number of micro-operations", sum(len(flow.ops) for flow in program.flows))


def _parts(program: Program) -> int:
    """As many as the text has lines; each receiver of a channel counts as well."""
    parts = [program.meta, program.inputs, program.outputs, program.weights, program.tensors, program.machine.notes]
    count = len(program.rounds) + sum(map(len, parts)) + len(program.machine.components) + len(program.machine.energies)
    count += sum(1 + len(flow.ops) for flow in program.flows) + sum(1 + len(c.dests) for c in program.channels)
    for t in program.tiles:
        held = (t.buffers, t.windows, t.groups, t.requants, t.elementwises, t.tables, t.calls, t.code)
        count += 1 + sum(map(len, held)) + sum(len(b.views) for b in t.buffers)
        count += sum(len(c.inputs) + len(c.outputs) for c in t.calls)
    return count


def _hops(program: Program) -> int:
    """Links of all ways: along the mesh, and over the chips between, each as wide as its mesh."""
    columns, total = program.machine.chip.mesh_columns, 0
    places = {t.number: (0, 0, 0) if t.kind == "host" else (t.chip, t.x, t.y) for t in program.tiles}
    for channel in program.channels:
        start = places.get(channel.source)
        for goal in map(places.get, channel.dests):
            if start is not None and goal is not None:
                across, *mesh = (abs(a - b) for a, b in zip(start, goal, strict=True))
                total += 2 + (sum(mesh) if not across else (across + 1) * columns + start[2] + goal[2])
    return total


def _port(what: str, port: Port) -> Iterator[str]:
    if port.dtype not in PORT_DTYPES:
        yield f"{what} '{port.name}' is of type '{port.dtype}'; there are {', '.join(sorted(PORT_DTYPES))}"
    if any(dimension < 1 for dimension in port.shape):
        yield f"{what} '{port.name}' has a dimension below 1"
    sizes = [beyond("channels", f"a dimension of {what} '{port.name}'", dimension) for dimension in port.shape]
    sizes.append(beyond("port elements", f"the number of elements of {what} '{port.name}'", prod(port.shape)))
    yield from filter(None, sizes)


def buffer_sizes(b: Buffer) -> Iterator[str]:
    """What is too large in a buffer."""
    what = f"of buffer '{b.name}'"
    yield beyond("rows", f"the number of rows {what}", b.rows)
    yield beyond("rows", f"the width {what}", b.width)
    yield beyond("channels", f"the number of channels {what}", b.channels)
    yield beyond("row elements", f"the number of elements in a row {what}", b.width * b.channels)
    yield beyond("slots", f"the number of slots {what}", b.slots)
    for view in b.views:
        for dimension in view.shape:
            yield beyond("channels", f"a dimension of view '{view.tensor}'", dimension)


def window_sizes(w: Window) -> Iterator[str]:
    """What is too large in a window."""
    most = max(*w.kernel, *w.stride, *w.dilation, *w.pads)
    yield beyond("window", f"the largest number of window '{w.name}'", most)
    yield beyond("taps", f"the number of taps of window '{w.name}'", w.kernel[0] * w.kernel[1])


def weights_sizes(weights: Weights) -> Iterator[str]:
    """What is too large in a layer's weights."""
    sizes = (weights.groups, weights.k, weights.n)
    yield beyond("weights", "the number of weights", prod(max(1, size) for size in sizes))
    yield beyond("weights", "the number of rows of a block", weights.block_rows)
    yield beyond("bits", "the number of slices", len(weights.slices))
    yield beyond("bits", "the number of bits of the slices", sum(weights.slices[: LIMITS["bits"].most]))


def group_sizes(group: Group) -> Iterator[str]:
    """What is too large in a group."""
    yield beyond("copies", f"the number of copies of group '{group.name}'", group.copies)
