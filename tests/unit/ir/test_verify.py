"""The verifier accepts good graphs and names what is wrong with bad ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pimc.ir.graph import Graph
from pimc.ir.ops import Mapping, Part, Relay, Schedule, TensorType
from pimc.ir.stages import STAGES, stage_of
from pimc.ir.verify import VerifyError, verify
from pimc_isa.operands import View
from tests.unit.ir.graphs import block, decided


@pytest.mark.parametrize("make", [block, decided])
def test_good_graphs_pass(make: Callable[[], Graph]) -> None:
    verify(make())


def test_decisions_belong_to_their_stage() -> None:
    with pytest.raises(VerifyError, match="decided before its stage"):
        verify(decided(), "quantised")
    for stage in list(STAGES)[2:]:
        with pytest.raises(VerifyError, match="is not decided at stage"):
            verify(block(), stage)


def test_each_decision_has_one_stage() -> None:
    fields = [d.field for s in STAGES.values() for d in s.decides]
    assert sorted(fields) == ["cells", "flow", "mapping", "placement", "schedule"]
    for name in STAGES:
        _, made, pending = stage_of(name)
        assert [d.field for d in (*made, *pending)] == fields


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("a", {"type": TensorType("u8", (8, 8, 5))}, "has type"),
    ("a", {"type": TensorType("i32", (8, 8, 4))}, "has type"),
    ("a", {"stride": (2, 2)}, "has type"),
    ("a", {"kernel": (1, 1)}, "against weights of 3x3"),
    ("a", {"groups": 3}, "do not fit 3 input channels"),
    ("a", {"pads": (-7, 0, 0, 0)}, "does not fit a 8x8 input"),
    ("a", {"weights": "m1"}, "@m1 is float32, not int8"),
    ("a", {"weights": "nothing"}, "constant @nothing does not exist"),
    ("a", {"multiplier": "table"}, "@table is uint8, not float32"),
    ("a", {"x_zero": 256}, "x_zero=256 is outside"),
    ("a", {"lo": 10, "hi": 9}, "lo is above hi"),
    ("l", {"table": "head"}, "has shape (4,), not (256,)"),
    ("s", {"a_scale": 0.0}, "a_scale=0.0 is not a positive number"),
    ("s", {"y_scale": float("nan")}, "not a positive number"),
    ("s", {"inputs": ("l", "x_q")}, "do not match"),
    ("s", {"inputs": ("l",)}, "takes two inputs, has 1"),
    ("s", {"inputs": ("l", "v")}, "in a cycle"),
    ("p", {"views": (View("t", "CHW", (3, 8, 8)),)}, "view t: shape"),
    ("p", {"views": (View("t", "NHWC", (4, 8, 8)),)}, "neither CHW nor HWC"),
    ("out", {"feeds": (("g", "v"),)}, "name different values"),
    ("x_q", {"feeds": (("x", "$z"),)}, "$z, which is no input"),
    ("x_q", {"fetches": ()}, "but its result is x_q"),
    ("out", {"fetches": ()}, "output y is made 0 times"),
    ("out", {"fetches": (("y", "$y"), ("z", "$z"))}, "$z, which is no output"),
]


@pytest.mark.parametrize(("name", "change", "message"), CHANGES, ids=[c[2] for c in CHANGES])
def test_a_wrong_field_is_found(name: str, change: dict[str, Any], message: str) -> None:
    graph = block()
    graph.update(replace(graph[name], **change))
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert message in str(caught.value)


def _part(tile: int, cols: tuple[int, int], rows: tuple[int, int] = (0, 27)) -> Part:
    return Part(tile, 0, tile % 100, tile // 100, cols, (0, 4), rows)


BAD_DECISIONS: list[tuple[str, str, Any, str]] = [
    ("a", "mapping", Mapping(((0, 4), (5, 8)), ((0, 4),), ((0, 27),), 1, 1), "strips"),
    ("a", "mapping", Mapping(((0, 4), (4, 8)), ((0, 3),), ((0, 27),), 1, 1), "parts"),
    ("a", "mapping", Mapping(((0, 4), (4, 8)), ((0, 4),), ((0, 20),), 1, 1), "chain"),
    ("a", "mapping", Mapping(((0, 8), (8, 8)), ((0, 4),), ((0, 27),), 1, 1), "strips"),
    ("a", "mapping", Mapping(((0, 4), (4, 8)), ((0, 4),), ((0, 9), (9, 27)), 1, 1), "blocks of 128 rows"),
    ("a", "mapping", Mapping(((0, 4), (4, 8)), ((0, 4),), ((0, 27),), 0, 1), "0 copies"),
    ("a", "placement", (_part(2, (0, 4)),), "not the pieces"),
    ("a", "placement", (_part(2, (0, 4)), _part(2, (4, 8))), "two pieces of one layer on one tile"),
    ("a", "placement", (_part(0, (0, 4)), _part(2, (4, 8))), "tile 0 is the host"),
    ("a", "placement", (_part(3, (0, 4)), Part(2, 0, 3, 0, (4, 8), (0, 4), (0, 27))), "both at"),
    ("p", "placement", (_part(4, (0, 4), (0, 0)), _part(104, (3, 8), (0, 0))), "once each"),
    ("a", "flow", None, "flow is not decided"),
    ("p", "schedule", Schedule((3, 3), (1, 1), 1), "for 1 inputs"),
    ("p", "schedule", Schedule((0,), (1,), 1), "without room"),
]


@pytest.mark.parametrize(
    ("name", "field", "value", "message"), BAD_DECISIONS, ids=[f"{c[1]}-{c[3]}" for c in BAD_DECISIONS]
)
def test_a_wrong_decision_is_found(name: str, field: str, value: Any, message: str) -> None:
    graph = decided()
    graph.update(replace(graph[name], **{field: value}))
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert message in str(caught.value)


def test_cells_must_fit_the_weights() -> None:
    graph = decided()
    graph.constants["a.codes"] = np.zeros((1, 26, 4), np.uint8)
    with pytest.raises(VerifyError, match=r"@a.codes has shape \(1, 26, 4\), not \(1, 27, 4\)"):
        verify(graph)


def test_a_relay_may_exist_only_where_tiles_are_known() -> None:
    graph = block()
    graph.insert_before("g", 0, Relay(name="r", inputs=("v",), type=graph["v"].type))
    with pytest.raises(VerifyError, match=r"q.relay does not exist at stage quantised"):
        verify(graph)
    assert graph["g"].inputs == ("r",)


def test_the_message_is_short_also_for_a_graph_with_many_faults() -> None:
    graph = block()
    graph.constants.clear()
    with pytest.raises(VerifyError) as caught:
        verify(graph, "scheduled")
    assert len(str(caught.value).splitlines()) <= 12
