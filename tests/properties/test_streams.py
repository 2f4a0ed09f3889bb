"""Streams of one place in random programs: engines agree, units do one thing at a time, results stay what they were."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given

from pimc_isa.binary import load, save
from pimc_isa.check import check
from pimc_isa.engines import values
from pimc_isa.engines.cycles import Record, Slice, engine, record
from pimc_isa.engines.cycles.state import Contender
from pimc_isa.engines.timing import is_shared
from pimc_isa.errors import DeadlockError
from pimc_isa.instructions import Recv
from pimc_isa.program import Program
from pimc_isa.text import assemble, disassemble
from tests.properties.places import put_together, random_streams
from tests.properties.programs import random_images, random_program
from tests.properties.programs_rounds import random_rounds_program
from tests.properties.row_shares import shared_rows
from tests.properties.test_engines_agree import RANDOM, SETTINGS, assert_values_agree, fast, slow
from tests.unit.isa.engines.tiny import same


def assert_streams_agree(seed: int, with_values: bool, draft: Callable[[Random], Program] = random_streams) -> bool:
    """One random program on few places through all engines; whether it ran to its end."""
    rng = Random(seed)
    program = draft(rng)
    check(program)
    images = rng.randint(1, 3)
    inputs = random_images(rng, program, images)
    timing, result = fast(program, images), slow(program, inputs, images, with_values)
    assert (timing is None) == (result is None), "only one engine sees a deadlock"
    if timing is None or result is None:
        return False
    same(timing, result.timing)
    if with_values:
        assert_values_agree(program, inputs, result)
    return True


@pytest.mark.parametrize("block", range(5))
def test_step_and_cycles_agree_on_streams(block: int) -> None:
    ran = [assert_streams_agree(seed, with_values=False) for seed in range(20 * block, 20 * block + 20)]
    assert sum(ran) > 10, "too many deadlocks to say anything"


@pytest.mark.parametrize("block", range(3))
def test_step_and_values_agree_on_streams(block: int) -> None:
    for seed in range(1000 + 10 * block, 1010 + 10 * block):
        assert_streams_agree(seed, with_values=True)


def row_shares(rng: Random) -> Program:
    """A random program whose layers' rows several tiles make."""
    return shared_rows(rng.randrange(1000), rng.randrange(1000))


@pytest.mark.parametrize("draft", [row_shares, random_rounds_program])
def test_rows_shared_out_and_rounds_on_few_places(draft: Callable[[Random], Program]) -> None:
    ran = [assert_streams_agree(seed, True, lambda rng: put_together(rng, draft(rng))) for seed in range(30)]
    assert sum(ran) > 10


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_many_streams(block: int) -> None:
    seeds = range(2000 + 100 * block, 2100 + 100 * block)
    ran = [assert_streams_agree(seed, with_values=True) for seed in seeds]
    assert sum(ran) > 50, "too many deadlocks to say anything"


def recorded(program: Program) -> Record | None:
    try:
        return record(program, 2)
    except DeadlockError:
        return None


@SETTINGS
@given(RANDOM)
def test_a_shared_unit_does_one_thing_at_a_time_for_all_its_streams(rng: Random) -> None:
    program = random_streams(rng)
    found = recorded(program)
    if found is None:
        return
    units: dict[tuple[tuple[int, ...], str], list[tuple[int, int]]] = {}
    for one in found.slices:
        if is_shared(one.unit):
            units.setdefault((program.sharing[one.tile], one.unit), []).append((one.start, one.end))
    for spans in units.values():
        assert all(a[1] <= b[0] for a, b in pairwise(sorted(spans)))
    assert all(len(program.sharing[s.tile]) > 1 and is_shared(s.unit) for s in found.slices if s.reason == "stream")


def starts_behind(found: Record, one: Slice, place: tuple[int, ...]) -> bool:
    """Whether another stream of its place had a slice's unit until the cycle in which it started."""
    others = (s for s in found.slices if s.tile in place and s.tile != one.tile and s.unit == one.unit)
    return any(s.end == one.start for s in others)


@pytest.mark.parametrize("seed", range(10))
def test_who_waits_for_another_stream_starts_when_that_is_done(seed: int) -> None:
    program = random_streams(Random(seed))
    found = recorded(program)
    if found is not None:
        waits = [s for s in found.slices if s.reason == "stream"]
        assert all(starts_behind(found, one, program.sharing[one.tile]) for one in waits)


def test_transfers_of_streams_do_interleave() -> None:
    """The property that a recv does not hold its unit has cases among the random programs."""
    assert any(_interleaved(random_streams(Random(seed))) for seed in range(20))


def _interleaved(program: Program) -> bool:
    found = recorded(program)
    if found is None:
        return False
    rows: dict[tuple[object, ...], list[Slice]] = {}
    for s in found.slices:
        if isinstance(program.tile[s.tile].code[s.index], Recv):
            rows.setdefault((program.sharing[s.tile], s.tile, s.index, s.iteration, s.image), []).append(s)
    taken = [(key, s) for key, spans in rows.items() for s in spans]
    return any(
        key[0] == other[0] and key[1] != other[1] and spans[0].end <= s.start < spans[-1].start
        for other, spans in rows.items()
        for key, s in taken
    )


@SETTINGS
@given(RANDOM)
def test_sharing_neither_makes_nor_breaks_a_deadlock(rng: Random) -> None:
    """What waits holds no unit, so streams that would end each for itself end at one place."""
    program = random_program(rng)
    apart, together = fast(program, 2), fast(put_together(rng, program), 2)
    assert (apart is None) == (together is None)


@pytest.mark.parametrize("seed", range(10))
def test_values_are_those_of_the_program_with_each_tile_at_its_own_place(seed: int) -> None:
    rng = Random(seed)
    program = random_program(rng)
    together = put_together(rng, program)
    inputs = random_images(rng, program, 2)
    apart = values.Executor(program).run(inputs).outputs
    judged = slow(together, inputs, 2, with_values=True)
    for name, value in (judged.outputs if judged is not None else {}).items():
        np.testing.assert_array_equal(value, apart[name])


@pytest.mark.parametrize("seed", range(10))
def test_text_and_file_bring_streams_back(seed: int, tmp_path: Path) -> None:
    program = random_streams(Random(seed))
    text = disassemble(program)
    assert disassemble(assemble(text)) == text
    save(program, tmp_path / "p.pim")
    read = load(tmp_path / "p.pim")
    assert disassemble(read) == text
    assert read.sharing == assemble(text).sharing == program.sharing


# ---- rules that are broken ----


def differ(seed: int) -> bool:
    """Whether the engines disagree."""
    try:
        assert_streams_agree(seed, with_values=False)
    except AssertionError:
        return True
    return False


def test_another_order_of_streams_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Highest number first."""
    monkeypatch.setattr(engine, "Contender", lambda order, unit: Contender((-order[0], order[1]), unit))
    assert any(differ(seed) for seed in range(20))


def test_streams_that_share_nothing_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "is_shared", lambda unit: False)
    assert any(differ(seed) for seed in range(20))


def test_matrix_units_in_common_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if groups of one name were one unit: they are the streams' own."""
    monkeypatch.setattr(engine, "is_shared", lambda unit: True)
    assert any(differ(seed) for seed in range(20))
