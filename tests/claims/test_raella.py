"""RAELLA's comparison with an 8-bit ISAAC: the recipe of its bars, conversions of programs, a fresh page.

Claims: 28 bars of the energy figure (measured on it, +-0.004 mJ); 0.271, 0.095, 0.071 and 0.0315 conversions for each
multiply-accumulate of ResNet-18, by ceil(length / rows) row blocks, recorded slices and recorded shares.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pimc
from pimc_isa.energy import program_counts
from pimc_models import fashion

ROOT = Path(__file__).parents[2]
MODULES = ("data", "shapes", "recipe", "programs", "area", "energy", "assumptions", "page", "claims")
CLAIMED = {"isaac": 0.271, "center_offset": 0.095, "center_offset_aws": 0.071, "raella": 0.0315}
DATA = json.loads((ROOT / "docs" / "claims" / "raella.json").read_text(encoding="utf-8"))
FOUND = DATA["programs"]


@pytest.fixture(scope="module")
def raella() -> Iterator[SimpleNamespace]:
    """The scripts that make the page."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield SimpleNamespace(**{name: importlib.import_module(f"raella_{name}") for name in MODULES})
    sys.path.remove(str(ROOT / "benchmarks"))


def test_the_recipe_gives_the_28_bars(raella: SimpleNamespace) -> None:
    """Within 2 %, 1 % on average, and never above: the grid of the drawing aside."""
    off = [raella.recipe.adc_mj(*key) / bar["adc_mj"] - 1 for key, bar in raella.data.bars().items()]
    assert len(off) == 28
    assert max(map(abs, off)) < 0.02
    assert sum(map(abs, off)) / len(off) < 0.01


def test_the_recipe_gives_the_counts_of_the_reference(raella: SimpleNamespace) -> None:
    """Millions of conversions of ResNet-18: 546.0, 178.3, 132.5, 59.0."""
    layers = raella.data.layers("resnet18")
    found = [sum(raella.recipe.conversions(layer, d) for layer in layers) / 1e6 for d in raella.data.DESIGNS]
    assert found == pytest.approx([546.0, 178.3, 132.5, 59.0], abs=0.05)


def test_a_wrong_rule_does_not_give_the_bars(raella: SimpleNamespace) -> None:
    """Whole row blocks instead of equal parts, or no share of conversions, miss them."""
    bar = raella.data.bars()["resnet18", "isaac"]
    layers = raella.data.layers("resnet18")
    whole = sum(layer.outputs * -(-layer.length // 128) * 32 for layer in layers) * bar["batch"] * 1.67e-9
    assert abs(whole / bar["adc_mj"] - 1) > 0.05
    never = [replace(layer, s=3 / 8) for layer in layers]
    least = sum(raella.recipe.conversions(layer, "raella") for layer in never) * bar["batch"] * 1.42e-9
    assert abs(least / raella.data.bars()["resnet18", "raella"]["adc_mj"] - 1) > 0.05


def test_the_graphs_have_the_artifacts_shapes(raella: SimpleNamespace) -> None:
    """All layers of five networks; GoogLeNet's table has rounded widths that no network has."""
    for network in raella.shapes.CNNS:
        graph, known = raella.shapes.graph_of(network), raella.shapes.layers_of(network)
        assert len(known) == len(raella.data.layers(network))
        differ = {
            name
            for name, each in known.items()
            if raella.shapes.shape_of(graph, graph[name]) != (each.C, each.R, each.S, each.M, each.P, each.Q, each.G)
        }
        assert len(differ) == (9 if network == "googlenet" else 0)
        assert all(name.startswith(("inception4a", "inception4e")) for name in differ)


def test_the_page_is_what_the_counts_and_the_machine_files_give(raella: SimpleNamespace) -> None:
    page = (ROOT / "docs" / "claims" / "raella.md").read_text(encoding="utf-8")
    assert raella.page.page(DATA) == page, "run make claims"
    assert list(FOUND) == list(raella.shapes.CNNS)
    assert all(list(designs) == list(raella.data.DESIGNS) for designs in FOUND.values())


@pytest.mark.parametrize("design", CLAIMED)
@pytest.mark.parametrize("network", FOUND)
def test_conversions_are_those_of_whole_row_blocks(raella: SimpleNamespace, network: str, design: str) -> None:
    """In closed form from the table's shapes; GoogLeNet's differ in no number of row blocks of 128 or 512 but 4e's."""
    rows, graph = raella.recipe.ROWS[design], raella.shapes.graph_of(network)
    found = FOUND[network][design]["bounds"]
    for name, layer in raella.shapes.layers_of(network).items():
        depth, height, width, outputs, *positions, groups = raella.shapes.shape_of(graph, graph[name])
        slices = layer.slices if raella.programs.CHIPS[design].adapts else 4
        steps = 11 if design == "raella" else 8
        sums = math.prod(positions) * outputs * groups * -(-depth * height * width // rows)
        assert found[name]["adc_conversion"] == sums * slices * steps


@pytest.mark.parametrize("design", CLAIMED)
def test_resnet18_has_the_conversions_of_the_reference(raella: SimpleNamespace, design: str) -> None:
    actions = raella.energy.actions_of("resnet18", design, FOUND["resnet18"][design])
    macs = sum(layer.macs for layer in raella.data.layers("resnet18"))
    assert actions["adc_conversion"] / macs == pytest.approx(CLAIMED[design], rel=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("design", CLAIMED)
def test_the_file_has_the_counts_of_programs(raella: SimpleNamespace, design: str) -> None:
    """ResNet-18 compiled again, its slices forced by a plan."""
    program = raella.programs.compiled("resnet18", design, chips=1)
    by_layer, others = raella.programs.bounds(program, "resnet18")
    assert by_layer == FOUND["resnet18"][design]["bounds"]
    assert others == pytest.approx(FOUND["resnet18"][design]["others"])
    names = {flow.name for flow in program.flows}
    layers = raella.shapes.layers_of("resnet18").values()
    chip = raella.programs.CHIPS[design]
    wanted = {raella.programs.flow_of(chip, layer) for layer in layers} if chip.target == "raella" else {"isaac8x2"}
    assert names == wanted


@pytest.mark.parametrize(("target", "speculates"), [("isaac-8b", False), ("raella", False), ("raella", True)])
def test_statistics_of_a_run_give_its_counts(raella: SimpleNamespace, target: str, speculates: bool) -> None:
    """A network that is trained: what a run counts, put in as recorded statistics, comes out again.

    Conversions and pulses exactly. Cells in row blocks of unequal inputs, and additions where the slices' flags are not
    equally frequent, nearly.
    """
    options: dict[str, Any] = {"target_options": {"speculation": "on" if speculates else "off", "signed": "off"}}
    passes = "-choose-slices" if target == "raella" else ""
    program = pimc.compile(fashion.int8_path(), target, passes=passes, **(options if target == "raella" else {}))
    run = program.run(fashion.load_test()[0][:4]).counts.of(1).layers
    bounds = program_counts(program.program).layers
    chip = raella.programs.Chip(target, adapts=True, speculates=speculates)
    layers = [name for name, actions in bounds.items() if "adc_conversion" in actions]
    assert layers
    for name in layers:
        found = raella.programs.recorded(bounds[name], statistics(raella, run[name], bounds[name], chip), chip)
        assert found["adc_conversion"] == pytest.approx(run[name]["adc_conversion"])
        assert found["dac_pulse"] == pytest.approx(run[name]["dac_pulse"])
        assert found["cell_charge"] == pytest.approx(run[name]["cell_charge"], rel=0.1)
        for action in ("shift_add", "output_register_byte"):
            assert found[action] == pytest.approx(run[name][action], rel=0.1)


def statistics(raella: SimpleNamespace, run: Mapping[str, float], bound: Mapping[str, float], chip: Any) -> Any:
    """A layer of the table with the averages of a run."""
    steps, pulses = (11, 29) if chip.speculates else (8, 8)
    sent = run["dac_pulse"] / bound["dac_pulse"] * pulses / 8
    level = run["cell_charge"] / run["cell_read"]
    layer = raella.data.layers("resnet18")[0]
    s = run["adc_conversion"] / bound["adc_conversion"] * steps / 8
    return replace(
        layer, s=s, pulses_spec=sent, pulses_nospec=sent, isaac_pulses=sent, cell=level / 15, isaac_cell=level / 3
    )


def test_speculation_needs_no_additions_more_than_it_converts(raella: SimpleNamespace) -> None:
    """No flag: 3 conversions and additions; all flagged: 11 conversions, 8 additions, as flagged codes do not count."""
    chip, layer = raella.programs.CHIPS["raella"], raella.data.layers("resnet18")[0]
    codes, corrections, register = 11e6, 1e5, 66e6
    bound = dict(zip(raella.programs.DECIDED, (codes, codes + corrections, register, 29e3, 29e5), strict=True))
    for flagged, made, added in ((0, 3, 3), (1, 11, 8), (0.25, 5, 4.25)):
        found = raella.programs.recorded(bound, replace(layer, s=(3 + 8 * flagged) / 8), chip)
        assert found["adc_conversion"] == pytest.approx(made * 1e6)
        assert found["shift_add"] == pytest.approx(added * 1e6 + corrections)
        assert found["output_register_byte"] == pytest.approx(added * 6e6)


def test_empty_cells_hold_no_level(raella: SimpleNamespace) -> None:
    """A depthwise layer on shared crossbars: its weights' charge in closed form, off currents of all cells between."""
    layer = next(layer for layer in raella.data.layers("mobilenetv2") if layer.G > 1)
    name = next(name for name, each in raella.shapes.layers_of("mobilenetv2").items() if each == layer)
    for design, columns in (("isaac", 4), ("raella", 2 * layer.slices)):
        bound = FOUND["mobilenetv2"][design]["bounds"][name]
        chip = raella.programs.CHIPS[design]
        pulses = 8 * (layer.isaac_pulses if design == "isaac" else layer.pulses_spec)
        level = 3 * layer.isaac_cell if design == "isaac" else 15 * layer.cell
        all_cells = raella.programs.recorded(bound, layer, chip)
        own_cells = raella.programs.recorded(bound, layer, chip, empty_cells_conduct=False)
        assert own_cells["cell_read"] == pytest.approx(layer.macs * columns * pulses)
        assert own_cells["cell_charge"] == all_cells["cell_charge"] == pytest.approx(own_cells["cell_read"] * level)
        assert all_cells["cell_read"] > 5 * own_cells["cell_read"]


@pytest.mark.parametrize("network", FOUND)
def test_conversions_cost_what_the_figure_says(raella: SimpleNamespace, network: str) -> None:
    """By the artifact's cuts: the figure's part has the additions in it, too, and its converters' library is ours."""
    for design in raella.data.DESIGNS:
        bar, layers = raella.data.bars()[network, design], raella.data.layers(network)
        actions = raella.energy.actions_of(network, design, FOUND[network][design])
        cut = sum(raella.recipe.conversions(layer, design) for layer in layers)
        spent = raella.energy.parts(actions, raella.energy.prices_of(design))["adc"]
        ours = spent * 1e3 * bar["batch"] * cut / actions["adc_conversion"]
        assert ours == pytest.approx(bar["adc_mj"], rel=0.03)


def test_each_assumption_changes_what_it_says(raella: SimpleNamespace) -> None:
    """Every line but the first moves a mean; a free part moves it towards the rest's ratio."""
    base, *others = raella.assumptions.ASSUMPTIONS
    before = [raella.assumptions.saved(FOUND, design, base) for design in ("center_offset_aws", "raella")]
    for how in others:
        after = [raella.assumptions.saved(FOUND, design, how) for design in ("center_offset_aws", "raella")]
        assert after != before, how.text


def test_a_bound_by_area_is_less_where_copies_are_shifted(raella: SimpleNamespace) -> None:
    for network, designs in FOUND.items():
        for found in designs.values():
            assert found["bound_cycles"]["shifted"] <= found["bound_cycles"]["apart"] < found["planned_cycles"]
        again = raella.area.bound_cycles(network, "raella", shifted=False)
        assert again == pytest.approx(FOUND[network]["raella"]["bound_cycles"]["apart"])


def test_a_layer_on_crossbars_of_its_own_in_closed_form(raella: SimpleNamespace) -> None:
    """ResNet-18's classifier on isaac-8b: 512 rows are 4 row blocks, 1,024 outputs of 4 columns 32 crossbars each."""
    graph = raella.shapes.graph_of("resnet18")
    flow, array = pimc_flow("isaac-8b")
    assert raella.area._crossbars(graph["fc"], 512, flow, array, 1) == 4 * 32
    stem = graph["conv1"]
    assert raella.area._crossbars(stem, 3, flow, array, 1) == 2 * 2
    assert raella.area._crossbars(stem, 3, flow, array, 2) == -(-3 * 7 * 9 // 128) * 4


def pimc_flow(name: str) -> tuple[Any, Any]:
    target, _ = pimc.driver.choose(name)
    return target.flow[target.conv_flow], target.machine.array
