"""Checks of channels: ends, and that what is sent in an image is received in it, in one shape, as the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pimc_isa.check.code import place
from pimc_isa.check.messages import is_sent, sent_rows
from pimc_isa.check.stream import walk
from pimc_isa.define import Context
from pimc_isa.instructions import Recv, Send
from pimc_isa.operands import ALL_ROWS, Channel, RowRange, Slab
from pimc_isa.program import Program, Tile
from pimc_isa.text.operands import show_range

__all__ = ["channel_problems"]

Shape = tuple[str, int, int]  # element type, columns, channels
Key = tuple[str, int, str]  # channel, tile, what it does there


@dataclass
class _End:
    """One end of a channel: messages in an image, their shape, and the ONNX tensors that all its buffers hold.

    ``ranges``: which rows, with the position of the first instruction that says so.
    """

    shape: Shape
    tensors: frozenset[str]
    messages: int = 0
    ranges: dict[RowRange, int] = field(default_factory=dict)


def channel_problems(program: Program) -> Iterator[str]:
    """What is wrong with the channels; the tiles' own code is known to be right."""
    ends: dict[Key, _End] = {}
    dests = {channel.name: frozenset(channel.dests) for channel in program.channels}
    for tile in program.tiles:
        yield from _tile_ends(program, tile, dests, ends)
    for channel in program.channels:
        yield from _declaration(program, channel)
        yield from _both_ends(program, channel, ends)


def _tile_ends(
    program: Program, tile: Tile, dests: Mapping[str, frozenset[int]], ends: dict[Key, _End]
) -> Iterator[str]:
    ctx = Context(program, tile)
    for position, instr, times, _ in walk(tile.code):
        if isinstance(instr, Send):
            key = (instr.channel, tile.number, "sends")
            yield from _add(ends, ctx, key, instr.src)
            ends[key].messages += _sent(tile, instr, times)
            ends[key].ranges.setdefault(instr.rows, position)
            if program.channel[instr.channel].source != tile.number:
                yield _wrong_end(tile, "sends to", program.channel[instr.channel])
        elif isinstance(instr, Recv):
            key = (instr.channel, tile.number, "receives")
            yield from _add(ends, ctx, key, instr.dst)
            ends[key].messages = max(ends[key].messages, _received(ctx, instr, times))
            ends[key].ranges.setdefault(instr.rows, position)
            yield from _two_ranges(tile, position, instr, ends[key].ranges)
            if tile.number not in dests[instr.channel]:
                yield _wrong_end(tile, "receives from", program.channel[instr.channel])


def _sent(tile: Tile, instr: Send, times: int) -> int:
    """Messages of all iterations."""
    return times if instr.rows == ALL_ROWS else int(is_sent(tile, instr, np.arange(times)).sum())


def _received(ctx: Context, instr: Recv, times: int) -> int:
    """Messages taken after all iterations; affine, so the largest number is at one end of the loop."""
    return max(instr.taken_until(ctx, i) for i in (0, times - 1))


def _add(ends: dict[Key, _End], ctx: Context, key: Key, slab: Slab) -> Iterator[str]:
    chans, buffer = ctx.chans(slab), ctx.tile.buffer[slab.buffer]
    shape, tensors = (buffer.dtype, ctx.width(slab), chans[1] - chans[0]), frozenset(v.tensor for v in buffer.views)
    end = ends.setdefault(key, _End(shape, tensors))
    end.tensors &= tensors
    if end.shape != shape:
        yield f"tile {key[1]} {key[2]} messages of two shapes on channel '{key[0]}': {_text(end.shape)}, {_text(shape)}"


def _two_ranges(tile: Tile, position: int, instr: Recv, ranges: dict[RowRange, int]) -> Iterator[str]:
    """The n-th message of a channel is one row, whichever ``recv`` takes it."""
    for rows, other in ranges.items():
        if rows != instr.rows:
            where = place(f"tile {tile.number}", tile, position)
            yield (
                f"{where}: the channel brings rows {show_range(instr.rows)} here, but {show_range(rows)} at "
                f"instruction {other}; a channel has one range at a receiver"
            )


def _wrong_end(tile: Tile, verb: str, channel: Channel) -> str:
    dests = ", ".join(map(str, channel.dests))
    return f"tile {tile.number} {verb} channel '{channel.name}', which goes from {channel.source} to {dests}"


def _declaration(program: Program, channel: Channel) -> Iterator[str]:
    what = f"channel '{channel.name}'"
    for number in (channel.source, *channel.dests):
        if number not in program.tile:
            yield f"{what}: there is no tile {number}"
    if not channel.dests or len(set(channel.dests)) < len(channel.dests):
        yield f"{what} needs one or more receivers, each named once"
    if channel.source in channel.dests:
        yield f"{what} goes from tile {channel.source} to itself: copy the rows instead"
    if channel.depth < 1:
        yield f"{what} has depth {channel.depth}: a receiver needs room for at least one message"


def _both_ends(program: Program, channel: Channel, ends: dict[Key, _End]) -> Iterator[str]:
    sent = ends.get((channel.name, channel.source, "sends"))
    for dest in channel.dests:
        got = ends.get((channel.name, dest, "receives"))
        messages = (sent.messages if sent else 0, got.messages if got else 0)
        if messages[0] != messages[1]:
            yield (
                f"channel '{channel.name}': tile {channel.source} sends {messages[0]} messages in an image, "
                f"tile {dest} receives {messages[1]}"
            )
        elif sent and got and sent.shape != got.shape:
            yield (
                f"channel '{channel.name}': tile {channel.source} sends {_text(sent.shape)}, "
                f"tile {dest} receives {_text(got.shape)}"
            )
        elif sent and got and {*sent.ranges, *got.ranges} != {ALL_ROWS}:
            yield from _other_rows(program, channel, dest, sent.tensors & got.tensors, got.ranges)


def _other_rows(
    program: Program, channel: Channel, dest: int, tensors: frozenset[str], ranges: dict[RowRange, int]
) -> Iterator[str]:
    """Where ranges are written and both ends hold one ONNX tensor, a message is the same row of it at both."""
    if not tensors:
        return
    source, (brought, position) = program.tile[channel.source], next(iter(ranges.items()))
    rows, positions = sent_rows(source, channel.name)
    taken = brought.first + brought.step * np.arange(len(rows))
    for n in np.flatnonzero(rows != taken)[:1]:
        what = f"channel '{channel.name}': message {n} of an image is row"
        there = place(f"tile {source.number}", source, int(positions[n]))
        here = place(f"tile {dest}", program.tile[dest], position)
        yield f"{what} {rows[n]} of tensor '{min(tensors)}' at {there}, but row {taken[n]} at {here}"


def _text(shape: Shape) -> str:
    return f"{shape[0]} rows of {shape[1]} columns x {shape[2]} channels"
