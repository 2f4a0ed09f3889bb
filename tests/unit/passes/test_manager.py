"""The pass manager: stages, verification between passes, hooks, and pipelines as text."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import Pass, PassError
from pimc.passes.manager import run_passes
from pimc.passes.spec import edited, parse_pipeline, print_pipeline
from pimc.passes.target import Target, TargetError
from pimc.targets import find_target, target_names
from tests.unit.ir.graphs import block


@dataclass(frozen=True)
class Rename(Pass):
    """Name the graph."""

    name = "rename"
    from_stage = "quantised"
    to_stage = "quantised"

    to: str = "renamed"
    times: int | None = None
    sizes: tuple[int, ...] = ()
    loud: bool = False
    factor: float = 1.0

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Change only the name."""
        graph = graph.copy()
        graph.name = self.to
        return graph


@dataclass(frozen=True)
class Break(Pass):
    """Make a convolution read what does not fit."""

    name = "break"
    from_stage = "quantised"
    to_stage = "quantised"

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Change a stride without the type."""
        graph = graph.copy()
        conv = next(iter(graph.of(Conv)))
        graph.update(replace(conv, stride=(2, 2)))
        return graph


@dataclass(frozen=True)
class Late(Pass):
    """A pass of a later stage."""

    name = "late"
    from_stage = "placed"
    to_stage = "scheduled"

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Do nothing."""
        return graph


KNOWN: dict[str, type[Pass]] = {p.name: p for p in (Rename, Break, Late)}


@pytest.fixture
def target() -> Target:
    return find_target("isaac").target()


def test_passes_run_in_order_and_leave_the_input_alone(target: Target) -> None:
    graph = block()
    told: list[str] = []
    timed: list[bool] = []
    result = run_passes(
        graph,
        (Rename(), Rename(to="twice")),
        target,
        progress=told.append,
        on_pass=lambda name, seconds: timed.append(seconds >= 0),
    )
    assert (graph.name, result.name) == ("block", "twice")
    assert told == ["pass 1 of 2: rename", "pass 2 of 2: rename"]
    assert timed == [True, True]


def test_a_pass_that_breaks_the_graph_is_named(target: Target) -> None:
    with pytest.raises(PassError, match=r"pass break left an invalid graph") as caught:
        run_passes(block(), (Rename(), Break()), target)
    assert "%a: has type" in str(caught.value)
    run_passes(block(), (Break(),), target, verify=False)


def test_a_broken_graph_is_not_blamed_on_the_first_pass(target: Target) -> None:
    graph = Break().apply(block(), target)
    with pytest.raises(PassError, match="the front end left an invalid graph"):
        run_passes(graph, (Rename(),), target)


def test_a_pass_at_the_wrong_stage_is_refused(target: Target) -> None:
    with pytest.raises(PassError, match="pass late needs a graph at stage 'placed', this one is at 'quantised'"):
        run_passes(block(), (Late(),), target)


def test_print_after_and_stop_after(target: Target) -> None:
    shown: list[str] = []
    passes = (Rename(to="one"), Break(), Late())
    result = run_passes(
        block(),
        passes,
        target,
        print_after=["rename"],
        stop_after="rename",
        on_print=lambda n, g: shown.append(n + g.name),
    )
    assert shown == ["renameone"]
    assert result.name == "one"
    run_passes(block(), passes[:1], target, print_after=["all"], on_print=lambda n, g: shown.append(n))
    assert shown == ["renameone", "rename"]


@pytest.mark.parametrize("where", ["print_after", "stop_after"])
def test_unknown_names_are_refused_before_anything_runs(where: str, target: Target) -> None:
    value: object = ["nothing"] if where == "print_after" else "nothing"
    with pytest.raises(PassError, match="no pass 'nothing' in this pipeline; its passes are rename, break"):
        run_passes(block(), (Rename(), Break()), target, **{where: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("rename", (Rename(),)),
        ("rename{to=x}", (Rename(to="x"),)),
        ("rename{times=3,sizes=1/2/3};break", (Rename(times=3, sizes=(1, 2, 3)), Break())),
        ("rename{loud=true,factor=0.25}", (Rename(loud=True, factor=0.25),)),
        ("", ()),
    ],
)
def test_specs_parse_and_print(text: str, passes: tuple[Pass, ...]) -> None:
    assert parse_pipeline(text, KNOWN) == passes
    assert print_pipeline(passes) == text


def test_none_and_spaces_are_read() -> None:
    assert parse_pipeline(" rename { times = none , to = x } ; break ", KNOWN) == (Rename(to="x"), Break())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rename{times=x}", "times='x' is not a value"),
        ("rename{speed=1}", "no option 'speed'; options are to, times"),
        ("break{speed=1}", "no option 'speed'; it has none"),
        ("nothing", "no pass 'nothing'"),
        ("rename{to=x", "column 1"),
        ("rename,break", "column 1"),
        ("rename;;break", "column 8"),
        ("rename{loud=yes}", "loud='yes'"),
    ],
)
def test_bad_specs_are_refused(text: str, message: str) -> None:
    with pytest.raises(PassError, match=message):
        parse_pipeline(text, KNOWN)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", (Break(), Rename(), Late())),
        ("rename{to=y}", (Break(), Rename(to="y"), Late())),
        ("-rename", (Break(), Late())),
        ("+late", (Late(), Break(), Rename(), Late())),
        ("rename{to=a;b};+break", (Break(), Rename(to="a;b"), Break(), Late())),
        ("-break;+rename{to=z}", (Rename(to="z"), Rename(), Late())),
        ("=late;rename", (Late(), Rename())),
        ("=", ()),
    ],
)
def test_a_pipeline_is_edited_as_text(text: str, wanted: tuple[Pass, ...]) -> None:
    assert edited((Break(), Rename(), Late()), text, KNOWN) == wanted


def test_edits_of_passes_that_are_not_there_are_refused() -> None:
    with pytest.raises(PassError, match="pass rename is not in this pipeline; its passes are break"):
        edited((Break(),), "rename", KNOWN)
    with pytest.raises(PassError, match="no pass 'nothing'"):
        edited((Break(),), "+nothing", KNOWN)


def test_targets_are_found_by_entry_point() -> None:
    assert "isaac" in target_names()
    with pytest.raises(TargetError, match=r"no target 'crossbar'; installed targets: .*isaac"):
        find_target("crossbar")


def test_target_options_are_checked(target: Target) -> None:
    for change, message in (
        ({"replication": "most"}, "balanced, none, stride2, equal"),
        ({"chips": 0}, "at least one chip"),
        ({"conv_flow": "x"}, "has no flow 'x'"),
    ):
        with pytest.raises(TargetError, match=message):
            replace(target, **change)


def test_every_pass_of_every_target_has_a_name_and_help() -> None:
    for name in target_names():
        stage = "quantised"
        for step in find_target(name).passes():
            assert step.name.replace("-", "").isalpha()
            assert (type(step).__doc__ or "").strip()
            assert step.from_stage == stage
            stage = step.to_stage
        assert stage == "scheduled"
