"""The design space of Neural-PIM (section 7.1): machine and flow of every point, by rules that name their source.

Parameters (the paper's symbols): N, word and bit lines of an array; D, bits of a DAC; A, NNADCs; S, NNS+As; M,
arrays. A, S and M are of one PE, which is one tile here. A point's area and power are the published point's, scaled
part by part:

* DACs: count N M. Power and area between ISAAC's 1-bit DAC (Table I: 3.9 uW, 1.66e-7 mm2) and Table 2's 4-bit one
  geometrically: a constant factor for each bit, as the paper says of power ("weakly exponential"). For area this is
  ours.
* NNADCs and NNS+As: Table 2's figures each; rates each as published (1.2 GS/s, 80 MHz), shared by the tile's arrays.
* Crossbars: by cells, N squared. Sample-and-holds: N bit lines and 2 for each group of 16 columns (Table 2's 144).
* Input registers: by word lines, N M (ours: the paper lists one register).
* eDRAM and tile logic: as assumption ``logic`` says. Ours: the paper does not list them.
* One step is 100 ns whatever N (ours: shorter lines would settle sooner; converters and NNS+As set the pace anyway).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from types import MappingProxyType

from pimc.analysis.modulo import schedule
from pimc.passes.target import Target, TargetError
from pimc_backends.neural_pim.pipeline import DATAFLOW
from pimc_backends.neural_pim.pipeline import target as published
from pimc_isa.energy import total
from pimc_isa.flow import Flow
from pimc_isa.machine import Component, Machine

__all__ = ["ASSUMPTIONS", "PARAMETERS", "design"]

#: Parameters with the values of the paper's best point, N128-D4-A4-S64 (M64), in the order of its name.
PARAMETERS: Mapping[str, int] = MappingProxyType({"N": 128, "D": 4, "A": 4, "S": 64, "M": 64})

#: Choices the paper leaves open, the default first.
ASSUMPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "pipeline": MappingProxyType(
            {
                "stage": "a position's conversion ends before the next position's reads are added (2 + 1 steps)",
                "overlap": "two sets of held sums: conversion beside the next position's reads",
            }
        ),
        "logic": MappingProxyType(
            {
                "fixed": "eDRAM and tile logic are those of the published tile, whatever its arrays",
                "io": "eDRAM and tile logic grow with the inputs and outputs of the tile's arrays, N M",
            }
        ),
        "reading": MappingProxyType(
            {
                "dac": "Table 2 as DAC 4.4e-2 mm2, NNS+A 4.8e-3 mm2",
                "nnsa": "Table 2 as DAC 4.8e-3 mm2, NNS+A 4.4e-2 mm2",
            }
        ),
        "converters": MappingProxyType(
            {
                "rounded": "4 NNADCs convert 512 results in a step, as the published machine file counts",
                "strict": "4 NNADCs convert 480 results in a step (1.2 GS/s x 100 ns)",
            }
        ),
    }
)

#: Tile area of the published chip in mm2, which every point's chip fills.
CHIP_MM2 = 63.5

#: ISAAC Table I: power in mW and area in mm2 of a 1-bit DAC.
DAC_1_BIT = (0.00390625, 1.66015625e-7)

#: Share of 512 results that 4 NNADCs of 1.2 GS/s convert in 100 ns.
STRICT = 480 / 512


def design(point: Mapping[str, int], assumptions: Mapping[str, str] | None = None) -> Target:
    """Return the target of one point. Raises TargetError or FlowError for points that cannot be built."""
    chosen = {name: next(iter(options)) for name, options in ASSUMPTIONS.items()} | dict(assumptions or {})
    for name, value in chosen.items():
        if value not in ASSUMPTIONS.get(name, {}):
            raise TargetError(f"assumption {name}={value} does not exist; see the design space of neural-pim")
    target = published()
    machine = _machine(target.machine, point, chosen)
    flow = _flow(machine, point["D"])
    return replace(target, machine=machine, flows=(flow,), conv_flow=flow.name, narrow=None)


def _flow(machine: Machine, dac_bits: int) -> Flow:
    return schedule(replace(DATAFLOW, dac_bits=dac_bits), machine, f"npim8d{dac_bits}")


def _machine(base: Machine, point: Mapping[str, int], chosen: Mapping[str, str]) -> Machine:
    n, m = point["N"], point["M"]
    share = {"A": point["A"] / PARAMETERS["A"], "S": point["S"] / PARAMETERS["S"]}
    arrays = m / PARAMETERS["M"]
    rate = 1.0 if chosen["converters"] == "rounded" else STRICT
    array = replace(
        base.array,
        rows=n,
        columns=n,
        dac_bits=point["D"],
        conversions_per_step=base.array.conversions_per_step * rate * share["A"] / arrays,
        folds_per_step=base.array.folds_per_step * share["S"] / arrays,
        held_copies=2 if chosen["pipeline"] == "overlap" else 1,
    )
    tile = replace(base.tile, arrays=m)
    parts = tuple(_component(c, point, chosen) for c in base.components)
    drive = _dac(base, point["D"], chosen)[0] * 100  # mW over one step of 100 ns, in pJ
    scale = {"dac_drive": drive / _price(base, "dac_drive")}
    energies = tuple(replace(e, energy_pj=e.energy_pj * scale.get(e.action, 1.0)) for e in base.energies)
    made = replace(base, array=array, tile=tile, components=parts, energies=energies)
    tiles = max(1, int(CHIP_MM2 / total(made, "tile").area_mm2 + 1e-3))
    columns = max(1, isqrt(tiles * base.chip.mesh_columns // base.chip.mesh_rows))
    return replace(made, chip=replace(base.chip, mesh_columns=columns, mesh_rows=max(1, tiles // columns)))


def _price(base: Machine, action: str) -> float:
    return next(e.energy_pj for e in base.energies if e.action == action)


def _component(c: Component, point: Mapping[str, int], chosen: Mapping[str, str]) -> Component:
    """One part of the published tile at another point."""
    n, m = point["N"] / PARAMETERS["N"], point["M"] / PARAMETERS["M"]
    if c.name == "dac":
        power, area = _between(c.power_mw, _areas(c, chosen), point["D"])
        return replace(c, count=c.count * n, power_mw=power, area_mm2=area)
    if c.name == "nnadc":
        return replace(c, count=point["A"])
    if c.name == "nns+a":
        area = c.area_mm2 * (4.4e-2 / 4.8e-3 if chosen["reading"] == "nnsa" else 1.0)
        return replace(c, per="tile", count=point["S"], area_mm2=area)
    if c.name == "crossbar":
        return replace(c, power_mw=c.power_mw * n**2, area_mm2=c.area_mm2 * n**2)
    if c.name == "sample-hold":
        return replace(c, count=point["N"] + 2 * (point["N"] // 16))
    if c.name == "input-register" or (c.per == "tile" and chosen["logic"] == "io"):
        return replace(c, power_mw=c.power_mw * n * m, area_mm2=c.area_mm2 * n * m)
    return c


def _areas(c: Component, chosen: Mapping[str, str]) -> float:
    return c.area_mm2 * (4.8e-3 / 4.4e-2 if chosen["reading"] == "nnsa" else 1.0)


def _dac(base: Machine, bits: int, chosen: Mapping[str, str]) -> tuple[float, float]:
    """Power in mW and area in mm2 of one DAC."""
    c = next(c for c in base.components if c.name == "dac")
    return _between(c.power_mw, _areas(c, chosen), bits)


def _between(power_4: float, area_4: float, bits: int) -> tuple[float, float]:
    """Geometric interpolation between 1 and 4 bits."""
    part = (bits - 1) / 3
    power_1, area_1 = DAC_1_BIT
    return power_1 * (power_4 / power_1) ** part, area_1 * (area_4 / area_1) ** part
