"""The trace: cycles are the timing engine's, reasons what a start waited for, arrows go from send to transfer."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

import pimc
from pimc.report import trace
from pimc.report.trace import trace_events, write_trace
from pimc_isa.engines.cycles import REASONS, Record, channel_of, record, simulate
from pimc_isa.errors import DeadlockError
from pimc_isa.instructions import Recv, Send
from pimc_isa.program import Program
from pimc_models import fashion
from tests.properties.places import random_streams
from tests.properties.programs import random_program
from tests.unit.isa.engines.test_streams import two_convolutions


@pytest.fixture(scope="module")
def program() -> Program:
    return pimc.compile(fashion.int8_path()).program


@pytest.fixture(scope="module")
def events(program: Program) -> list[dict[str, Any]]:
    found = record(program, 2)
    return list(trace_events(program, found, list(found.slices)))


def programs() -> list[tuple[Program, Record]]:
    """Random programs that come to an end, over two images; half of them with streams that share places."""
    found = []
    for seed in range(40):
        made = (random_streams if seed % 2 else random_program)(Random(seed))
        try:
            found.append((made, record(made, 2)))
        except DeadlockError:
            continue
    assert len(found) > 20
    return found


def test_slices_are_the_timing_engines(program: Program) -> None:
    for made, found in [(program, record(program, 2)), *programs()]:
        timing = simulate(made, 2)
        for tile in timing.tiles:
            own = [s for s in found.slices if s.tile == tile.tile]
            spans: dict[tuple[int, int, int], list[int]] = defaultdict(list)
            for one in own:
                spans[one.image, one.index, one.iteration] += [one.start, one.end]
            for image in range(2):
                for n, (k, i) in enumerate(zip(tile.index, tile.iteration, strict=True)):
                    times = spans[image, int(k), int(i)]
                    assert (min(times), max(times)) == (tile.start[image, n], tile.end[image, n])


def test_units_do_one_thing_after_the_other_and_waits_are_the_gaps() -> None:
    for _, found in programs():
        before: dict[tuple[int, str], Any] = {}
        for one in found.slices:
            last = before.get((one.tile, one.unit))
            assert one.reason in REASONS
            assert one.waited >= 0
            assert (one.waited == 0) == (one.reason == "unit") or one.start == 0
            if last is not None:
                assert one.start - one.waited > last.start or one.start == last.start + one.waited
            before[one.tile, one.unit] = one


def test_a_wait_for_a_message_ends_when_it_arrives(program: Program) -> None:
    """Whoever waits for a message starts later than its send; whoever waits for room, than the transfer before."""
    found = record(program, 2)
    sent: dict[tuple[str, int], int] = {}
    for one in found.slices:
        if isinstance(program.tile[one.tile].code[one.index], Send):
            sent[channel_of(program, one), one.message] = one.start
    waits = [s for s in found.slices if s.reason == "message"]
    assert waits
    for one in waits:
        assert isinstance(program.tile[one.tile].code[one.index], Recv)
        assert sent[channel_of(program, one), one.message] < one.start


def test_every_message_has_an_arrow(program: Program, events: list[dict[str, Any]]) -> None:
    starts = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}
    assert starts.keys() == ends.keys()
    assert all(starts[n]["ts"] < ends[n]["ts"] for n in starts)
    every = record(program, 2).slices
    taken = [s for s in every if s.message >= 0 and isinstance(program.tile[s.tile].code[s.index], Recv)]
    assert len(ends) == len(taken) == len({(s.tile, channel_of(program, s), s.message) for s in taken})
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert {names[e["pid"], e["tid"]] for e in starts.values()} == {"net-out"}
    assert {names[e["pid"], e["tid"]] for e in ends.values()} == {"net-in"}


def tracks(events: list[dict[str, Any]]) -> dict[tuple[int, int], list[tuple[float, float]]]:
    """Slices of each thread, in order."""
    found: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            found[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    return {key: sorted(spans) for key, spans in found.items()}


def test_slices_of_a_track_do_not_overlap(events: list[dict[str, Any]]) -> None:
    assert len(tracks(events)) > 30
    for spans in tracks(events).values():
        assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(spans))


def test_streams_of_one_place_are_one_process() -> None:
    """What they share is one thread, on which nothing overlaps; each matrix group of each stream has its own."""
    for made, found in programs():
        events = list(trace_events(made, found, list(found.slices)))
        assert all(a[1] <= b[0] + 1e-9 for spans in tracks(events).values() for a, b in pairwise(spans))
        inside = [e for e in events if e["pid"] != trace.LINKS]
        assert {e["pid"] for e in inside} == {made.sharing[s.tile][0] for s in found.slices}
        names = [(e["pid"], e["args"]["name"]) for e in inside if e["name"] == "thread_name"]
        assert len(set(names)) == len(names)
        drawn = [e["args"] for e in inside if e["ph"] == "X"]
        assert [a.get("tile") for a in drawn] == [
            s.tile if len(made.sharing[s.tile]) > 1 else None for s in found.slices
        ]


def test_tracks_of_two_streams() -> None:
    """The names that a reader sees."""
    made = two_convolutions()
    found = record(made)
    named = [e for e in trace_events(made, found, list(found.slices)) if e["ph"] == "M"]
    processes = {e["pid"]: e["args"]["name"] for e in named if e["name"] == "process_name"}
    assert processes[1] == "tile 1 conv 1, tile 2 conv 2"
    assert 2 not in processes
    threads = {e["args"]["name"] for e in named if (e["name"], e["pid"]) == ("thread_name", 1)}
    assert threads == {"net-in", "net-out", "vector", "matrix.g of tile 1", "matrix.g of tile 2"}


def test_links_are_taken_as_long_as_the_engine_says(program: Program) -> None:
    found, timing = record(program, 2), simulate(program, 2)
    for link, busy in timing.link_busy.items():
        assert sum(end - start for start, end in found.links[link]) == busy


def test_long_traces_hold_one_image_of_a_filled_pipeline(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "MOST", 100)
    write_trace(program, tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert {e["args"]["image"] for e in events if e["ph"] == "X"} == {1}
    assert not any(e["ph"] in "sf" for e in events)


def test_the_file_is_json_of_chromes_format(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    slices = write_trace(program, path)
    written = json.loads(path.read_text())["traceEvents"]
    kinds = [e["ph"] for e in written]
    assert kinds.count("X") > slices > 1000
    assert {"M", "X", "s", "f"} == set(kinds)
    first = next(e for e in written if e["ph"] == "X" and e["name"] == "mvm")
    assert {"image", "row", "node"} <= first["args"].keys()
    assert write_trace(program, tmp_path / "again.json") == slices
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
