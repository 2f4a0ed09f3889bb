"""Flows: text form, structural hazards, and the normal form."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimc_backends import cascade, isaac, isaac_style, neural_pim
from pimc_isa.errors import FlowError
from pimc_isa.flow import (
    OPS,
    Conversion,
    Flow,
    check_flow,
    flow_actions,
    normal_form,
    parse_flow,
    parse_flow_lines,
    print_flow,
    print_flow_lines,
)
from pimc_isa.machine import Array

MACHINE = isaac.machine()

TWO_BITS = """
.flow tiny input_bits=2 slices=2,2 step_cycles=120 interval=2 latency=8
  @0 load
  @1 drive 0:1
  @1 read
  @2 convert unsigned 8       ; low bit
  @2 drive 1:2
  @2 read
  @3 accumulate <<0
  @3 sum-inputs <<0
  @3 convert unsigned 8
  @4 accumulate <<1
  @4 sum-inputs <<1
  @5 merge
  @5 correct
  @6 activate
  @7 store
"""


def tiny(**edits: str) -> Flow:
    """The two-bit flow with some lines replaced, for example ``line_4="@2 read"``."""
    lines = TWO_BITS.strip().splitlines()
    for key, text in edits.items():
        lines[int(key.removeprefix("line_"))] = text
    return parse_flow("\n".join(lines))


def test_two_bit_flow_is_legal() -> None:
    # merge at 5 uses sums begun at 3, which the next position begins to overwrite at 5: just in time
    assert check_flow(tiny(), MACHINE).input_slices == ((0, 1), (1, 2))


@pytest.mark.parametrize("name", ["isaac8", "isaac16"])
def test_text_round_trip(name: str) -> None:
    flow = isaac.flow(name)
    assert parse_flow(print_flow(flow)) == flow
    assert parse_flow_lines(print_flow_lines(flow.ops)) == flow.ops


@given(st.integers(0, 999), st.integers(0, 63), st.integers(1, 99), st.booleans())
def test_micro_op_round_trip(step: int, shift: int, bits: int, signed: bool) -> None:
    lines = [
        f"@{step} drive {shift}:{shift + 2}",
        f"@{step} convert {'signed' if signed else 'unsigned'} {bits} step={shift + 1}",
        f"@{step} accumulate <<{shift}",
        f"@{step} load",
    ]
    assert print_flow_lines(parse_flow_lines(lines)) == lines


@pytest.mark.parametrize("name", ["isaac8", "isaac16"])
def test_blocks_partition_the_grid(name: str) -> None:
    flow = isaac.flow(name)
    form = check_flow(flow, MACHINE)
    pairs = [pair for block in form.blocks for pair in block.pairs]
    assert sorted(pairs) == list(product(range(flow.input_bits), range(len(flow.slices))))
    for block in form.blocks:
        ((i, j),) = block.pairs
        assert block.shift == i + 2 * j
        assert block.conversion == Conversion(0, 255)
    assert form.unit_conversions == (Conversion(0, 255),) * flow.input_bits


def test_conversions_have_sign_and_step() -> None:
    text = TWO_BITS.replace("convert unsigned 8 ", "convert signed 5 step=4").replace(
        "convert unsigned 8", "convert signed 5 step=4"
    )
    assert normal_form(parse_flow(text)).blocks[0].conversion == Conversion(-64, 60, 4)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"line_2": "@1 drive 1:1"}, "@1 drive 1:1: these are not input bits"),
        ({"line_2": "@2 drive 0:1"}, "no input bits are driven"),
        ({"line_3": "@1 activate"}, "nothing has filled the samples"),
        ({"line_4": "@1 convert unsigned 8"}, "convert unsigned 8: nothing has filled the samples"),
        ({"line_4": "@2 convert unsigned 9"}, "converters are narrower"),
        ({"line_5": "@2 drive 0:1", "line_10": "@4 accumulate <<0", "line_11": "@4 sum-inputs <<0"}, "bit 0 2 times"),
        ({"line_5": "@2 drive 2:3", "line_10": "@4 accumulate <<2", "line_11": "@4 sum-inputs <<2"}, "not input bits"),
        ({"line_10": "@4 correct", "line_13": "@5 activate"}, "adds input bit 1 0 times"),
        ({"line_0": ".flow tiny input_bits=2 slices=2,0 step_cycles=120 interval=2 latency=8"}, "1 to 32 bits"),
        ({"line_0": ".flow tiny input_bits=2 slices=2,2 step_cycles=120 interval=0 latency=8"}, "must be at least 1"),
        ({"line_10": "@4 accumulate <<2"}, "shift them by <<1"),
        ({"line_10": "@5 accumulate <<1"}, "accumulate <<1: the shift-adder is taken by '@3 accumulate <<0'"),
        ({"line_11": "@4 sum-inputs <<0"}, "shift them by <<1"),
        ({"line_12": "@4 merge"}, "complete only after step 4"),
        (
            {"line_12": "@6 merge", "line_14": "@7 activate", "line_15": "@9 store"},
            "another position overwrites the sums in step 5",
        ),
        ({"line_13": "@5 activate"}, "need each other"),
        ({"line_15": "@6 store"}, "the memory is taken by '@0 load'"),
        ({"line_0": ".flow tiny input_bits=2 slices=2,2 step_cycles=120 interval=2 latency=9"}, "write latency=8"),
        ({"line_15": "@7 load"}, "never stored"),
    ],
)
def test_structural_hazards_name_op_and_step(edits: dict[str, str], message: str) -> None:
    with pytest.raises(FlowError, match=message) as caught:
        check_flow(tiny(**edits), MACHINE)
    assert "tiny" in str(caught.value)


def test_a_latch_overwritten_right_after_its_write_is_refused() -> None:
    """Interval 5: the next position reads in step 6, between the read of step 5 and its conversion."""
    text = """
    .flow late input_bits=2 slices=2 step_cycles=120 interval=5 latency=12
      @0 load
      @1 drive 0:1
      @1 read
      @2 convert unsigned 8
      @3 accumulate <<0
      @5 drive 1:2
      @5 read
      @8 convert unsigned 8
      @9 accumulate <<1
      @10 merge
      @11 store
    """
    with pytest.raises(FlowError, match="@8 convert unsigned 8: another position overwrites the samples in step 6"):
        check_flow(parse_flow(text), MACHINE)


def test_interval_below_the_number_of_reads_is_refused() -> None:
    with pytest.raises(FlowError, match="modulo 7"):
        check_flow(replace(isaac.flow(), interval=7), MACHINE)


def test_longer_interval_is_legal() -> None:
    check_flow(replace(isaac.flow(), interval=9), MACHINE)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (replace(MACHINE.array, conversions_per_step=128), "129 conversions per array in one step"),
        (replace(MACHINE.array, cell_bits=1), "2 bits do not fit 1-bit cells"),
        (replace(MACHINE.array, dac_bits=0), "does not fit the DACs"),
        (replace(MACHINE.array, step_cycles=121), "shorter than an array read"),
        (replace(MACHINE.array, unit_columns=0), "no unit column"),
    ],
)
def test_machine_limits(array: Array, message: str) -> None:
    with pytest.raises(FlowError, match=message):
        check_flow(isaac.flow(), replace(MACHINE, array=array))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("@1 jump", "no micro-op is called 'jump'"),
        ("@x read", "not a micro-op"),
        ("@1 drive 3", r"write '@1 drive LO:HI \[positive|negative\]'"),
        ("@1 convert maybe 8", "wrong arguments"),
        ("@1 convert unsigned 0", "wrong arguments"),
    ],
)
def test_text_errors(line: str, message: str) -> None:
    with pytest.raises(FlowError, match=message):
        parse_flow_lines([line])


def test_head_errors() -> None:
    with pytest.raises(FlowError, match="not the head of a flow"):
        parse_flow(".flow x input_bits=8")
    with pytest.raises(FlowError, match="not the head of a flow"):
        parse_flow("")


def test_counts_of_one_position() -> None:
    counts = flow_actions(isaac.flow())
    assert [counts[op] for op in ("load", "drive", "read", "convert", "accumulate", "merge", "store")] == [
        1,
        8,
        8,
        8,
        8,
        1,
        1,
    ]
    assert counts["driven_bits"] == 8


def test_every_micro_op_is_documented_and_used_by_a_shipped_flow() -> None:
    assert all(op.__doc__ for op in OPS.values())
    flows = [isaac.flow(), cascade.flow(), isaac_style.flow(), neural_pim.flow()]
    assert {op.op for flow in flows for op in flow.ops} == set(OPS)


@pytest.mark.parametrize(("slices", "legal"), [("16,16", True), ("16,17", False), ("33", False), ("2,0", False)])
def test_slices_may_have_32_bits_and_no_more(slices: str, legal: bool) -> None:
    text = TWO_BITS.replace("slices=2,2", f"slices={slices}")
    with nullcontext() if legal else pytest.raises(FlowError, match="1 to 32 bits"):
        normal_form(parse_flow(text))
