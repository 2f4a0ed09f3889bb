"""Checks of a tile's descriptors: shapes and types of what they name, and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod

import numpy as np

from pimc_isa.binary.words import SPACES
from pimc_isa.check.sizes import buffer_sizes, window_sizes
from pimc_isa.define import Context
from pimc_isa.element import ELEMENTS, element_problem
from pimc_isa.instructions import Recv
from pimc_isa.limits import beyond
from pimc_isa.operands import Buffer, Call, Elementwise, Requant, View, Window
from pimc_isa.program import Program, Tile

__all__ = ["descriptor_problems", "memory_needs", "memory_problems", "message_bytes"]


def descriptor_problems(program: Program, tile: Tile) -> Iterator[str]:
    """What is wrong with a tile's declarations (its groups aside)."""
    for space, attr in SPACES.items():
        for name, times in Counter(d.name for d in getattr(tile, attr)).items():
            if times > 1:
                yield f"{space} '{name}' is declared twice"
    for buffer in tile.buffers:
        yield from _buffer(buffer)
    for window in tile.windows:
        yield from _window(window)
    for requant in tile.requants:
        yield from _requant(requant)
    for scales in tile.elementwises:
        yield from _elementwise(scales)
    for call in tile.calls:
        yield from _call(program, tile, call)


def _buffer(b: Buffer) -> Iterator[str]:
    yield from filter(None, buffer_sizes(b))
    if b.dtype not in ELEMENTS:
        yield f"buffer '{b.name}': {element_problem(b.dtype)}"
    if min(b.rows, b.width, b.channels, b.slots) < 1:
        yield f"buffer '{b.name}' is {b.rows}x{b.width}x{b.channels} with {b.slots} slots: each must be at least 1"
    for what, (lo, hi), size in (("columns", b.cols, b.width), ("channels", b.chans, b.channels)):
        if not 0 <= lo < hi <= size:
            yield f"buffer '{b.name}' holds {what} {lo}:{hi}, the tensor has 0:{size}"
    for (name, channel), times in Counter((view.tensor, view.channel) for view in b.views).items():
        if times > 1:  # with other channels it is a tensor that holds the buffer's values twice
            yield f"buffer '{b.name}' has two views of tensor '{name}' from channel {channel} on"
    for view in b.views:
        yield from _view(b, view)


def _view(b: Buffer, view: View) -> Iterator[str]:
    """The ONNX tensor has the buffer's rows and columns, and at least its channels."""
    what = f"view '{view.tensor}' of buffer '{b.name}'"
    if view.order not in ("CHW", "HWC"):
        yield f"{what}: the order is '{view.order}'; there are CHW and HWC"
    if b.dtype in ELEMENTS and view.offset not in b.element.offsets:
        yield f"{what}: offset {view.offset}; it is 0, or for int8 tensors 128"
    if min(view.shape, default=1) < 1 or view.channel < 0:
        yield f"{what}: dimensions must be at least 1, the channel at least 0"
    channels, rest = divmod(prod(view.shape), b.rows * b.width)
    if rest or channels < view.channel + b.channels:
        shape = "x".join(map(str, view.shape))
        yield f"{what}: {shape} does not hold {b.rows}x{b.width}x{b.channels} from channel {view.channel} on"


def _window(w: Window) -> Iterator[str]:
    yield from filter(None, window_sizes(w))
    if min(*w.kernel, *w.stride, *w.dilation) < 1 or min(w.pads) < 0:
        yield f"window '{w.name}': kernel, stride and dilation must be at least 1, pads at least 0"
    if not 0 <= w.pad_value <= 255:
        yield f"window '{w.name}' pads with {w.pad_value}, which is no u8 value"


def _limits(what: str, lo: int, hi: int, *zeros: int) -> Iterator[str]:
    if not 0 <= lo <= hi <= 255:
        yield f"{what}: limits {lo}..{hi} are not within 0..255"
    if any(not 0 <= zero <= 255 for zero in zeros):
        yield f"{what}: a zero point is not within 0..255"


def _requant(q: Requant) -> Iterator[str]:
    yield from _limits(f"requant '{q.name}'", q.lo, q.hi, q.zero)


def _elementwise(s: Elementwise) -> Iterator[str]:
    what = f"elementwise '{s.name}'"
    yield from _limits(what, s.lo, s.hi, s.a[1], s.b[1], s.y[1])
    if s.offset not in (0, 128):
        yield f"{what}: offset {s.offset}; it is 0, or for int8 tensors 128"
    for key, (scale, _) in (("a", s.a), ("b", s.b), ("y", s.y)):
        with np.errstate(over="ignore"):
            exact = float(np.float32(scale)) == scale and np.isfinite(scale) and scale > 0
        if not exact:
            yield f"{what}: scale {key} is {scale!r}, not a positive float32 value"


def _call(program: Program, tile: Tile, call: Call) -> Iterator[str]:
    what = f"call '{call.name}'"
    if tile.kind != "host":
        yield f"{what} is declared on a tile; only the host runs ONNX subgraphs"
    if call.operations < 0:
        yield f"{what} does {call.operations} operations"
    yield from filter(None, [beyond("operations", f"the number of operations of {what}", call.operations)])
    for pairs, ports, kind in ((call.inputs, program.inputs, "input"), (call.outputs, program.outputs, "output")):
        names = {f"${port.name}" for port in ports} | set(tile.buffer)
        for tensor, place in pairs:
            if place not in names:
                where = f"{kind} of the program" if place.startswith("$") else "buffer"
                yield f"{what}: '{tensor}' is tied to '{place}', and there is no such {where}"
            elif place in tile.buffer:
                yield from _whole(what, tensor, tile.buffer[place])
        for at, which in ((0, "tensor"), (1, "place")):
            for name, times in Counter(pair[at] for pair in pairs).items():
                if times > 1 and (which == "tensor" or kind == "output"):
                    yield f"{what}: {which} '{name}' is tied twice"


def _whole(what: str, tensor: str, b: Buffer) -> Iterator[str]:
    """A call takes and makes whole tensors."""
    if (b.cols, b.chans) != ((0, b.width), (0, b.channels)):
        yield f"{what}: '{tensor}' is tied to buffer '{b.name}', which holds only a part of its tensor"
    view = next((v for v in b.views if v.tensor == tensor), b.views[0] if b.views else None)
    if view is not None and prod(view.shape) != b.rows * b.width * b.channels:
        yield f"{what}: '{tensor}' is tied to buffer '{b.name}', which holds only some channels of its tensor"


def message_bytes(program: Program, tile: Tile) -> dict[str, int]:
    """Bytes of one message of each channel that the tile receives from."""
    ctx = Context(program, tile)
    return {instr.channel: ctx.nbytes(instr.dst) for instr in tile.code if isinstance(instr, Recv)}


def memory_needs(program: Program, tile: Tile) -> tuple[int, int]:
    """Bytes of a tile's buffers, and of the queues of the channels that it receives from."""
    queues = sum(program.channel[name].depth * size for name, size in message_bytes(program, tile).items())
    return sum(b.memory_bytes for b in tile.buffers), queues


def memory_problems(program: Program, tile: Tile) -> Iterator[str]:
    """Buffers and the queues of channels must fit the tile's memory; the host has enough."""
    if tile.kind == "host":
        return
    buffers, queues = memory_needs(program, tile)
    limit = program.machine.tile.memory_bytes
    if buffers + queues > limit:
        yield (
            f"buffers take {buffers} bytes and channels' queues {queues}, the tile's memory is {limit}: "
            "use fewer slots, shallower channels, or split the work"
        )
