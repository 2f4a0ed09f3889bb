"""choose-slices: what it leaves to a plan file, and what it needs to search."""

from __future__ import annotations

from pathlib import Path

import pytest

from pimc import driver
from pimc.frontend import load_model
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import PassError, options_of
from pimc.passes.choose_ranges import needs_calibration
from pimc.passes.choose_slices import ChooseSlices
from pimc.passes.manager import run_passes
from pimc.passes.plan_file import plan_text, read_plan
from pimc.passes.spec import parse_pipeline, print_pipeline
from pimc_models import fashion

LAST = "raella-1-1-1-1-1-1-1-1"


def flows(graph: Graph) -> dict[str, str | None]:
    return {op.name: op.flow for op in graph.of(Conv)}


def lowered(plan: Path | None = None, budget: float = 1e9) -> Graph:
    """After choose-slices; with a boundless budget every layer takes the fewest slices."""
    target, steps = driver.choose("raella", f"choose-slices{{budget={budget}}}")
    return driver.lower(
        fashion.int8_path(),
        target,
        steps,
        calibration=fashion.load_calibration()[:2],
        plan=plan,
        hooks=driver.Hooks(stop_after="choose-slices"),
    )


@pytest.mark.parametrize("forced", ["raella-4-2-2", "raella-3-3-2", "raella-4-2-2-bits"])
@pytest.mark.parametrize("step", ["choose-flows", "choose-slices"])
def test_a_forced_flow_stays(forced: str, step: str, tmp_path: Path) -> None:
    """The target's own choice may be forced, too; the other layers are searched as without a plan."""
    free = flows(lowered())
    first, *others = free
    assert free[first] == "raella-4-4"
    plan = tmp_path / "plan.toml"
    plan.write_text(f'[{step}."{first}"]\nflow = "{forced}"\n', encoding="utf-8")
    found = flows(lowered(plan))
    assert found[first] == forced
    assert {name: found[name] for name in others} == {name: free[name] for name in others}


def test_the_last_layer_takes_most_slices_unless_forced(tmp_path: Path) -> None:
    last = list(flows(lowered()))[-1]
    assert flows(lowered())[last] == LAST
    plan = tmp_path / "plan.toml"
    plan.write_text(f'[choose-flows."{last}"]\nflow = "raella-4-4"\n', encoding="utf-8")
    assert flows(lowered(plan))[last] == "raella-4-4"


def test_a_plan_of_all_layers_needs_no_images(tmp_path: Path) -> None:
    """And without one, images are asked for."""
    target, steps = driver.choose("raella")
    graph = lowered()
    plan = tmp_path / "plan.toml"
    plan.write_text(plan_text(graph, steps), encoding="utf-8")
    quantised = load_model(fashion.int8_path())
    assert not quantised.calibration
    after = run_passes(quantised, steps, target, stop_after="choose-slices", plan=read_plan(plan))
    assert flows(after) == flows(graph)
    with pytest.raises(PassError, match=r"chooses slices of weights from data, and there is none for .*\n.*plan file"):
        run_passes(quantised, steps, target)
    assert needs_calibration(target, steps)
    assert not needs_calibration(target, read_plan(plan).passes(steps))
    for name in ("choose-slices", "choose-inputs"):
        steps = tuple(step for step in steps if step.name != name)
        assert needs_calibration(target, steps) == (name == "choose-slices")


def test_what_a_plan_forces_is_no_option() -> None:
    assert [each.name for each in options_of(ChooseSlices)] == ["budget", "inputs", "noise"]
    step = ChooseSlices(0.5).told({"choose-flows": {"a": {"flow": "raella-4-4"}}})
    assert step.forced == {"a"}
    assert print_pipeline([step]) == "choose-slices{budget=0.5}"
    with pytest.raises(PassError, match="no option 'forced'; options are budget"):
        parse_pipeline("choose-slices{forced=a}", {"choose-slices": ChooseSlices})


def counts(graph: Graph) -> list[int]:
    """Slices of every layer's weights but the last's."""
    return [len(str(flow).split("-")) - 1 for flow in flows(graph).values()][:-1]


def test_gaussian_inputs_need_no_images() -> None:
    """Data-free, most layers get as many slices as with images (over 90 % in the paper, section 4.2)."""
    target, steps = driver.choose("raella", "choose-slices{inputs=gaussian};choose-inputs{inputs=gaussian}")
    assert not needs_calibration(target, steps)
    until = driver.Hooks(stop_after="choose-slices")
    free = counts(driver.lower(fashion.int8_path(), target, steps, hooks=until))
    assert free == counts(driver.lower(fashion.int8_path(), target, steps, hooks=until))
    seen = counts(lowered(budget=0.09))
    assert sum(a == b for a, b in zip(free, seen, strict=True)) >= len(seen) // 2
    assert max(abs(a - b) for a, b in zip(free, seen, strict=True)) <= 1


def test_noise_takes_more_slices() -> None:
    target, steps = driver.choose("raella", "choose-slices{noise=0.12}")
    until = driver.Hooks(stop_after="choose-slices")
    images = fashion.load_calibration()[:2]
    noisy = counts(driver.lower(fashion.int8_path(), target, steps, calibration=images, hooks=until))
    assert sum(noisy) > sum(counts(lowered(budget=0.09)))


def test_inputs_that_there_are_not() -> None:
    target, steps = driver.choose("raella", "choose-slices{inputs=uniform}")
    with pytest.raises(PassError, match="no inputs 'uniform'\nuse images or gaussian"):
        driver.lower(fashion.int8_path(), target, steps, calibration=fashion.load_calibration()[:2])


@pytest.mark.parametrize(
    "step",
    ["choose-slices{budget=0}", "choose-slices{budget=nan}", "choose-slices{noise=-1}", "choose-inputs{budget=-1}"],
)
def test_numbers_that_cannot_be(step: str) -> None:
    target, steps = driver.choose("raella", step)
    wanted = ("choose-flows", step.split("{")[0])
    with pytest.raises(PassError, match="has budget="):
        run_passes(load_model(fashion.int8_path()), [each for each in steps if each.name in wanted], target)
