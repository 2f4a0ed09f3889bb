"""Rows shared out at random: three engines agree, values are those of undivided layers, broken rules are found."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from pimc_isa.energy import program_actions
from pimc_isa.engines import step, values
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.step import geometry
from pimc_isa.engines.step import tile as step_tile
from pimc_isa.engines.timing import Timing
from pimc_isa.errors import DeadlockError, PimcError
from pimc_isa.instructions import Recv, Send
from pimc_isa.operands import ALL_ROWS, RowRange
from pimc_isa.program import Program
from tests.properties.programs import random_images
from tests.properties.row_shares import cover, shared_rows
from tests.properties.test_engines_agree import assert_values_agree, fast, noise_of, slow
from tests.unit.isa.engines.tiny import same

Array = np.ndarray
Patch = pytest.MonkeyPatch


def assert_shares_agree(seed: int) -> bool:
    """One program through all engines, lifted and row by row; whether it ran to its end."""
    program, images = shared_rows(seed, 7 * seed + 1), 1 + seed % 3
    inputs = random_images(Random(seed), program, images)
    noise = noise_of(seed) if seed % 4 == 0 else None
    timing, result = fast(program, images), slow(program, inputs, images, True, noise)
    assert (timing is None) == (result is None), "only one engine sees a deadlock"
    assert_values_are_those_of_undivided_layers(seed, program, inputs)
    if timing is None or result is None:
        return False
    same(timing, result.timing)
    assert_values_agree(program, inputs, result, noise)
    assert_energy_is_what_links_carried(program, timing, images)
    return True


def assert_values_are_those_of_undivided_layers(seed: int, program: Program, inputs: dict[str, Array]) -> None:
    """Lifted, row by row, and with one tile for each layer: outputs, and all that buffers hold."""
    found = values.run(program, inputs, keep=True)
    rowwise = values.Executor(program, rowwise=True).run(inputs, keep=True)
    whole = values.run(shared_rows(seed, 5, most=1), inputs, keep=True)
    assert found.partial == rowwise.partial
    for name, tensor in found.tensors.items():
        np.testing.assert_array_equal(rowwise.tensors[name], tensor, name)
        if name.startswith("L") and name not in found.partial | whole.partial:
            np.testing.assert_array_equal(whole.tensors[name], tensor, name)
    np.testing.assert_array_equal(rowwise.outputs["out0"], found.outputs["out0"])
    np.testing.assert_array_equal(whole.outputs["out0"], found.outputs["out0"])


def assert_energy_is_what_links_carried(program: Program, timing: Timing, images: int) -> None:
    """Bytes over a link take its cycles, rounded up for each message: with links of one byte they are equal."""
    layers = program_actions(program).values()
    counts = {name: sum(actions.get(name, 0) for actions in layers) for name in ("link_byte", "chip_link_byte")}
    net, busy = program.machine.network, sum(timing.link_busy.values()) // images
    least = counts["link_byte"] / net.link_bytes_per_cycle + counts["chip_link_byte"] / net.chip_link_bytes_per_cycle
    assert busy >= least
    if net.link_bytes_per_cycle == net.chip_link_bytes_per_cycle == 1:
        assert busy == least


@pytest.mark.parametrize("block", range(12))
def test_engines_agree_on_rows_shared_out(block: int) -> None:
    ran = [assert_shares_agree(seed) for seed in range(10 * block, 10 * block + 10)]
    assert sum(ran) >= 5, "too many deadlocks to say anything"


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_engines_agree_on_many_programs_with_rows_shared_out(block: int) -> None:
    ran = [assert_shares_agree(seed) for seed in range(1000 + 100 * block, 1100 + 100 * block)]
    assert sum(ran) > 50


def test_programs_are_of_every_kind() -> None:
    """Strides, halves, rows dealt out, merged and multicast; sends of nothing; rings that a step does not divide."""
    seen: set[str] = set()
    for seed in range(40):
        program = shared_rows(seed, 7 * seed + 1)
        seen |= {f"{len(c.dests) > 1 and 'multi'}cast" for c in program.channels}
        for tile in program.tiles:
            recvs = [i for i in tile.code if isinstance(i, Recv)]
            seen |= {"merged" for i in recvs if len({j.channel for j in recvs if j.dst == i.dst}) > 1}
            for instr in tile.code:
                if isinstance(instr, Recv | Send) and instr.rows != ALL_ROWS:
                    slots = tile.buffer[(instr.dst if isinstance(instr, Recv) else instr.src).buffer].slots
                    kind = "half" if instr.rows.step == 1 else "coprime" if slots % instr.rows.step else "divided"
                    seen.add(f"{instr.mnemonic} {kind}")
                    seen |= {f"{instr.mnemonic} at the host"} if tile.number == 0 else set()
    wanted = {f"{op} {kind}" for op in ("recv", "send") for kind in ("half", "coprime", "divided", "at the host")}
    assert seen >= wanted | {"multicast", "merged"}


def test_merged_shares_cost_the_values_engine_little() -> None:
    """Nearly as many operations as with one tile for each layer, and no tile runs row by row (calls stay apart)."""
    counts = [0, 0]
    for seed in range(40):
        programs = shared_rows(seed, 7 * seed + 1), shared_rows(seed, 5, most=1)
        executors = [values.Executor(program) for program in programs]
        assert not any(executor.lifted.rowwise for executor in executors)
        if sum(tile.kind == "host" for tile in programs[0].tiles) == 1:
            counts = [n + len(e.shared.operations) for n, e in zip(counts, executors, strict=True)]
    assert 100 < counts[0] < 1.2 * counts[1]


def test_cover_is_the_shortest_range() -> None:
    assert cover([3]) == range(3, 4)
    assert cover([1, 5, 3, 9]) == range(1, 10, 2)
    assert cover([0, 1, 4]) == range(5)


# ---- a judge that cannot fail is worth nothing ----


def first_row_is_row_0(patch: Patch) -> None:
    """The n-th message as row n * step."""
    patch.setattr(Recv, "row_of_message", lambda self, ctx: range(0, 1 << 20, self.rows.step))


def step_forgotten(patch: Patch) -> None:
    within = RowRange.within
    patch.setattr(RowRange, "within", lambda self, height: within(RowRange(self.first, self.stop), height))


def stop_forgotten(patch: Patch) -> None:
    within = RowRange.within
    patch.setattr(RowRange, "within", lambda self, height: within(RowRange(self.first, None, self.step), height))


def until_counts_messages(patch: Patch) -> None:
    def taken_until(self: Recv, ctx: Any, i: int) -> int:
        return min(self.rows_until(ctx, i), len(self.row_of_message(ctx)))

    patch.setattr(Recv, "taken_until", taken_until)


def every_row_is_sent(patch: Patch) -> None:
    patch.setattr(Send, "sends", lambda self, ctx, i: True)


def referee_takes_one_row_less(patch: Patch) -> None:
    named = geometry.rows_named
    patch.setattr(step_tile, "rows_named", lambda rows, height: named(rows, height - (rows.step > 1)))


def referee_sends_every_row(patch: Patch) -> None:
    patch.setattr(step_tile, "is_sent", lambda tile, instr, i: True)


FAULTS = (
    first_row_is_row_0,
    step_forgotten,
    stop_forgotten,
    until_counts_messages,
    every_row_is_sent,
    referee_takes_one_row_less,
    referee_sends_every_row,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_rule_is_found(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    programs = [shared_rows(seed, 7 * seed + 1) for seed in range(25)]
    fault(monkeypatch)
    assert any(differ(program, seed) for seed, program in enumerate(programs))


def differ(program: Program, seed: int) -> bool:
    """Whether the engines disagree on a program, or one refuses it."""
    inputs = random_images(Random(seed), program, 2)
    try:
        timing, result = simulate(program, 2), step.run(program, inputs, 2)
        same(timing, result.timing)
        assert_values_agree(program, inputs, result)
    except (AssertionError, PimcError, DeadlockError, IndexError):
        return True
    return False
