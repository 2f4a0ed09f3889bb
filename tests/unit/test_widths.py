"""Bits of every layer for a budget: costs and noise against other ways to them, plans, what cannot be."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import pimc
from pimc.driver import choose
from pimc.frontend import FrontendError, QuantiserOptions, load_model
from pimc.frontend.fidelity import QuantisationWarning
from pimc.frontend.trials import WidthTrials
from pimc.ir.ops import Conv
from pimc.passes.base import PassError
from pimc.report.summary import arrays_of_one_copy
from pimc.widths import WidthChoice, arrays_by_layer, cells_by_layer, choose_widths
from pimc_isa.errors import PimcError
from pimc_models import fashion
from pimc_models.run import run
from tests.unit.cli.run import pimc as command
from tests.unit.frontend.float_models import float_model, random
from tests.unit.frontend.test_epitomes import IMAGES as EPITOME_IMAGES
from tests.unit.frontend.test_epitomes import float_net, node
from tests.unit.frontend.test_quantiser_options import images, two_layers

pytestmark = pytest.mark.filterwarnings(f"ignore::{QuantisationWarning.__module__}.{QuantisationWarning.__name__}")
PAIRS = {"encoder": "differential"}


@cache
def of_fashion() -> WidthTrials:
    return WidthTrials.of(fashion.fp32_path(), {"image": fashion.load_calibration()[:16]})


def chosen(trials: WidthTrials, **how: Any) -> WidthChoice:
    target, steps = choose("isaac", replication="none", **PAIRS)
    return choose_widths(trials, target, steps, **{"images": 8, **how})


def options_of(choice: WidthChoice) -> QuantiserOptions:
    return QuantiserOptions(weight_bits={name: row.bits for row in choice.layers for name in row.layers})


def test_the_plan_costs_what_was_said() -> None:
    """Crossbars of the compiled program; its results are onnxruntime's."""
    choice = chosen(of_fashion(), arrays=45)
    assert choice.cost <= 45
    program = pimc.compile(
        fashion.fp32_path(),
        calibration={"image": fashion.load_calibration()[:16]},
        quantiser=options_of(choice),
        target_options={**PAIRS, "replication": "none"},
    )
    assert arrays_of_one_copy(program.program) == choice.cost
    assert program.verify(images=1).verdict == "PASS"


def test_noise_is_that_of_the_outputs() -> None:
    """Out of two models that were quantised and run apart."""
    given = {"image": fashion.load_calibration()[:16]}
    choice = chosen(of_fashion(), mean_bits=4.0)
    outputs = []
    for options in (QuantiserOptions(), options_of(choice)):
        graph = load_model(fashion.fp32_path(), calibration=given, quantiser=options)
        outputs.append(np.float64(run(onnx.load_from_string(graph.reference or b""), given["image"][:8])))
    usual, made = outputs
    assert choice.measured == pytest.approx(((made - usual) ** 2).sum() / ((usual - usual.mean()) ** 2).sum())
    assert choice.noise == pytest.approx(choice.measured, rel=0.7)
    assert choice.mean_bits <= 4.0


def test_the_choice_is_the_best_of_all() -> None:
    """Against every combination of widths, with noise of layers narrowed alone."""
    trials = WidthTrials.of(two_layers(), {"x": images()})
    cells = cells_by_layer(trials, trials.graph({}))
    assert list(cells.values()) == [4 * 27, 5 * 36]
    usual = trials.outputs({}, 8)[0]
    noise = {
        (name, bits): float(((trials.outputs({name: bits}, 8)[0] - usual) ** 2).sum()) if bits < 8 else 0.0
        for name in cells
        for bits in (8, 5, 3)
    }
    for mean in (3, 4.5, 5.7, 8):
        combinations = product((8, 5, 3), repeat=2)
        fits = [c for c in combinations if np.dot(c, list(cells.values())) <= mean * sum(cells.values())]
        best = min(fits, key=lambda c: sum(noise[name, bits] for name, bits in zip(cells, c, strict=True)))
        again = [chosen(trials, mean_bits=mean, widths=(3, 8, 5)) for _ in range(2)]
        assert [row.bits for row in again[0].layers] == list(best)
        assert again[0] == again[1]


def test_crossbars_by_layer() -> None:
    """All layers, one after another, are the program."""
    trials = of_fashion()
    target, steps = choose("isaac", replication="none", **PAIRS)
    found = [sum(arrays_by_layer(trials, bits, target, steps).values()) for bits in (8, 3)]
    assert found == [69, 29]


def test_layers_of_the_same_weights_go_together() -> None:
    nodes = [node("Conv", "x w", "a", "one", pads=[1] * 4), node("Conv", "a w", "y", "two", pads=[1] * 4)]
    model = float_model(nodes, {"w": random(3, 3, 3, 3, seed=1)}, ("n", 3, 8, 8))
    choice = chosen(WidthTrials.of(model, {"x": images()}), mean_bits=4)
    assert [(row.layers, row.bits, row.cells) for row in choice.layers] == [(("one", "two"), 4, 81)]


def test_cells_of_an_epitome_are_counted_once() -> None:
    trials = WidthTrials.of(float_net(), EPITOME_IMAGES)
    assert list(cells_by_layer(trials, trials.graph({})).values()) == [54 * 12]
    (row,) = chosen(trials, mean_bits=3).layers
    assert (row.bits, row.cost) == (3, 3 * 54 * 12)
    assert next(iter(trials.graph({row.layers[0]: 3}).of(Conv))).epitome is not None


def test_what_cannot_be_is_said() -> None:
    trials = WidthTrials.of(two_layers(), {"x": images()})
    for how, said in (
        ({}, "not both"),
        ({"arrays": 3, "mean_bits": 3}, "not both"),
        ({"arrays": 1}, "too small: the least is 2\ngive at least that"),
        ({"mean_bits": 4, "widths": (9,)}, "weights of 9 bits cannot be tried"),
        ({"mean_bits": 4, "widths": ()}, "weights of none bits"),
    ):
        with pytest.raises(PimcError, match=said):
            chosen(trials, **how)
    with pytest.raises(PassError, match="target raella has no flows for weights of 3 bits"):
        choose_widths(trials, *choose("raella"), arrays=9)
    with pytest.raises(FrontendError, match="Leave weight_bits out"):
        WidthTrials.of(two_layers(), {"x": images()}, quantiser=QuantiserOptions(weight_bits=3))
    with pytest.raises(FrontendError, match="quantised already"):
        WidthTrials.of(fashion.int8_path(), None)


def test_the_command(tmp_path: Path) -> None:
    onnx.save(two_layers(), tmp_path / "net.onnx")
    np.savez(tmp_path / "x.npz", x=images())
    given = [str(tmp_path / "net.onnx"), "--calibration", str(tmp_path / "x.npz"), "-q"]
    plan = tmp_path / "plan.toml"
    done = command("widths", *given, "--mean-bits", "4", "-o", str(plan), "--json")
    assert (done.code, done.json["plan"], len(done.json["layers"])) == (0, str(plan), 2)
    assert command("widths", *given, "--mean-bits", "4").out == plan.read_text()
    shown = command("widths", *given, "--mean-bits", "4", "-o", str(plan)).out
    assert "bits on average" in shown
    made = command("compile", *given, "--plan", str(plan), "-o", str(tmp_path / "p.pim"), "--json")
    assert sorted(made.json["weight_bits"].values()) == sorted(row["bits"] for row in done.json["layers"])
    assert command("widths", *given, "--mean-bits", "4", "--widths", "3,x").code == 2
    assert json.loads(json.dumps(done.json["noise_measured"])) > 0
