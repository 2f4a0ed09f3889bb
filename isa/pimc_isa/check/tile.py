"""Checks of a tile's descriptors: shapes and types of what they name, and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from pimc_isa.binary.words import SPACES
from pimc_isa.define import Context
from pimc_isa.instructions import Recv
from pimc_isa.operands import Buffer, Call, Elementwise, Requant, Window
from pimc_isa.program import Program, Tile

__all__ = ["descriptor_problems", "memory_problems", "message_bytes"]

Tensors = Mapping[str, np.ndarray]


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
        yield from _requant(program.tensors, requant)
    for scales in tile.elementwises:
        yield from _elementwise(scales)
    for table in tile.tables:
        yield from _tensor(program.tensors, table.data, ("uint8",), (256,), f"table '{table.name}'")
    for call in tile.calls:
        yield from _call(program, tile, call)


def _buffer(b: Buffer) -> Iterator[str]:
    if b.dtype not in ("u8", "i32"):
        yield f"buffer '{b.name}' holds '{b.dtype}'; there are u8 and i32"
    if min(b.rows, b.width, b.channels, b.slots) < 1:
        yield f"buffer '{b.name}' is {b.rows}x{b.width}x{b.channels} with {b.slots} slots: each must be at least 1"
    for what, (lo, hi), size in (("columns", b.cols, b.width), ("channels", b.chans, b.channels)):
        if not 0 <= lo < hi <= size:
            yield f"buffer '{b.name}' holds {what} {lo}:{hi}, the tensor has 0:{size}"


def _window(w: Window) -> Iterator[str]:
    if min(*w.kernel, *w.stride, *w.dilation) < 1 or min(w.pads) < 0:
        yield f"window '{w.name}': kernel, stride and dilation must be at least 1, pads at least 0"
    if not 0 <= w.pad_value <= 255:
        yield f"window '{w.name}' pads with {w.pad_value}, which is no u8 value"


def _limits(what: str, lo: int, hi: int, *zeros: int) -> Iterator[str]:
    if not 0 <= lo <= hi <= 255:
        yield f"{what}: limits {lo}..{hi} are not within 0..255"
    if any(not 0 <= zero <= 255 for zero in zeros):
        yield f"{what}: a zero point is not within 0..255"


def _tensor(
    tensors: Tensors, name: str, dtypes: tuple[str, ...], shape: tuple[int, ...] | None, user: str
) -> Iterator[str]:
    tensor = tensors.get(name)
    if tensor is None:
        yield f"{user} uses tensor '{name}', which the program does not have"
        return
    fits = tensor.shape == shape if shape is not None else tensor.ndim == 1 and tensor.size > 0
    if tensor.dtype.name not in dtypes or not fits:
        wanted = list(shape) if shape is not None else "[n]"
        yield f"{user}: tensor '{name}' is {tensor.dtype} {list(tensor.shape)}, expected {dtypes[0]} {wanted}"


def _requant(tensors: Tensors, q: Requant) -> Iterator[str]:
    what = f"requant '{q.name}'"
    yield from _limits(what, q.lo, q.hi, q.zero)
    yield from _tensor(tensors, f"{q.data}.multiplier", ("float32",), None, what)
    yield from _tensor(tensors, f"{q.data}.bias", ("int32",), None, what)


def _elementwise(s: Elementwise) -> Iterator[str]:
    what = f"elementwise '{s.name}'"
    yield from _limits(what, s.lo, s.hi, s.a[1], s.b[1], s.y[1])
    for key, (scale, _) in (("a", s.a), ("b", s.b), ("y", s.y)):
        with np.errstate(over="ignore"):
            exact = float(np.float32(scale)) == scale and np.isfinite(scale) and scale > 0
        if not exact:
            yield f"{what}: scale {key} is {scale!r}, not a positive float32 value"


def _call(program: Program, tile: Tile, call: Call) -> Iterator[str]:
    what = f"call '{call.name}'"
    if tile.kind != "host":
        yield f"{what} is declared on a tile; only the host runs ONNX subgraphs"
    yield from _tensor(program.tensors, call.model, ("uint8",), None, what)
    for pairs, ports, kind in ((call.inputs, program.inputs, "input"), (call.outputs, program.outputs, "output")):
        names = {f"${port.name}" for port in ports} | set(tile.buffer)
        for tensor, place in pairs:
            if place not in names:
                where = f"{kind} of the program" if place.startswith("$") else "buffer"
                yield f"{what}: '{tensor}' is tied to '{place}', and there is no such {where}"


def message_bytes(program: Program, tile: Tile) -> dict[str, int]:
    """Bytes of one message of each channel that the tile receives from."""
    ctx = Context(program, tile)
    return {instr.channel: ctx.nbytes(instr.dst) for instr in tile.code if isinstance(instr, Recv)}


def memory_problems(program: Program, tile: Tile) -> Iterator[str]:
    """Buffers and the queues of channels must fit the tile's memory; the host has enough."""
    if tile.kind == "host":
        return
    buffers = sum(b.memory_bytes for b in tile.buffers)
    queues = sum(program.channel[name].depth * size for name, size in message_bytes(program, tile).items())
    limit = program.machine.tile.memory_bytes
    if buffers + queues > limit:
        yield (
            f"buffers take {buffers} bytes and channels' queues {queues}, the tile's memory is {limit}: "
            "use fewer slots, shallower channels, or split the work"
        )
