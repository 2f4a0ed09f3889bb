"""Hazards and meaning of folds, buffers and ranged conversions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pimc_backends import cascade, isaac_style, neural_pim
from pimc_isa.errors import FlowError
from pimc_isa.flow import Flow, check_flow, normal_form, parse_flow, print_flow
from pimc_isa.machine import Machine

NPIM = print_flow(neural_pim.flow())
CASCADE = print_flow(cascade.flow())


def edited(text: str, *edits: str) -> Flow:
    """A flow with parts of its text replaced: ``"old -> new"``."""
    for edit in edits:
        old, new = edit.split(" -> ")
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return parse_flow(text)


def test_shipped_flows_are_legal_and_print() -> None:
    for backend in (neural_pim, cascade, isaac_style):
        flow = backend.flow()
        check_flow(flow, backend.machine())
        assert parse_flow(print_flow(flow)) == flow


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (
            ["interval=3 latency=9 -> interval=2 latency=10", "@8 store -> @9 store"],
            "convert signed 8 ranged: another position overwrites the held sums in step 4",
        ),
        (["interval=3 -> interval=1"], "taken by"),
        (["@3 fold >>4 -> @3 fold >>3"], "input bits 0 and 4 onwards differ by 4\nfold >>4"),
        (["@3 fold >>4 -> @3 fold <<4"], "fold >>4"),
        (["@2 read pairs -> @2 read"], "some reads sample pairs"),
        (["@2 fold >>4\n -> \n", "@3 fold >>4 -> @3 fold >>0"], "high input bits are merged without a shift"),
        (["@4 convert signed 8 ranged -> @3 convert signed 8 ranged"], "adds input bit 4 0 times"),
        (["signed 8 ranged -> signed 8"], "ranged conversions and scale need each other"),
        (["@6 scale\n -> \n"], "ranged conversions and scale need each other"),
        (["signed 8 ranged -> signed 8 step=2 ranged"], "wrong arguments"),
        (["signed 8 ranged -> signed 9 ranged"], "converters are narrower"),
        (["signed 8 ranged -> signed 8 ranged columns=0:1"], "there are no buffer columns 0:1"),
        (["@3 fold >>4 -> @3 fold >>4 steps=2"], "adds input bit 4 0 times"),
        (["@5 merge -> @5 merge steps=2"], "wrong arguments"),
        (["@4 convert signed 8 ranged -> @4 convert signed 8 ranged steps=0"], "wrong arguments"),
    ],
)
def test_neural_pim(edits: list[str], message: str) -> None:
    with pytest.raises(FlowError, match=message):
        check_flow(edited(NPIM, *edits), neural_pim.machine())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"folds_per_step": 0}, "no analog shift-and-add"),
        ({"folds_per_step": 7.5}, "8 analog additions per array in one step, the folders do 7.5"),
        ({"conversions_per_step": 7.5}, "8 conversions per array in one step, the converters do 7.5"),
        ({"columns": 127}, "8 analog additions|held"),
        ({"columns": 15}, "an output takes 16 columns, the arrays have 15"),
    ],
)
def test_neural_pim_on_other_machines(fields: dict[str, Any], message: str) -> None:
    base = neural_pim.machine()
    machine = replace(base, array=replace(base.array, **fields))
    if fields.get("columns") == 127:  # seven outputs fit, and are less work
        check_flow(neural_pim.flow(), machine)
        return
    with pytest.raises(FlowError, match=message):
        check_flow(neural_pim.flow(), machine)


def test_a_second_set_of_held_sums_shortens_the_interval() -> None:
    """Conversion beside the next position's reads and folds."""
    flow = edited(NPIM, "interval=3 latency=9 -> interval=2 latency=10", "@8 store -> @9 store")
    check_flow(flow, neural_pim.target(held_copies=2).machine)


def test_msb_first_folds_the_other_way() -> None:
    """High bits first: what is held is scaled up."""
    flow = edited(
        NPIM, "drive 0:4 -> drive 4:9", "drive 4:8 -> drive 0:4", "drive 4:9 -> drive 4:8", "@3 fold >>4 -> @3 fold <<4"
    )
    form = normal_form(flow)
    assert form.input_slices == ((4, 8), (0, 4))
    assert {p: e for p, e in zip(form.blocks[0].pairs, form.blocks[0].exponents, strict=True)}[0, 7] == 11
    assert form.blocks[0].shift == 0


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (["@5 buffer <<3 6 -> @5 buffer <<2 6"], "input bit 3 onwards\nwrite them with <<3"),
        (["@5 buffer <<3 6 -> @5 buffer <<3 5"], "cells of one column differ"),
        (["@5 buffer <<3 6 -> @5 buffer <<3 7"], "cells of one column differ"),
        (["columns=11:15 -> columns=10:15"], "shift them by <<10"),
        (["columns=11:15 -> columns=11:14"], "a buffer column is converted not at all"),
        (["columns=11:15 -> columns=10:15", "accumulate <<11 -> accumulate <<10"], "converted twice"),
        (["columns=11:15 -> columns=11:16"], "there are no buffer columns 11:16"),
        (["columns=11:15 steps=12 -> columns=11:15 steps=11"], "5.81818 conversions per array in one step"),
        (["interval=15 latency=29 -> interval=14 latency=30", "@28 store -> @29 store"], "the converters do 5.625"),
        (["@9 buffer <<7 6 -> @10 buffer <<7 6"], "buffered sums are complete only after step 10"),
        (["step=2048 -> step=2048 ranged"], "wrong arguments"),
    ],
)
def test_cascade(edits: list[str], message: str) -> None:
    with pytest.raises(FlowError, match=message):
        check_flow(edited(CASCADE, *edits), cascade.machine())


def smaller(**fields: int) -> Machine:
    base = cascade.machine()
    return replace(base, array=replace(base.array, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"buffer_arrays": 2}, "overwrites the buffered sums"),
        ({"buffer_bits": 5}, "buffer cells are narrower"),
        ({"buffer_writes_per_step": 127}, "128 buffer writes per array in one step, the buffer-writers do 127"),
        ({"summed_columns": 10}, "summing amplifiers add fewer columns"),
        ({"input_sum_copies": 1}, "overwrites the input sums"),
    ],
)
def test_cascade_on_other_machines(fields: dict[str, int], message: str) -> None:
    """Two buffer arrays hold one position's 240 columns: the next one's writes come too early."""
    with pytest.raises(FlowError, match=message):
        check_flow(cascade.flow(), smaller(**fields))


def test_sides_are_not_for_analog_sums() -> None:
    text = NPIM.replace("read pairs", "read sides")
    with pytest.raises(FlowError, match="read pairs"):
        normal_form(parse_flow(text))
