"""What is reported about a stream of images: latency, interval and totals of timings written down by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pimc_isa.engines.timing import TileTiming, Timing, is_shared, unit_of
from pimc_isa.instructions import CallHost, Copy, Mvm, Mvma, Send
from pimc_isa.operands import RowExpr, Slab
from pimc_isa.route import HOST

LINK = (HOST, (0, 0, 0))
X = Slab("x", RowExpr())


def timing(ends: list[int], units: dict[tuple[int, str], int] | None = None, link: int = 0) -> Timing:
    """A stream that ends an image at each of these cycles."""
    return Timing(len(ends), (), tuple(ends), units or {}, {LINK: link} if link else {})


@pytest.mark.parametrize(
    ("ends", "interval"),
    [
        ([70], 70),
        ([70, 100], 30),  # two images: what there is
        ([70, 100, 125], 30),  # the last has nobody behind it and does not count
        ([70, 100, 135, 136], 35),
        ([70, 100, 135, 175, 180], 40),
    ],
)
def test_the_interval_is_that_before_the_last_image(ends: list[int], interval: int) -> None:
    assert timing(ends).interval_cycles == interval
    assert timing(ends).latency_cycles == 70


@pytest.mark.parametrize(
    ("units", "link", "interval"),
    [
        ({(1, "vector"): 60, (2, "vector"): 90}, 0, 30),  # 90 / 3 is what the ends say
        ({(1, "vector"): 60, (2, "vector"): 91}, 0, 31),  # rounded up: no third of a cycle
        ({(1, "vector"): 123, (2, "vector"): 60}, 95, 41),
        ({(1, "vector"): 60}, 94, 32),
        ({}, 0, 30),
    ],
)
def test_no_image_is_faster_than_the_busiest_unit_or_link(
    units: dict[tuple[int, str], int], link: int, interval: int
) -> None:
    assert timing([70, 100, 125], units, link).interval_cycles == interval


def test_a_unit_that_streams_share_is_busy_for_all_of_them() -> None:
    units = {(1, "vector"): 60, (2, "vector"): 50, (4, "vector"): 10, (1, "matrix.g"): 80, (2, "matrix.g"): 85}
    apart = timing([70, 100, 125], units)
    assert (apart.interval_cycles, apart.busy) == (30, units)
    together = replace(apart, sharing=((1, 2, 4),))
    assert together.busy == units | {(1, "vector"): 120, (2, "vector"): 120, (4, "vector"): 120}
    assert together.interval_cycles == 40


def test_a_single_image_takes_its_latency_however_long_units_are_busy() -> None:
    assert timing([70], {(1, "vector"): 500}).interval_cycles == 70


def test_totals_over_tiles() -> None:
    def trace(tile: int, end: list[list[int]]) -> TileTiming:
        ends = np.array(end, np.int64)
        return TileTiming(tile, np.arange(ends.shape[1]), np.zeros(ends.shape[1], int), ends - 1, ends)

    idle = trace(3, [[], []])
    whole = Timing(2, (trace(1, [[3, 9, 7], [13, 19, 17]]), trace(2, [[4, 5], [30, 29]]), idle), (9, 19))
    assert (whole.total_cycles, whole.executed) == (30, 10)
    assert (Timing(2, (idle,), (0, 0)).total_cycles, Timing(1, (), (0,)).executed) == (0, 0)


def test_each_group_and_each_call_is_a_unit_of_its_own() -> None:
    instrs = [Mvm(X, "x", "w", "g"), Mvma(X, "x", "w", "h"), CallHost("head"), Copy(X, X), Send("c", X)]
    assert [unit_of(i) for i in instrs] == ["matrix.g", "matrix.h", "host.head", "mover", "net-out"]
    assert [is_shared(unit_of(i)) for i in instrs] == [False, False, False, True, True]
