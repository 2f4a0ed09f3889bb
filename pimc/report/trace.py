"""A program's run as a trace in Chrome's format, for Perfetto (ui.perfetto.dev) and chrome://tracing.

A process for each tile and a thread for each of its units, with what it did, for which layer and row, and what it
waited for; arrows from sends to the transfers that take their messages; one process of links. Streams at one place are
one process, and share the threads of the units they share. One cycle of the chip is one nanosecond of the trace. A unit
that starts anew before it is done (a pipelined crossbar) is shown until it starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pimc_isa.engines.cycles import Record, Slice, channel_of, record
from pimc_isa.engines.timing import is_shared
from pimc_isa.files import write_file
from pimc_isa.program import Program
from pimc_isa.route import link_name

__all__ = ["trace_events", "write_trace"]

IMAGES = 3
"""Images that are run; of a long trace only the last but one is written: the pipeline is filled, and goes on."""

MOST = 120_000
"""Slices, above which one image is written, and then every arrow and link left out that makes it more."""

LINKS = 1 << 20
"""Number of the process that stands for the links."""

#: Process and thread.
Track = tuple[int, int]


def write_trace(program: Program, path: str | Path, images: int = IMAGES) -> int:
    """Run the timing engine and write a trace; returns its slices. The file appears whole or not at all."""
    found = record(program, images)
    kept = _kept(found)
    write_file(path, _chunks(program, found, kept))
    return len(kept)


def _kept(found: Record) -> list[Slice]:
    if len(found.slices) <= MOST or found.images < 3:
        return list(found.slices)
    return [one for one in found.slices if one.image == found.images - 2]


def _chunks(program: Program, found: Record, kept: list[Slice]) -> Iterator[bytes]:
    yield b'{"displayTimeUnit":"ns","otherData":{"one_nanosecond":"one cycle"},"traceEvents":[\n'
    for n, event in enumerate(trace_events(program, found, kept)):
        yield (b",\n" if n else b"") + json.dumps(event, separators=(",", ":")).encode()
    yield b"\n]}\n"


def trace_events(program: Program, found: Record, kept: list[Slice]) -> Iterator[dict[str, Any]]:
    """Names of tracks, slices, arrows and links."""
    units = {(s.tile, s.unit): _unit(program, s) for s in kept}
    threads = {unit: n for n, unit in enumerate(dict.fromkeys(units.values()), 1)}
    for process in dict.fromkeys(process for process, _ in threads):
        tiles = [program.tile[number] for number in program.sharing[process]]
        names = [f"tile {tile.number} {tile.name}".strip() for tile in tiles]
        yield _named("process_name", process, 0, ", ".join(names))
    for (process, unit), thread in threads.items():
        yield _named("thread_name", process, thread, unit)
    tracks = {key: (unit[0], threads[unit]) for key, unit in units.items()}
    for one, behind in zip(kept, [*kept[1:], None], strict=True):
        same = behind is not None and (behind.tile, behind.unit) == (one.tile, one.unit)
        end = min(one.end, behind.start) if same and behind is not None else one.end
        yield _slice(program, one, tracks[one.tile, one.unit], end)
    if len(kept) <= MOST:
        yield from _arrows(program, kept, tracks)
        yield from _taken(found, kept)


def _named(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _unit(program: Program, one: Slice) -> tuple[int, str]:
    """The process and the name of a slice's unit: where streams share a place, those of the lowest number."""
    first, *others = program.sharing[one.tile]
    own = others and not is_shared(one.unit)
    return first, f"{one.unit} of tile {one.tile}" if own else one.unit


def _slice(program: Program, one: Slice, track: Track, end: int) -> dict[str, Any]:
    tile = program.tile[one.tile]
    instr = tile.code[one.index]
    args: dict[str, Any] = {"image": one.image, "row": one.iteration}
    node = tile.nodes[one.index] if tile.nodes else ""
    if node:
        args["node"] = node
    if len(program.sharing[one.tile]) > 1:
        args["tile"] = one.tile
    if one.waited:
        args |= {"waited": one.waited, "for": one.reason}
    if end < one.end:
        args["done_after"] = one.end - one.start
    return {
        "ph": "X",
        "name": instr.mnemonic,
        "pid": track[0],
        "tid": track[1],
        **_span(one.start, end),
        "args": args,
    }


def _span(start: int, end: int) -> dict[str, float]:
    """Microseconds, one cycle being a nanosecond."""
    return {"ts": start / 1000, "dur": (end - start) / 1000}


def _arrows(program: Program, kept: list[Slice], tracks: dict[tuple[int, str], Track]) -> Iterator[dict[str, Any]]:
    """From each send to the transfers that take its message, by channel and number."""
    sent: dict[tuple[str, int], Slice] = {}
    taken: list[tuple[tuple[str, int], Slice]] = []
    for one in kept:
        if one.message < 0:
            continue
        key = channel_of(program, one), one.message
        if program.tile[one.tile].code[one.index].mnemonic == "send":
            sent[key] = one
        else:
            taken.append((key, one))
    for number, (key, reader) in enumerate((k, r) for k, r in taken if k in sent):
        sender = sent[key]
        both = {"name": key[0], "cat": "message", "id": number}
        yield {"ph": "s", **both, **_at(sender, tracks)}
        yield {"ph": "f", "bp": "e", **both, **_at(reader, tracks)}


def _at(one: Slice, tracks: dict[tuple[int, str], Track]) -> dict[str, float]:
    process, thread = tracks[one.tile, one.unit]
    return {"pid": process, "tid": thread, "ts": one.start / 1000}


def _taken(found: Record, kept: list[Slice]) -> Iterator[dict[str, Any]]:
    """When each link is taken, within what is written; the busiest first, as long as there is room."""
    first, last = min((s.start for s in kept), default=0), max((s.end for s in kept), default=0)
    inside = {k: [i for i in v if i[0] >= first and i[1] <= last] for k, v in found.links.items()}
    room = MOST - len(kept)
    yield _named("process_name", LINKS, 0, "links")
    for thread, (link, intervals) in enumerate(sorted(inside.items(), key=lambda kv: (-len(kv[1]), kv[0])), 1):
        room -= len(intervals)
        if room < 0:
            return
        yield _named("thread_name", LINKS, thread, link_name(link))
        for start, end in intervals:
            yield {"ph": "X", "name": "message", "pid": LINKS, "tid": thread, **_span(start, end)}
