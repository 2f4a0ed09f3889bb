"""`pimc explore`: the paper's best point, rules of scaling, the same result wherever it runs, bad input."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pimc.explore import explore
from pimc_models import fashion
from tests.unit.cli.run import pimc
from tests.unit.cli.test_errors import refused

PAPER_GRID = ("N=32,64,128", "D=1,2,4", "A=1,2,4", "S=64,128")


def explored(*args: object) -> dict[str, Any]:
    done = pimc("explore", "--json", "-q", *args)
    assert done.code == 0, done
    found: dict[str, Any] = done.json
    return found


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {point["name"]: point for point in found["points"]}


def test_the_papers_grid_has_the_papers_best_point() -> None:
    """Section 7.1: N128-D4-A4-S64 with 1904.0 GOPS/s/mm2."""
    found = explored("--target", "neural-pim", "--peak-only", "--grid", *PAPER_GRID)
    assert len(found["points"]) == 3 * 3 * 3 * 2
    assert found["best"] == found["published"] == "N128-D4-A4-S64"
    assert by_name(found)["N128-D4-A4-S64"]["peak"]["gops_per_mm2"] == pytest.approx(1904.0, rel=0.02)


def test_more_arrays_would_be_better_if_tile_logic_cost_nothing_more() -> None:
    found = explored("--peak-only", "--grid", *PAPER_GRID, "M=64,96,128")
    assert found["best"] == "N128-D4-A4-S128-M128"
    under = {(b["assumption"], b["option"]): b["best"] for b in found["best_under"]}
    assert under["logic", "io"] == "N128-D4-A4-S64-M64"
    said = pimc("explore", "--peak-only", "-q", "--grid", *PAPER_GRID, "M=64,96,128").out
    assert "The published point N128-D4-A4-S64-M64 has 1,9" in said
    assert "With logic=io" in said
    io = explored("--peak-only", "--assume", "logic=io", "--grid", *PAPER_GRID, "M=64,96,128")
    assert io["best"] == "N128-D4-A4-S64-M64"


def test_a_point_by_hand() -> None:
    """N=64, D=1, A=2, S=64: 4 outputs an array, 8 reads, 4 NNS+A operations a read, 256 results over 2 NNADCs."""
    peak = explored("--peak-only", "--grid", "N=64", "D=1", "A=2")["points"][0]["peak"]
    weights = 64 * 64 * 4
    assert peak["weights_per_tile"] == weights
    assert peak["interval_steps"] == 8 + 1
    parts = 2 * 4.3e-3 / 4 + 64 * 64 * 0.00017 / 1024 + 3.2e-4 / 2 + 4.8e-3 + 1.6e-3 / 4 + 2.4e-2 / 2
    published = 63.5 / 280 - (4.3e-3 + 4.4e-2 + 3.2e-4 + 4.8e-3 + 1.6e-3 + 2.4e-2)
    assert peak["tile_mm2"] == pytest.approx(parts + published, rel=1e-3)
    assert peak["gops_per_mm2"] == pytest.approx(2 * weights / 900 / peak["tile_mm2"])


def test_dac_figures_lie_between_the_two_that_are_published() -> None:
    tiles = [explored("--peak-only", "--grid", f"D={bits}")["points"][0]["peak"]["tile_mm2"] for bits in (1, 2, 4)]
    area = [tile - tiles[0] for tile in tiles]
    one, four = 8192 * 0.00017 / 1024, 4.4e-2
    assert area[2] == pytest.approx(four - one, rel=1e-6)
    assert area[1] == pytest.approx(one * math.pow(four / one, 1 / 3) - one, rel=1e-6)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None, host="127.0.0.1"
    ) as local:
        yield f"tcp://127.0.0.1:{local.scheduler.port}"


SMALL = ("--model", fashion.int8_path(), "--grid", "N=64,128", "D=4", "A=4,2")


@pytest.mark.filterwarnings("ignore")  # Dask's own, at the end of a cluster
def test_the_result_does_not_depend_on_where_it_was_made(cluster: str) -> None:
    here = explored(*SMALL, "--jobs", 1)
    assert explored(*SMALL, "--scheduler", cluster) == here
    assert {p["network"]["error"] for p in here["points"]} == {""}
    assert all(p["network"]["images_per_second"] > 0 for p in here["points"])


def test_the_result_does_not_depend_on_processes_or_the_order_of_points() -> None:
    here = explored(*SMALL, "--jobs", 1)
    assert explored(*SMALL, "--jobs", 2) == here
    turned = explored("--model", fashion.int8_path(), "--grid", "A=2,4", "N=128,64", "D=4")
    assert by_name(turned) == by_name(here)


def test_all_points_have_the_same_area_and_those_that_do_not_fit_say_so() -> None:
    few = explored("--model", fashion.int8_path(), "--area", 4, "--grid", "N=32,128", "--jobs", 1)
    assert few["area_mm2"] == 4
    small, large = few["points"]
    assert "tiles" in small["network"]["error"]
    assert large["network"]["error"] == ""
    assert large["network"]["tiles"] <= 4 / large["peak"]["tile_mm2"]


def test_the_figure_has_a_bar_for_every_point(tmp_path: Path) -> None:
    out = tmp_path / "space.svg"
    assert pimc("explore", "--peak-only", "-q", "--grid", "N=64,128", "A=1,2,4", "-o", out).code == 0
    tags = [element.tag.rpartition("}")[2] for element in ET.fromstring(out.read_text()).iter()]
    assert tags.count("rect") == 1 + 6
    assert "N128-D4-A1-S64" in out.read_text()


def test_points_that_cannot_be_built_are_named() -> None:
    found = explored("--peak-only", "--grid", "N=8,128")
    assert "does not fit" in by_name(found)["N8-D4-A4-S64"]["peak"]["error"]
    assert found["best"] == "N128-D4-A4-S64"
    refused(pimc("explore", "--peak-only", "-q", "--grid", "N=8"), "no point of the grid can be built")


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--target", "isac"], ("no target 'isac'",)),
        (["--target", "isaac"], ("no design space", "neural-pim")),
        (["--grid", "N"], ("PARAMETER=VALUE", "N, D, A, S, M")),
        (["--grid", "X=1"], ("'X=1'", "N, D, A, S, M")),
        (["--grid", "N=64,big"], ("whole numbers",)),
        (["--grid", "N=0"], ("at least 1",)),
        (["--grid", "N=64", "N=128"], ("N is given twice",)),
        (["--assume", "logic=none"], ("logic=none", "logic=io")),
        (["--assume", "logic"], ("--assume",)),
        (["--jobs", "0"], ("--jobs",)),
        (["--model", "no.onnx"], ("no.onnx",)),
    ],
)
def test_bad_input(args: list[str], parts: tuple[str, ...]) -> None:
    peak = [] if "--model" in args else ["--peak-only"]
    refused(pimc("explore", "-q", *peak, *args), *parts)


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("pimc.explore.pool.PATIENCE_SECONDS", 1)
    refused(pimc("explore", "-q", *SMALL, "--scheduler", "tcp://127.0.0.1:9"), "no Dask scheduler answers")
    refused(pimc("explore", "-q", *SMALL, "--scheduler", "nowhere"), "no Dask scheduler answers")


def test_from_python() -> None:
    found = explore("neural-pim", ["A=2,4"])
    assert found.name(found.best.point) == "N128-D4-A4-S64"
    assert json.loads(json.dumps(found.to_dict()))["network"] == ""
