"""Neural-PIM's comparison (sections 6 and 7): a fresh page, counts of real programs, ratios near the paper's.

Claims: 5.36 times the energy efficiency of an ISAAC-style chip and 1.73 times that of a CASCADE-style one (means of
nine networks, accounting not stated). Tolerance: the array core's ratio for dense layers within 4.6 to 5.9, which is
what the parts give by hand (7- or 8-bit converters, word lines in use only).
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pimc_models import measure as sizes
from pimc_models import zoo

ROOT = Path(__file__).parents[2]
FOUND = json.loads((ROOT / "docs" / "claims" / "neural-pim.json").read_text(encoding="utf-8"))
DATA = FOUND["programs"]
DENSE = ("vgg16", "vgg19", "resnet50", "resnet101", "googlenet")


@pytest.fixture(scope="module")
def claims() -> Iterator[ModuleType]:
    """The script that makes the page."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("claims")
    sys.path.remove(str(ROOT / "benchmarks"))


def test_the_page_is_what_the_counts_and_the_machine_files_give(claims: ModuleType) -> None:
    page = (ROOT / "docs" / "claims" / "neural-pim.md").read_text(encoding="utf-8")
    assert claims.claims_page.page(FOUND) == page, "run make claims"


def test_every_network_and_chip_is_there(claims: ModuleType) -> None:
    assert list(DATA) == list(FOUND["plans"]) == list(claims.NETWORKS)
    for network, chips in DATA.items():
        assert set(chips) == set(claims.CHIPS if network in claims.VARIED else claims.MAIN)


@pytest.mark.parametrize("network", DATA)
def test_conversions_per_output_are_64_to_5_to_1(network: str) -> None:
    """Sections 3.2 and 7: 64 conversions for each side of a weight, 5 behind summing amplifiers, 1."""
    count = {chip: found["actions"]["adc_conversion"] for chip, found in DATA[network].items()}
    assert count["isaac-style"] == 2 * 64 * count["neural-pim"]
    assert count["cascade"] == pytest.approx(5 * count["neural-pim"], rel=0.001)


@pytest.mark.parametrize("network", [name for name in DENSE if not name.startswith("vgg")])
def test_word_lines_driven_are_the_inputs_of_all_dot_products(network: str) -> None:
    """Two slices of 4 bits on each word line, and 8 outputs share it; the last columns of a layer may be empty."""
    driven = DATA[network]["neural-pim"]["actions"]["dac_drive"]
    assert driven == pytest.approx(2 * sizes.macs(zoo.build(network)) / 8, rel=0.01)


@pytest.mark.parametrize("network", DENSE)
def test_energy_of_the_array_core(network: str, claims: ModuleType) -> None:
    energy = importlib.import_module("claims_energy")
    joules = {
        chip: energy.energy(DATA[network][chip], energy.price_of(chip), energy.machine_of(chip), "core")
        for chip in claims.MAIN
    }
    assert 4.6 < joules["isaac-style"] / joules["neural-pim"] < 5.9
    assert 1.5 < joules["cascade"] / joules["neural-pim"] < 2.0


@pytest.mark.parametrize("network", DATA)
def test_equal_area(network: str) -> None:
    areas = {found["area_mm2"] for chip, found in DATA[network].items() if "twice" not in chip}
    assert len(areas) == 1
    assert areas.pop() % 63.5 == 0
    for found in DATA[network].values():
        assert found["tiles"] <= found["tiles_allowed"]


@pytest.mark.parametrize("network", DATA)
def test_the_mesh_never_makes_a_program_faster_than_its_tiles(network: str) -> None:
    for chip, found in DATA[network].items():
        assert found["interval_cycles"] >= 0.5 * FOUND["plans"][network][chip]


def test_throughput_of_tiles_alone_is_near_windows_and_areas(claims: ModuleType) -> None:
    """Windows of 8 and 3 steps on equal areas: 2.74 (ISAAC-style, 0.2330 mm2 a tile); copies are whole."""
    geometric = importlib.import_module("claims_energy").geometric
    plans = FOUND["plans"].values()
    assert geometric(p["isaac-style"] / p["neural-pim"] for p in plans) == pytest.approx(2.74, rel=0.3)
    assert all(p["isaac-style, window 9"] * 8 == p["isaac-style"] * 9 for p in plans)


#: Actions of the array core and of the rest of the chip but its links, named here anew.
CORE = ("cell_read", "adc_conversion", "dac_drive", "shift_add", "fold", "sample_hold", "input_count")


def _prices(chip: str, **changed: float) -> dict[str, float]:
    """Prices in pJ out of a chip's machine file."""
    path = ROOT / "backends" / "pimc_backends" / chip.replace("-", "_") / "machine.toml"
    listed = tomllib.loads(path.read_text(encoding="utf-8"))["energies"]
    return {energy["action"]: energy["energy_pj"] for energy in listed} | changed


def _picojoules(counts: dict[str, float], prices: dict[str, float], core: bool) -> float:
    actions = CORE if core else [action for action in counts if action != "chip_link_byte"]
    return sum(counts.get(action, 0) * prices[action] for action in actions if action in counts)


def _ratio(chips: dict[str, dict[str, dict[str, float]]], conversions: int, bits: int, core: bool) -> float:
    """Energy of isaac-style over neural-pim's; the program does 128 conversions of a dot product."""
    counts = dict(chips["isaac-style"]["actions"])
    for action in ("adc_conversion", "shift_add"):
        counts[action] *= conversions / 128
    prices = _prices("isaac-style", **({"adc_conversion": 1.667} if bits == 8 else {}))
    mine = _picojoules(chips["neural-pim"]["actions"], _prices("neural-pim"), core)
    return _picojoules(counts, prices, core) / mine


def _rows(first: str) -> list[list[str]]:
    """Cells of the page's rows that begin with a text."""
    page = (ROOT / "docs" / "claims" / "neural-pim.md").read_text(encoding="utf-8")
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith(first)]


@pytest.mark.parametrize("conversions", [64, 128])
@pytest.mark.parametrize("bits", [7, 8])
def test_the_means_of_both_readings_of_the_conversions(conversions: int, bits: int) -> None:
    """Equation 5's 64 and our programs' 128, of 7 and 8 bits: core and chip, from the counts and machine files."""
    (row,) = _rows(f"| {conversions} conversions, {bits} bits |")
    for cell, core in zip(row[2:4], (True, False), strict=True):
        found = [_ratio(chips, conversions, bits, core) for chips in DATA.values()]
        assert float(cell) == pytest.approx(math.prod(found) ** (1 / len(found)), abs=0.0051)


@pytest.mark.parametrize("network", DATA)
def test_the_columns_of_both_readings_of_the_conversions(network: str) -> None:
    energies, _, counts = (row for row in _rows(f"| {network} |"))
    found = [_ratio(DATA[network], conversions, 7, core) for conversions in (64, 128) for core in (True, False)]
    assert [float(cell) for cell in energies[5:9]] == pytest.approx(found, abs=0.0051)
    columns = DATA[network]["isaac-style"]["actions"]["adc_conversion"]
    assert [int(cell.replace(",", "")) for cell in counts[5:7]] == [columns / 2, columns]


@pytest.mark.slow
def test_the_counts_are_those_of_programs(claims: ModuleType) -> None:
    task = ("mobilenet_v2", "neural-pim", claims.chips_needed("mobilenet_v2"))
    assert claims.plan_cycles(task) == FOUND["plans"]["mobilenet_v2"]["neural-pim"]
    found = json.loads(json.dumps(claims.measure(task)))
    assert found == DATA["mobilenet_v2"]["neural-pim"], "run python benchmarks/claims.py --measure"
