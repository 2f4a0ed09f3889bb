"""Rounds in all engines: an epitome written by hand, against the convolution that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from pimc_backends import cascade, isaac, neural_pim
from pimc_backends.neural_pim.peripherals.store import load
from pimc_isa.check import check
from pimc_isa.crossbar.cells import Cells
from pimc_isa.crossbar.exactness import full_scale
from pimc_isa.engines import step
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.dots.model import PREFIX
from pimc_isa.engines.noise import Noise, parse_noise
from pimc_isa.engines.values import Executor
from pimc_isa.errors import ProgramError
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine
from pimc_isa.operands import Rounds, Weights
from pimc_isa.peripherals import to_tensors
from pimc_isa.program import Program
from tests.unit.isa.engines.rounds_nets import Table, cells_for, conv_program, requantised, span, tables, windows
from tests.unit.isa.engines.tiny import same

Array = np.ndarray

#: 20 rows in blocks of 8 (the last one short) x 6 outputs, leaning to one side so that columns are flipped.
EPITOME = np.random.default_rng(3).integers(-40, 128, (20, 6)).astype(np.int8)
X = {"x": np.random.default_rng(4).integers(0, 256, (2, 5, 6, 4), dtype=np.uint8)}
STRIPS = {"one": ((0, 6),), "three": ((0, 2), (2, 3), (3, 6))}


def expanded(e: Array) -> Array:
    """int64 [36, 10]: two blocks of four channels by input blocks of 16, 16 and 4, and two channels wrapped."""
    w = np.zeros((36, 10), np.int64)
    for channel, column in ((0, 0), (4, 2)):
        w[0:16, channel : channel + 4] = e[0:16, column : column + 4]
        w[16:32, channel : channel + 4] = e[4:20, column : column + 4]
        w[32:36, channel : channel + 4] = e[16:20, column : column + 4]
    w[:, 8], w[:, 9] = w[:, 1], w[:, 6]
    return w


COPIES = (*[-1] * 8, 1, 6)
BLOCKS = ((0, 0, 16), (4, 16, 16), (16, 32, 4))  # first row, first input, how many
ALONE = tuple(
    Table(3 * m + n, int(n > 0), span(row, element, size), span(2 * m, 4 * m, 4))
    for m in (0, 1)
    for n, (row, element, size) in enumerate(BLOCKS)
)
#: The first and the last patch of a block of channels lie in different row blocks: one round.
MERGED = tuple(replace(p, number=2 * (p.number // 3) + p.number % 3 % 2, adds=p.number % 3 % 2) for p in ALONE)
SCHEDULES = {"alone": (6, ALONE), "merged": (4, MERGED)}


#: Machines and flows; the wide ranges of CASCADE lose nothing.
TARGETS: dict[str, tuple[Machine, Flow]] = {
    "isaac": (isaac.machine(), isaac.flow()),
    "cascade": (cascade.machine(), cascade.flow()),
    "cascade-wide": (cascade.target(ranges="wide").machine, cascade.target(ranges="wide").flows[0]),
    "neural-pim": (neural_pim.machine(), neural_pim.flow()),
}
ISAAC, NPIM = TARGETS["isaac"], TARGETS["neural-pim"]


def cells(target: tuple[Machine, Flow]) -> tuple[Weights, Cells]:
    return cells_for(target[1], EPITOME, 8)


def net(
    target: tuple[Machine, Flow], schedule: str = "alone", strips: str = "one", scale: tuple[float, float] = (0.0, 1.0)
) -> Program:
    """The epitome's convolution; crossbars are so narrow that its outputs take two or three side by side."""
    count, patches = SCHEDULES[schedule]
    weights, encoded = cells(target)
    machine = replace(target[0], array=replace(target[0].array, columns=4 * weights.columns))
    held = tables(patches, weights, COPIES)
    rounds = Rounds("r", 36, (0, 10), count)
    p = conv_program(machine, target[1], (weights, encoded), rounds, held, STRIPS[strips], scale, copies=2)
    check(p)
    return p


def agreed(p: Program, noise: Noise | None = None, inputs: Mapping[str, Array] = X) -> Array:
    """What comes out, on which all engines and every way of running them agree."""
    images = len(inputs["x"])
    slow = step.run(p, inputs, images, noise=noise)
    same(simulate(p, images), slow.timing)
    ways = ((False, True, True), (True, True, True), (False, False, True), (False, True, False))
    for rowwise, merge, prove in ways:
        made = Executor(p, rowwise, merge, prove, noise).run(inputs).outputs["y"]
        np.testing.assert_array_equal(made, slow.outputs["y"], f"{rowwise=} {merge=} {prove=}")
    return slow.outputs["y"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("strips", STRIPS)
@pytest.mark.parametrize(("name", "most"), [("isaac", 0), ("cascade-wide", 0), ("cascade", 2)])
def test_rounds_compute_the_convolution_that_they_stand_for(name: str, most: int, schedule: str, strips: str) -> None:
    """To the bit, or as near as CASCADE's converters come."""
    p = net(TARGETS[name], schedule, strips)
    want, executor = requantised(windows(X["x"]) @ expanded(EPITOME)), Executor(p)
    assert np.ptp(want) > 100
    assert np.abs(agreed(p).astype(int) - want).max() == most
    executor.run(X)
    assert executor.lossy == (most > 0)


def test_flipped_columns_and_centres_are_there_to_be_tested() -> None:
    _, encoded = cells(ISAAC)
    assert encoded.polarity.any()
    assert encoded.centre.all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ranged_codes_are_scaled_once_for_each_round_and_channel(schedule: str) -> None:
    """Row block by row block and round by round, in float64 as the manual has it."""
    p = net(NPIM, schedule, "three", (0.125, 8.0))
    weights, flow = p.weights[0], p.flows[0]
    one = full_scale(weights, flow.input_bits, 0.125, 8.0) / 127
    sums, seen = np.zeros((2, 5, 6, 10), np.int64), windows(X["x"])
    count, patches = SCHEDULES[schedule]
    for number in range(count):
        codes = np.zeros_like(sums)
        for patch in (patch for patch in patches if patch.number == number):
            for block in range(3):
                rows = [row for row in patch.rows if row // 8 == block]
                columns, channels = list(patch.columns), list(patch.columns.values())
                part = seen[..., [patch.rows[row] for row in rows]] @ EPITOME[np.ix_(rows, columns)].astype(np.int64)
                codes[..., channels] += np.clip(np.floor(part / one + 0.5), -128, 127).astype(np.int64) * bool(rows)
        sums += np.floor(one * codes + 0.5).astype(np.int64)
    sums[..., 8], sums[..., 9] = sums[..., 1], sums[..., 6]
    np.testing.assert_array_equal(agreed(p), requantised(sums))


def test_merged_patches_of_one_row_block_share_a_conversion() -> None:
    """Rows 0 to 3 and 4 to 7 belong to two patches, the same outputs and one crossbar: their sum is converted."""
    patches = (
        Table(0, 0, span(0, 8, 4), span(0, 0, 6)),
        Table(0, 0, span(4, 0, 4), span(0, 0, 6)),
        Table(0, 0, span(8, 20, 8), span(0, 0, 6)),
    )
    weights, encoded = cells(NPIM)
    held, rounds = tables(patches, weights, [-1] * 6), Rounds("r", 36, (0, 6), 1)
    p = conv_program(*NPIM, (weights, encoded), rounds, held, scale=(0.25, 8.0))
    check(p)
    order = [*range(8, 12), *range(4), *range(20, 28)]
    one = full_scale(weights, 8, 0.25, 8.0) / 127
    seen, codes = windows(X["x"])[..., order], np.zeros((2, 5, 6, 6))
    for rows in (slice(0, 8), slice(8, 16)):
        codes += np.clip(np.floor(seen[..., rows] @ EPITOME[rows].astype(np.int64) / one + 0.5), -128, 127)
    np.testing.assert_array_equal(agreed(p), requantised(np.floor(one * codes + 0.5)))


def test_the_referee_sees_what_an_illegal_schedule_pollutes() -> None:
    """Two patches on one crossbar, each with an output of its own: what is driven is summed by both."""
    patches = (Table(0, 0, {0: 0}, {0: 0}), Table(0, 0, {1: 1}, {1: 1}))
    weights, encoded = cells(ISAAC)
    held, rounds = tables(patches, weights, [-1, -1]), Rounds("r", 36, (0, 2), 1)
    p = conv_program(*ISAAC, (weights, encoded), rounds, held)
    with pytest.raises(ProgramError, match="pollutes"):
        check(p)
    e, w = EPITOME.astype(np.int64), np.zeros((36, 2), np.int64)
    w[:2] = e[:2, :2]
    np.testing.assert_array_equal(step.run(p, X, 2).outputs["y"], requantised(windows(X["x"]) @ w))


def test_two_outputs_of_a_crossbar_may_go_to_one_channel() -> None:
    """And one input may be on two rows."""
    patches = (Table(0, 0, {0: 5, 1: 5, 9: 7}, {0: 0, 3: 0, 1: 1}), Table(1, 1, {19: 35}, {5: 1, 4: 0}))
    weights, encoded = cells(ISAAC)
    held, rounds = tables(patches, weights, [-1, -1]), Rounds("r", 36, (0, 2), 2)
    p = conv_program(*ISAAC, (weights, encoded), rounds, held)
    check(p)
    e, w = EPITOME.astype(np.int64), np.zeros((36, 2), np.int64)
    w[5] = e[0, 0] + e[1, 0] + e[0, 3] + e[1, 3], e[0, 1] + e[1, 1]
    w[7] = e[9, 0] + e[9, 3], e[9, 1]
    w[35] = e[19, 4], e[19, 5]
    np.testing.assert_array_equal(agreed(p), requantised(windows(X["x"]) @ w))


def test_strips_of_one_schedule_are_computed_together_and_others_are_not() -> None:
    p = net(ISAAC, strips="three")
    assert len(_dots(p)) == 1
    other = tables(ALONE, p.weights[0], (*[-1] * 8, 3, 7), "other")
    last = replace(p.tiles[3], groups=(replace(p.tiles[3].groups[0], rounds="other"),))
    mixed = replace(
        p,
        tiles=(*p.tiles[:3], last, *p.tiles[4:]),
        rounds=(*p.rounds, replace(p.rounds[0], name="other")),
        tensors={**p.tensors, **other},
    )
    check(mixed)
    assert len(_dots(mixed)) == 2
    want = requantised(windows(X["x"]) @ expanded(EPITOME))
    want[:, :, 3:, 8:] = want[:, :, 3:, [3, 7]]
    np.testing.assert_array_equal(agreed(mixed), want)


def _dots(p: Program) -> list[str]:
    return [item.label for item in Executor(p).plan().items if item.label.startswith("dot")]


@pytest.mark.parametrize("part", ["k", "n"])
def test_groups_of_other_rows_or_outputs_are_not_mistaken_for_each_other(part: str) -> None:
    """One schedule that two groups may both work in: the larger one holds a block or an output that is not used."""
    patches = (Table(0, 0, span(0, 0, 8), span(0, 0, 4)),)
    weights, encoded = cells(ISAAC)
    held, rounds = tables(patches, weights, [-1] * 4), Rounds("r", 36, (0, 4), 1)
    p = conv_program(*ISAAC, (weights, encoded), rounds, held, STRIPS["three"])
    group = p.tiles[2].groups[0]
    less = replace(group, k=(0, 8)) if part == "k" else replace(group, n=(0, 4))
    p = replace(p, tiles=(*p.tiles[:2], replace(p.tiles[2], groups=(less,)), *p.tiles[3:]))
    check(p)
    w = np.zeros((36, 4), np.int64)
    w[:8] = EPITOME[:8, :4]
    np.testing.assert_array_equal(agreed(p), requantised(windows(X["x"]) @ w))


@pytest.mark.parametrize("model", ["device:cell=0.2,read=0.02", "device:cell=0,read=0.02,hold=0.01"])
@pytest.mark.parametrize(("name", "scale"), [("isaac", (0.0, 1.0)), ("neural-pim", (0.25, 8.0))])
def test_noise_is_that_of_the_referee(name: str, scale: tuple[float, float], model: str) -> None:
    p = net(TARGETS[name], "merged", scale=scale)
    few = {"x": X["x"][:1]}
    assert (agreed(p, parse_noise(7, model), few) != agreed(p, inputs=few)).any()


def test_rounds_on_the_same_cells_draw_apart() -> None:
    """The same patch twice, in two rounds for two channels: the same sums, but not the same noise."""
    patches = tuple(Table(n, 0, span(0, 0, 16), {0: n}) for n in (0, 1))
    weights, encoded = cells(NPIM)
    held, rounds = tables(patches, weights, [-1, -1]), Rounds("r", 36, (0, 2), 2)
    p = conv_program(*NPIM, (weights, encoded), rounds, held, scale=(0.25, 8.0))
    few = {"x": X["x"][:1]}
    quiet, noisy = agreed(p, inputs=few), agreed(p, parse_noise(7, "device:cell=0,read=0.05"), few)
    np.testing.assert_array_equal(quiet[..., 0], quiet[..., 1])
    assert (noisy[..., 0] != noisy[..., 1]).mean() > 0.3


@pytest.mark.parametrize("kind", ["fitted", "trained"])
def test_peripherals_that_are_not_ideal(kind: str) -> None:
    p = net(NPIM, "merged", scale=(0.25, 8.0))
    made = replace(p, tensors={**p.tensors, **to_tensors(load(), PREFIX)}, meta={"peripherals": kind})
    few = {"x": X["x"][:1]}
    assert (agreed(made, parse_noise(7, "device:cell=0,read=0.02,peripherals=1"), few) != agreed(p, inputs=few)).any()
