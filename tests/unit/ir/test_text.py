"""The graph's text form: exact both ways, and errors with a place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pimc.ir.graph import Graph
from pimc.ir.text import IrTextError, parse_graph, print_graph
from tests.unit.ir.graphs import block, decided


def same(a: Graph, b: Graph) -> bool:
    """Whether two graphs hold the same."""
    return (
        list(a.ops()) == list(b.ops())
        and (a.name, a.stage, a.inputs, a.outputs, a.meta, a.reference)
        == (b.name, b.stage, b.inputs, b.outputs, b.meta, b.reference)
        and a.constants.keys() == b.constants.keys()
        and all(np.array_equal(a.constants[n], b.constants[n]) for n in a.constants)
    )


@pytest.mark.parametrize("make", [block, decided])
def test_graph_to_text_and_back_is_the_same_graph(make: Callable[[], Graph]) -> None:
    graph = make()
    text = print_graph(graph)
    again = parse_graph(text, graph.constants, graph.reference)
    assert same(graph, again)
    assert print_graph(again) == text


def test_scales_survive_exactly() -> None:
    graph = block()
    text = print_graph(graph).replace(
        "y_scale = 1e-05", "y_scale = 0.1000000000000000055511151231257827021181583404541015625"
    )
    again = parse_graph(text, graph.constants, graph.reference)
    assert getattr(again["s"], "y_scale") == 0.1  # noqa: B009


def test_decisions_can_be_read() -> None:
    text = print_graph(decided())
    assert "mapping = {strips = [[0, 4], [4, 8]], parts = [[0, 4]], chain = [[0, 27]], copies = 2, arrays = 4}" in text
    assert "{tile = 2, chip = 0, x = 2, y = 0, cols = [0, 4], chans = [0, 4], rows_k = [0, 27]}" in text
    assert "schedule = {slots = [3], depth = [2], out_slots = 2}" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("q.maxpool", "q.minpool", "no operation 'q.minpool'"),
        ("kernel = [3, 3]", "kernel = [3]", "kernel: expected 2 values, found 1"),
        ("kernel = [3, 3]", "kernels = [3, 3]", "has no field 'kernels'"),
        ("groups = 2", "groups = 2.5", "groups: expected a value of type int"),
        ("table = @table", 'table = "table"', "table: expected a constant's name"),
        ("q.gap(%v)", "q.gap(%nothing)", "%nothing is not made before it is used"),
        ("quantised {", "quantized {", "no stage 'quantized'"),
        ("@m1: f32[4]", "@m1: f32[5]", "constant m1 is f32[4]"),
        ("@table: u8[256]", "@tables: u8[256]", "constant tables is not supplied"),
        ("%p: u8[8x8x4]", "%a: u8[8x8x4]", "value %a is made twice"),
        ("%p: u8[8x8x4]", "%p: u8[8x8]", "not 2 dimensions"),
        ("y_zero = 9", "y_zero = 9, y_zero = 9", "field y_zero twice"),
        ("y_zero = 9", "y_zero = $", "unexpected '$'"),
        (", y_zero = 9", "", "q.gap without y_zero"),
        ("}\n@", "\n@", "expected"),
        ("= 11", "= 12", "reference model"),
    ],
)
def test_bad_text_is_refused_with_its_place(old: str, new: str, message: str) -> None:
    graph = block()
    text = print_graph(graph)
    assert old in text
    with pytest.raises(IrTextError) as caught:
        parse_graph(text.replace(old, new, 1), graph.constants, graph.reference)
    lines = str(caught.value).splitlines()
    assert message in lines[0]
    assert lines[0].startswith("line ")
    assert len(lines) == 3
    assert lines[2].strip() == "^"


def test_a_constant_of_the_right_shape_but_other_values_is_refused() -> None:
    graph = block()
    constants = {**graph.constants, "b1": graph.constants["b1"] + 1}
    with pytest.raises(IrTextError, match="b1 has another hash"):
        parse_graph(print_graph(graph), constants, graph.reference)


def test_every_prefix_of_a_text_is_refused_or_a_graph() -> None:
    graph = decided()
    text = print_graph(graph)
    for end in range(0, len(text) - 1, 13):
        try:
            parse_graph(text[:end], graph.constants, graph.reference)
        except IrTextError:
            continue
