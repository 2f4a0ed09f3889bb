"""Energy: counts of a small program by hand, static power, sums over components."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pimc_backends import isaac
from pimc_isa.energy import budget, peak, program_actions, program_energy, total
from pimc_isa.errors import MachineError
from pimc_isa.instructions import Copy, End, Halt, Loop, Recv, Send
from pimc_isa.machine import Machine
from pimc_isa.operands import Buffer, Channel, RowExpr, Slab
from pimc_isa.program import Program, Tile

EACH = RowExpr(a=1)


def ring(name: str) -> Buffer:
    """Ten rows of 4 x 3 bytes."""
    return Buffer(name, "u8", 10, 4, 3, (0, 4), (0, 3), 10)


def program(machine: Machine | None = None) -> Program:
    """Ten rows of 12 bytes: host -> tile 1 at (1, 0), which copies each -> tile 2 on the next chip at (2, 1)."""
    host = Tile(0, "host", "host", 0, -1, 0, (ring("x"),), code=(Loop(10), Send("a", Slab("x", EACH)), End(), Halt()))
    first = Tile(
        1, "one", "tile", 0, 1, 0, (ring("x"), ring("y")),
        code=(
            Recv(Slab("x", RowExpr()), "a", RowExpr(b=2)),
            Loop(10),
            Recv(Slab("x", RowExpr()), "a", RowExpr(a=1, b=3)),
            Copy(Slab("y", EACH), Slab("x", EACH)),
            Send("b", Slab("y", EACH)),
            End(),
            Halt(),
        ),
        nodes=("in", "", "in", "conv", "conv", "", ""),
    )  # fmt: skip
    receive = Recv(Slab("x", RowExpr()), "b", RowExpr(a=1, b=1))
    second = Tile(2, "two", "tile", 1, 2, 1, (ring("x"),), code=(Loop(10), receive, End(), Halt()))
    channels = (Channel("a", 0, (1,), 2), Channel("b", 1, (2,), 2))
    return Program(machine or isaac.machine(), (host, first, second), channels, (), (), (), (), {})


def test_counts_by_hand() -> None:
    row = 12.0
    # 12 links in the mesh of chip 0 from (1, 0) to (13, 0); one between chips; 3 from (0, 0) to (2, 1)
    assert program_actions(program()) == {
        "host": {"chip_link_byte": 10 * row, "link_byte": 10 * row},
        "in": {"memory_byte": 10 * row, "bus_byte": 10 * row},
        "conv": {
            "memory_byte": 30 * row,
            "bus_byte": 30 * row,
            "link_byte": 10 * row * (12 + 3),
            "chip_link_byte": 10 * row,
        },
        "two": {"memory_byte": 10 * row, "bus_byte": 10 * row},
    }


def test_energy_is_counts_times_prices() -> None:
    report = program_energy(program())
    prices = {e.action: e.energy_pj * 1e-12 for e in isaac.machine().energies}
    assert report.layers["in"] == pytest.approx({"edram": 120 * prices["memory_byte"], "bus": 120 * prices["bus_byte"]})
    want = sum(times * prices[action] for action, times in report.actions.items())
    assert report.joules == report.joules_with_static == pytest.approx(want)
    assert report.joules == pytest.approx(sum(report.components.values()))
    assert (report.static, report.whole_chips_joules) == ({}, 0.0)
    assert report.actions["bus_byte"] == 600


def test_static_power_adds_what_actions_have_not_drawn() -> None:
    cycles = 12_000  # 10 us of two chips' links at 10.4 W
    report = program_energy(program(), cycles)
    assert report.static["hypertransport"] + report.components["hypertransport"] == pytest.approx(2 * 10.4 * 10e-6)
    assert report.joules == program_energy(program()).joules, "time between images is no part of what is done"
    assert report.joules_with_static == pytest.approx(report.joules + report.static["hypertransport"])
    assert program_energy(program(), 1).static == {"hypertransport": 0.0}


def test_whole_chips_draw_the_power_of_table_1_all_the_time() -> None:
    """ISAAC Table I: 65.8 W a chip; two chips and 10 us here."""
    assert program_energy(program(), 12_000).whole_chips_joules == pytest.approx(2 * 65.8 * 10e-6, rel=2e-3)


def test_an_action_without_a_price_is_an_error() -> None:
    machine = isaac.machine()
    poor = replace(machine, energies=tuple(e for e in machine.energies if e.action != "bus_byte"))
    with pytest.raises(MachineError, match="no energy for 'bus_byte'"):
        program_energy(program(poor))


def test_sums_of_components() -> None:
    machine = isaac.machine()
    assert set(budget(machine, "array")) == {"adc", "dac", "sample-hold", "crossbar"}
    assert budget(machine, "tile")["adc"].power_mw == pytest.approx(192)
    assert budget(machine)["router"].power_mw == pytest.approx(168 / 4 * 42)
    assert total(machine).area_mm2 == pytest.approx(168 * total(machine, "tile").area_mm2 + 22.88)
    with pytest.raises(ValueError, match="use array, tile or chip"):
        budget(machine, "rack")


def test_a_tile_of_one_array_keeps_levels_apart() -> None:
    machine = isaac.machine()
    one = replace(machine, tile=replace(machine.tile, arrays=1))
    assert "edram" not in budget(one, "array")


def test_peak_scales_with_the_interval() -> None:
    machine, flow = isaac.machine(), isaac.flow()
    assert peak(machine, replace(flow, interval=16)).gops == pytest.approx(peak(machine, flow).gops / 2)


def test_peak_of_isaac_by_hand() -> None:
    """128 x 32 weights in each of 96 x 168 crossbars, two operations each, every 8 x 120 cycles of 1.2 GHz."""
    found, chip = peak(isaac.machine(), isaac.flow()), total(isaac.machine())
    operations = 2 * 128 * 32 * 96 * 168 / 800e-9
    assert found.gops == pytest.approx(operations / 1e9)
    assert found.gops_per_watt == pytest.approx(operations / 1e9 / (chip.power_mw / 1000))
    assert found.gops_per_mm2 == pytest.approx(operations / 1e9 / chip.area_mm2)
