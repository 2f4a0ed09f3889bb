"""A judge that cannot fail is worth nothing: rules that the fast engines share are broken, and the step engine objects.

Each rule was taken by the step engine from the code it judges before it had rules of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest

from pimc_isa import route
from pimc_isa.crossbar import footprint
from pimc_isa.engines import noise as noises
from pimc_isa.engines.dots import variation
from pimc_isa.engines.dots.analog import AnalogLayer
from pimc_isa.engines.dots.columns import ColumnLayer
from pimc_isa.engines.kernels import epilogue
from pimc_isa.errors import PimcError
from pimc_isa.instructions import Recv
from pimc_isa.instructions.vector import PerElement
from pimc_isa.operands import Window
from tests.properties import test_engines_agree as agree

Patch = pytest.MonkeyPatch


def everywhere(patch: Patch, module: Any, name: str, new: Callable[..., Any]) -> None:
    """Replace a function wherever the fast engines have imported it."""
    old = getattr(module, name)
    for key, other in list(sys.modules.items()):
        if key.startswith("pimc_isa") and "engines.step" not in key and getattr(other, name, None) is old:
            patch.setattr(other, name, new)


def slow_elements(patch: Patch) -> None:
    cycles = PerElement.cycles
    patch.setattr(PerElement, "cycles", lambda self, ctx: cycles(self, ctx) + 1)


def short_burst(patch: Patch) -> None:
    busy = footprint.group_burst_occupancy

    def shorter(program: Any, group: Any, positions: int) -> int:
        return int(busy(program, group, positions) - program.flow[group.flow].interval_cycles)

    everywhere(patch, footprint, "group_burst_occupancy", shorter)


def no_credit_floor(patch: Patch) -> None:
    patch.setattr(route.Tree, "credit_delay", lambda self, receiver: self.latency[receiver])


def host_link_is_on_chip(patch: Patch) -> None:
    patch.setattr(route, "leaves_chip", lambda link: link[0][0] != link[1][0])


def round_down(patch: Patch) -> None:
    def occupancy(machine: Any, link: Any, nbytes: int) -> int:
        net = machine.network
        width = net.chip_link_bytes_per_cycle if route.leaves_chip(link) else net.link_bytes_per_cycle
        return max(1, nbytes // int(width))

    everywhere(patch, route, "occupancy", occupancy)


def dilated_rows_dropped(patch: Patch) -> None:
    def rows(self: Window, out_row: int, height: int) -> tuple[int, int]:
        first = out_row * self.stride[0] - self.pads[0]
        return max(0, min(first, height)), max(0, min(first + self.kernel[0], height))

    patch.setattr(Window, "rows", rows)


def until_one_more(patch: Patch) -> None:
    until = Recv.rows_until

    def rows_until(self: Recv, ctx: Any, i: int) -> int:
        height = ctx.tile.buffer[self.dst.buffer].rows
        return int(min(height, until(self, ctx, i) + (self.until.at(i) == height - 1)))

    patch.setattr(Recv, "rows_until", rows_until)


def halves_up(patch: Patch) -> None:
    def requantise(acc: Any, multiplier: Any, bias: Any, zero: int, lo: int, hi: int, out: Any) -> None:
        scaled = np.clip((acc + bias).astype(np.float32) * multiplier, lo - zero, hi - zero)
        out[...] = np.floor(scaled + np.float32(0.5)) + zero

    everywhere(patch, epilogue, "requantise_into", requantise)


def rows_and_columns_swapped(patch: Patch) -> None:
    numbers = noises.position_numbers
    everywhere(patch, noises, "position_numbers", lambda image, row, col: numbers(image, col, row))


def coarser_cells(patch: Patch) -> None:
    patch.setattr(variation, "FRACTION_BITS", 6)


def larger_swing(patch: Patch) -> None:
    swing = AnalogLayer._column_swing
    patch.setattr(AnalogLayer, "_column_swing", lambda self, i, j: 1.1 * swing(self, i, j))


def one_draw_for_all_input_slices(patch: Patch) -> None:
    strays = ColumnLayer._strays
    patch.setattr(ColumnLayer, "_strays", lambda self, read, i, *more: strays(self, read, 0, *more))


FAULTS = (
    slow_elements,
    short_burst,
    no_credit_floor,
    host_link_is_on_chip,
    round_down,
    dilated_rows_dropped,
    until_one_more,
    halves_up,
    rows_and_columns_swapped,
    coarser_cells,
    larger_swing,
    one_draw_for_all_input_slices,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_rule_is_found(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    fault(monkeypatch)
    monkeypatch.setattr(agree, "check", lambda program: None)
    assert any(differ(seed) for seed in range(60))


def differ(seed: int) -> bool:
    """Whether the engines disagree on a program, or a fast one refuses it."""
    try:
        agree.assert_engines_agree(Random(seed), with_values=True, noise=agree.noise_of(seed))
    except (AssertionError, PimcError):
        return True
    return False
