"""What the ISAAC paper says, recomputed: Table I totals, peak rates, pipeline, converter bits.

Shafiee et al., "ISAAC: A Convolutional Neural Network Accelerator with In-Situ Analog Arithmetic in Crossbars",
ISCA 2016, corrected version of October 2016.
"""

from __future__ import annotations

from math import log2

import numpy as np
import pytest

from pimc_backends import isaac
from pimc_isa.crossbar.cells import encode
from pimc_isa.crossbar.exactness import conversions_exact
from pimc_isa.crossbar.footprint import footprint
from pimc_isa.define import Context
from pimc_isa.energy import budget, peak, total
from pimc_isa.flow import check_flow, flow_actions
from pimc_isa.instructions import Mvm
from pimc_isa.operands import Buffer, Group, RowExpr, Slab, Weights, Window
from pimc_isa.program import Program, Tile

MACHINE = isaac.machine()
IMA = ("adc", "dac", "sample-hold", "crossbar", "shift-add", "input-register", "output-register")


def rounds_to(value: float, printed: str) -> bool:
    """Whether a value agrees with a printed one to the last printed digit (give or take one half, plus rounding)."""
    digits = len(printed.partition(".")[2])
    allowed: float = 0.51 / 10**digits
    return abs(value - float(printed)) <= allowed


def test_table_1_totals() -> None:
    tile, chip, parts = total(MACHINE, "tile"), total(MACHINE), budget(MACHINE, "tile")
    assert rounds_to(sum(parts[name].power_mw for name in IMA), "289")
    assert rounds_to(sum(parts[name].area_mm2 for name in IMA), "0.157")
    assert rounds_to(sum(p.power_mw for name, p in parts.items() if name not in IMA), "40.9")
    assert rounds_to(sum(p.area_mm2 for name, p in parts.items() if name not in IMA), "0.215")
    assert rounds_to(tile.power_mw, "330")
    assert rounds_to(tile.area_mm2, "0.372")
    assert MACHINE.chip.tiles == 168
    assert rounds_to(168 * tile.power_mw / 1e3, "55.4")
    assert 168 * tile.area_mm2 == pytest.approx(62.5, abs=0.06)  # 62.54 from unrounded parts
    assert rounds_to(chip.power_mw / 1e3, "65.8")
    assert rounds_to(chip.area_mm2, "85.4")


def test_converters_take_58_percent_of_power_and_31_percent_of_area() -> None:
    tile, adc = total(MACHINE, "tile"), budget(MACHINE, "tile")["adc"]
    assert adc.power_mw / tile.power_mw == pytest.approx(0.58, abs=0.005)
    assert adc.area_mm2 / tile.area_mm2 == pytest.approx(0.31, abs=0.005)


def test_peak_rates_of_table_4() -> None:
    rates = peak(MACHINE, isaac.flow("isaac16"))
    assert rates.gops_per_watt == pytest.approx(627.5, rel=0.02)
    assert rates.gops_per_mm2 == pytest.approx(478.95, rel=0.02)


def test_pipeline_of_22_steps() -> None:
    """1 eDRAM read; 2-17 array reads; 3-18 ADC; 4-19 shift-and-add; 20 tile; 21 sigmoid; 22 eDRAM write (from 1)."""
    flow = isaac.flow("isaac16")
    check_flow(flow, MACHINE)
    steps: dict[str, list[int]] = {}
    for op in flow.ops:
        steps.setdefault(op.op, []).append(op.step + 1)
    assert steps["load"] == [1]
    assert steps["drive"] == steps["read"] == list(range(2, 18))
    assert steps["convert"] == list(range(3, 19))
    assert steps["accumulate"] == list(range(4, 20))
    assert (steps["merge"], steps["activate"], steps["store"]) == ([20], [21], [22])
    assert flow.latency_cycles / MACHINE.clock_hz == pytest.approx(2.2e-6)
    assert flow.interval_cycles / MACHINE.clock_hz == pytest.approx(1.6e-6)


@pytest.mark.parametrize(("name", "bits"), [("isaac8", 8), ("isaac16", 16)])
def test_conversions_for_one_dot_product_are_input_cycles_times_columns(name: str, bits: int) -> None:
    form = check_flow(isaac.flow(name), MACHINE)
    assert len(form.blocks) == bits * (bits // 2)
    assert isaac.flow(name).interval == bits


def test_the_encoding_saves_one_converter_bit() -> None:
    """log2(rows) + DAC bits + cell bits - 1 = 9 bits without it; with it 8 always do, and 7 would not."""
    array = MACHINE.array
    plain = log2(array.rows) + array.dac_bits + array.cell_bits - 1
    assert plain == 9
    assert array.converter_bits == plain - 1
    rng = np.random.default_rng(0)
    form = check_flow(isaac.flow(), MACHINE)
    worst = 0
    for low, high in [(-128, 127), (100, 127), (-128, -100), (127, 127), (-40, 90), (-86, -86), (42, 42)]:
        values = rng.integers(low, high, (1, 128, 32), endpoint=True).astype(np.int8)
        weights = Weights("w", 1, 128, 32, 128, (2, 2, 2, 2))
        cells = encode(values, weights.slices, 128)
        assert conversions_exact(cells, weights, form).holds
        worst = max(worst, *(int((cells.codes >> s & 3).sum(axis=1, dtype=int).max()) for s in (0, 2, 4, 6)))
    assert 127 < worst <= 192


def test_actions_of_a_busy_unit_draw_the_power_of_table_1() -> None:
    """Energies per action are consistent with the powers they come from: a full crossbar at the paper's rate.

    Output registers differ on purpose: partial sums are kept exact (39 bits), where ISAAC keeps 16 bits.
    """
    flow = isaac.flow("isaac16")
    weights = Weights("w", 1, 128, 16, 128, flow.slices)
    x, acc = Buffer("x", "u8", 1, 1, 128, (0, 1), (0, 128), 1), Buffer("y", "i32", 1, 1, 16, (0, 1), (0, 16), 1)
    group = Group("g", "w", flow.name, (0, 128), (0, 16), (0, 1))
    tile = Tile(1, "t", "tile", 0, 0, 0, (x, acc), (Window("k", (1, 1)),), (group,))
    program = Program(MACHINE, (tile,), (), (flow,), (weights,), (), (), {})
    actions = Mvm(Slab("y", RowExpr()), "x", "k", "g").actions(Context(program, tile))
    seconds = flow.interval_cycles / MACHINE.clock_hz
    drawn = {e.component: 96 * actions.get(e.action, 0) * e.energy_pj * 1e-9 / seconds for e in MACHINE.energies}
    parts = budget(MACHINE, "tile")
    for name in ("adc", "dac", "sample-hold", "crossbar", "shift-add", "input-register"):
        assert drawn[name] == pytest.approx(parts[name].power_mw, rel=0.02), name
    assert drawn["output-register"] == pytest.approx(parts["output-register"].power_mw * 5 / 2, rel=0.02)


def test_a_quarter_conversion_for_each_multiplication_at_8_bits() -> None:
    """32 conversions per 128 rows: 0.25 per multiplication, as the RAELLA paper counts for ISAAC."""
    flow = isaac.flow("isaac8")
    place = footprint(1, 128 * 3, 64, len(flow.slices), MACHINE.array)
    assert place.columns * flow_actions(flow)["convert"] / (128 * 3 * 64) == 0.25
