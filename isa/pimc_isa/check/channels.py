"""Checks of channels: ends, and that what is sent in an image is received in it, in the same shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pimc_isa.check.stream import walk
from pimc_isa.define import Context
from pimc_isa.instructions import Recv, Send
from pimc_isa.operands import Channel, Slab
from pimc_isa.program import Program, Tile

__all__ = ["channel_problems"]

Shape = tuple[str, int, int]  # element type, columns, channels


@dataclass
class _End:
    """One end of a channel: messages in an image and their shape."""

    messages: int
    shape: Shape


def channel_problems(program: Program) -> Iterator[str]:
    """What is wrong with the channels; the tiles' own code is known to be right."""
    ends: dict[tuple[str, int, str], _End] = {}
    dests = {channel.name: frozenset(channel.dests) for channel in program.channels}
    for tile in program.tiles:
        yield from _tile_ends(program, tile, dests, ends)
    for channel in program.channels:
        yield from _declaration(program, channel)
        yield from _both_ends(channel, ends)


def _tile_ends(
    program: Program, tile: Tile, dests: Mapping[str, frozenset[int]], ends: dict[tuple[str, int, str], _End]
) -> Iterator[str]:
    ctx = Context(program, tile)
    for _, instr, times, _ in walk(tile.code):
        if isinstance(instr, Send):
            yield from _add(ends, ctx, (instr.channel, tile.number, "sends"), instr.src, times, add=True)
            if program.channel[instr.channel].source != tile.number:
                yield _wrong_end(tile, "sends to", program.channel[instr.channel])
        elif isinstance(instr, Recv):
            count = _received(ctx, instr, times)
            yield from _add(ends, ctx, (instr.channel, tile.number, "receives"), instr.dst, count, add=False)
            if tile.number not in dests[instr.channel]:
                yield _wrong_end(tile, "receives from", program.channel[instr.channel])


def _received(ctx: Context, instr: Recv, times: int) -> int:
    """Rows that have arrived after all iterations; affine, so the largest is at one end of the loop."""
    return max(instr.rows_until(ctx, i) for i in (0, times - 1))


def _add(
    ends: dict[tuple[str, int, str], _End],
    ctx: Context,
    key: tuple[str, int, str],
    slab: Slab,
    count: int,
    add: bool,
) -> Iterator[str]:
    chans = ctx.chans(slab)
    shape = (ctx.tile.buffer[slab.buffer].dtype, ctx.width(slab), chans[1] - chans[0])
    end = ends.setdefault(key, _End(0, shape))
    if end.shape != shape:
        yield f"tile {key[1]} {key[2]} messages of two shapes on channel '{key[0]}': {_text(end.shape)}, {_text(shape)}"
    end.messages = end.messages + count if add else max(end.messages, count)


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


def _both_ends(channel: Channel, ends: dict[tuple[str, int, str], _End]) -> Iterator[str]:
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


def _text(shape: Shape) -> str:
    return f"{shape[0]} rows of {shape[1]} columns x {shape[2]} channels"
