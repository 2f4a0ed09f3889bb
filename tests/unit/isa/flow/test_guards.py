"""Guarded conversions: what flows with them compute, against plain integers, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from pimc_backends import isaac
from pimc_isa.crossbar.cells import Cells, decode, encode_differential
from pimc_isa.crossbar.exactness import conversions_exact, sliced_dot
from pimc_isa.errors import FlowError
from pimc_isa.flow import Flow, check_flow, normal_form, parse_flow, print_flow
from pimc_isa.flow.file import judge_flow_file
from pimc_isa.machine import Machine
from pimc_isa.operands import Weights

Array = np.ndarray
MACHINE = isaac.machine()

#: 4-2-2 bits of the inputs, each refined bit by bit; weights in slices of 2, 2 and 4 bits, low bits first.
SPECULATIVE = """
.flow spec input_bits=8 slices=2,2,4 step_cycles=1 interval=11 latency=16
  @0 load
  @1 drive 4:8
  @1 read pairs
  @2 convert signed 7 guarded
  @2 drive 7:8
  @2 read pairs
  @3 accumulate <<4
  @3 convert signed 7 flagged
  @3 drive 6:7
  @3 read pairs
  @4 accumulate <<7
  @4 convert signed 7 flagged
  @4 drive 5:6
  @4 read pairs
  @5 accumulate <<6
  @5 convert signed 7 flagged
  @5 drive 4:5
  @5 read pairs
  @6 accumulate <<5
  @6 convert signed 7 flagged
  @6 drive 2:4
  @6 read pairs
  @7 accumulate <<4
  @7 convert signed 7 guarded
  @7 drive 3:4
  @7 read pairs
  @8 accumulate <<2
  @8 convert signed 7 flagged
  @8 drive 2:3
  @8 read pairs
  @9 accumulate <<3
  @9 convert signed 7 flagged
  @9 drive 0:2
  @9 read pairs
  @10 accumulate <<2
  @10 convert signed 7 guarded
  @10 drive 1:2
  @10 read pairs
  @11 accumulate <<0
  @11 convert signed 7 flagged
  @11 drive 0:1
  @11 read pairs
  @12 accumulate <<1
  @12 convert signed 7 flagged
  @13 accumulate <<0
  @14 merge
  @15 store
"""

#: One guarded conversion of folded sums, refined by converting each sample.
FOLDED = """
.flow folded input_bits=4 slices=1,2 step_cycles=1 interval=10 latency=10
  @0 load
  @1 drive 0:2
  @1 read pairs
  @2 fold >>2
  @2 drive 2:4
  @2 read pairs
  @3 fold >>2
  @4 convert signed 6 guarded
  @4 drive 0:2
  @4 read pairs
  @5 accumulate <<0
  @5 convert signed 8 flagged
  @5 drive 2:4
  @5 read pairs
  @6 accumulate <<0
  @6 convert signed 8 flagged
  @7 accumulate <<2
  @8 merge
  @9 store
"""


def machine() -> Machine:
    array = replace(
        MACHINE.array,
        rows=64,
        columns=64,
        cell_bits=4,
        dac_bits=4,
        converter_bits=8,
        folds_per_step=64.0,
        conversions_per_step=64.0,
        step_cycles=1,
    )
    return replace(MACHINE, array=array)


def flow(text: str = SPECULATIVE) -> Flow:
    return parse_flow(text)


def layer(seed: int, slices: tuple[int, ...], k: int = 40, n: int = 6, rows: int = 16) -> tuple[Cells, Weights]:
    top = 1 << sum(slices)
    weights = np.random.default_rng(seed).integers(-top + 1, top, (1, k, n))
    return encode_differential(weights, slices, rows), Weights("w", 1, k, n, rows, slices, True)


def plainly(x: Array, cells: Cells, weights: Weights) -> tuple[Array, int]:
    """What SPECULATIVE computes of vectors [m, k], one conversion after the other, and how many were flagged."""
    total = np.zeros((len(x), weights.n), np.int64)
    flags = 0
    for first in range(0, weights.k, weights.block_rows):
        rows = slice(first, first + weights.block_rows)
        w = cells.codes[0, rows].astype(np.int64)
        for j, (lo, hi) in product(range(3), ((4, 8), (2, 4), (0, 2))):
            shift, width = (0, 2, 4)[j], (2, 2, 4)[j]
            column = np.sign(w) * (np.abs(w) >> shift & (1 << width) - 1)
            code = np.clip((x[:, rows] >> lo & (1 << hi - lo) - 1) @ column, -64, 63)
            flagged = (code == -64) | (code == 63)
            flags += int(flagged.sum())
            finer = sum(np.clip((x[:, rows] >> bit & 1) @ column, -64, 63) << bit for bit in range(lo, hi))
            total += np.where(flagged, finer, code << lo) << shift
    return total, flags


def test_text_and_back() -> None:
    for text in (SPECULATIVE, FOLDED):
        assert parse_flow(print_flow(flow(text))) == flow(text)


def test_a_guarded_block_carries_the_blocks_that_replace_it() -> None:
    form = check_flow(flow(), machine())
    assert form.input_slices[:3] == ((4, 8), (2, 4), (0, 2))
    assert sorted(form.input_slices[3:]) == [(b, b + 1) for b in range(8)]
    assert len(form.blocks) == 9
    for block in form.blocks:
        ((i, j),) = block.pairs
        bits = {form.input_slices[f.pairs[0][0]][0] for f in block.refinement}
        assert bits == set(range(*form.input_slices[i]))
        assert {f.pairs[0][1] for f in block.refinement} == {j}
    assert form.shape.parts == {"refinement"}


@pytest.mark.parametrize("seed", range(5))
def test_the_reference_is_the_plain_sum(seed: int) -> None:
    cells, weights = layer(seed, (2, 2, 4))
    x = np.random.default_rng(seed).integers(0, 256, (400, weights.k))  # some finer sums clip where the whole did not
    x[0] = 255
    expected, flags = plainly(x, cells, weights)
    assert flags > 0
    np.testing.assert_array_equal(sliced_dot(x[:, None], cells, weights, normal_form(flow()))[:, 0], expected)


def test_folded_sums_are_refined_sample_by_sample() -> None:
    form = check_flow(flow(FOLDED), machine())
    (block,) = form.blocks
    assert len(block.pairs) == 4
    assert sorted(b.pairs for b in block.refinement) == [((i, j),) for i in range(2) for j in range(2)]
    cells, weights = layer(0, (1, 2), k=10, rows=5)
    x = np.random.default_rng(0).integers(0, 16, (9, 10))
    exact = x @ decode(cells, weights)[0].astype(np.int64)
    np.testing.assert_array_equal(sliced_dot(x[:, None], cells, weights, form)[:, 0], exact)  # refinements are wide


def test_wide_refinements_are_proved_narrow_ones_are_not() -> None:
    cells, weights = layer(0, (2, 2, 4), rows=4)
    wide = flow(SPECULATIVE.replace("signed 7 flagged", "signed 8 flagged"))
    proof = conversions_exact(cells, weights, normal_form(wide))
    assert proof.holds
    assert proof.total == 9 * 10 * 6
    assert not conversions_exact(*layer(0, (2, 2, 4), rows=16), normal_form(flow())).holds
    rounding = flow(SPECULATIVE.replace("signed 7 guarded", "signed 7 step=2 guarded"))
    assert not conversions_exact(cells, weights, normal_form(rounding)).holds


def test_sums_that_reach_no_end_code_need_no_refinement() -> None:
    cells, weights = layer(0, (2, 2, 4), rows=1)
    small = Cells(np.sign(cells.codes), cells.polarity, cells.centre)  # sums of 15 at most
    narrow = flow(SPECULATIVE.replace("signed 7 flagged", "signed 1 flagged"))
    assert conversions_exact(small, weights, normal_form(narrow)).holds
    at_the_end = flow(SPECULATIVE.replace("signed 7 flagged", "signed 1 flagged").replace("signed 7 g", "signed 5 g"))
    assert not conversions_exact(small, weights, normal_form(at_the_end)).holds  # 15 is the end code


def without(*lines: str, text: str = SPECULATIVE) -> str:
    return "\n".join(line for line in text.splitlines() if line.strip() not in lines)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (without("@13 accumulate <<0"), "input bit 0 of weight slice 0 is refined 0 times"),
        (
            SPECULATIVE.replace("@11 drive 0:1", "@11 drive 1:2").replace("@13 accumulate <<0", "@13 accumulate <<1"),
            "input bit 0 of weight slice 0 is refined 0 times",
        ),
        (SPECULATIVE.replace("@11 drive 0:1", "@11 drive 0:2"), "input bit 1 of weight slice 0 is refined 2 times"),
        (
            SPECULATIVE.replace("@5 drive 4:5", "@5 drive 3:4").replace("@7 accumulate <<4", "@7 accumulate <<3"),
            "input bit 3 is not in the sums",
        ),
        (
            SPECULATIVE.replace("@5 drive 4:5", "@5 drive 3:5").replace("@7 accumulate <<4", "@7 accumulate <<3"),
            "it sees pairs of several guarded sums|input bit 3 is not in the sums",
        ),
        (without("@3 accumulate <<4"), "adds input bit 4 0 times|its codes are not added"),
        (SPECULATIVE.replace("@2 convert signed 7 guarded", "@2 convert signed 7"), "nothing has filled the flags"),
        (SPECULATIVE.replace("@7 accumulate <<4", "@8 accumulate <<4"), "codes are of input bits 2:4"),
        (SPECULATIVE.replace("guarded", "ranged guarded"), "ranged codes are added before they count|need each other"),
        (SPECULATIVE.replace("interval=11", "interval=5"), "(is taken|overwrites)"),
    ],
)
def test_refused(text: str, problem: str) -> None:
    with pytest.raises(FlowError, match=problem) as error:
        check_flow(flow(text), machine())
    assert len(str(error.value).splitlines()) <= 3


def test_guarded_codes_cannot_be_merged_as_they_are() -> None:
    text = without("@5 accumulate <<0", "@6 accumulate <<0", "@7 accumulate <<2", text=FOLDED)
    with pytest.raises(FlowError, match="whose flags decide are merged"):
        check_flow(flow(text.replace("@8 merge", "@5 merge")), machine())


def test_a_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.flow"
    path.write_text(SPECULATIVE.replace("@11 drive 0:1", "@11 drive 0:2").strip() + "\n", encoding="utf-8")
    with pytest.raises(FlowError) as error:
        judge_flow_file(path, machine())
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "@10 convert signed 7 guarded" in text)
    assert str(error.value).startswith(f"{path}:{line}: flow spec, @10 convert signed 7 guarded: input bit 1")
