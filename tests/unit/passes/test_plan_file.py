"""The plan file: what passes decided, given back it forces the same; edited it forces the edit, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pimc
from pimc import driver
from pimc.ir.graph import Graph
from pimc.passes.base import Pass, PassError
from pimc.passes.plan_file import plan_text, read_plan
from pimc.targets import target_names
from pimc_isa import binary
from pimc_isa.errors import PimcError
from pimc_models import fashion

CONV = "residual32/body/conv1/Conv"


def lowered(target: str, plan: Path | None = None, **options: Any) -> tuple[Graph, tuple[Pass, ...], Any]:
    chosen, steps = driver.choose(target, **options)
    calibration = fashion.load_calibration()[:4]
    return driver.lower(fashion.int8_path(), chosen, steps, calibration=calibration, plan=plan), steps, chosen


@pytest.mark.parametrize("target", target_names())
def test_a_plan_given_back_makes_the_same_program(target: str, tmp_path: Path) -> None:
    graph, steps, chosen = lowered(target)
    plan = tmp_path / "plan.toml"
    plan.write_text(plan_text(graph, steps), encoding="utf-8")
    again, _, _ = lowered(target, plan)
    same = (driver.emit(g, chosen).program for g in (graph, again))
    first, second = (binary.to_bytes(p) for p in same)
    assert first == second


def test_a_number_of_a_decision_is_forced_and_the_rest_stays(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(f'[map-weights."{CONV}"]\nmapping = {{copies = 2}}\n', encoding="utf-8")
    graph, _, _ = lowered("isaac")
    forced, _, _ = lowered("isaac", plan)
    before, after = graph[CONV].mapping, forced[CONV].mapping
    assert before is not None
    assert after is not None
    assert (before.copies, after.copies) == (7, 2)
    assert (before.strips, before.parts, before.chain) == (after.strips, after.parts, after.chain)
    program = pimc.compile(fashion.int8_path(), plan=plan)
    assert program.verify(fashion.load_test()[0][:2]).passed


def test_options_of_a_pass_are_forced(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('[choose-ranges]\nforce = "0.25/2"\n', encoding="utf-8")
    graph, steps, _ = lowered("neural-pim", plan)
    assert graph[CONV].scale == (0.25, 2.0)  # type: ignore[attr-defined]
    assert "[choose-ranges." in plan_text(graph, steps)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[polish]\nx = 1\n", "section for pass 'polish'; the passes are choose-flows"),
        ("[place]\nspeed = 1\n", "pass place has no option 'speed'"),
        ('[place."no/such/op"]\nplacement = []\n', "names op 'no/such/op' in .place."),
        (f'[place."{CONV}"]\nmapping = {{copies = 2}}\n', "that pass decides placement"),
        (f'[place."{CONV}"]\nplacement = [{{tyle = 2}}]\n', "has no .tyle."),
        (f'[map-weights."{CONV}"]\nmapping = {{copies = "many"}}\n', "mapping of .*copies"),
        (f'[map-weights."{CONV}"]\nmapping = {{hops = 2}}\n', "has no .hops.; it has strips"),
        (f'[map-weights."{CONV}"]\nmapping = {{strips = [[0, 3]]}}\n', "do not cover"),
        ('[choose-flows."stem/pool/MaxPool"]\nflow = "isaac16"\n', "flow: a q.maxpool has none"),
        ("x = 1\n", "stands outside a pass's section"),
        ("[place\n", "not valid TOML"),
    ],
)
def test_plans_that_cannot_be_are_refused(text: str, message: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(text, encoding="utf-8")
    with pytest.raises(PimcError, match=message):
        lowered("isaac", plan)


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(PassError, match=r"cannot read the plan .*none\.toml"):
        read_plan(tmp_path / "none.toml")
