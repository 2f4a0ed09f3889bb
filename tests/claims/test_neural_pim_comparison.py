"""Neural-PIM's comparison (sections 6 and 7): a fresh page, counts of real programs, ratios near the paper's.

Claims: 5.36 times the energy efficiency of an ISAAC-style chip and 1.73 times that of a CASCADE-style one (means of
nine networks, accounting not stated). Tolerance: the array core's ratio for dense layers within 4.6 to 5.9, which is
what the parts give by hand (7- or 8-bit converters, word lines in use only).
"""

from __future__ import annotations

import importlib
import json
import sys
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


@pytest.mark.slow
def test_the_counts_are_those_of_programs(claims: ModuleType) -> None:
    task = ("mobilenet_v2", "neural-pim", claims.chips_needed("mobilenet_v2"))
    assert claims.plan_cycles(task) == FOUND["plans"]["mobilenet_v2"]["neural-pim"]
    found = json.loads(json.dumps(claims.measure(task)))
    assert found == DATA["mobilenet_v2"]["neural-pim"], "run python benchmarks/claims.py --measure"
