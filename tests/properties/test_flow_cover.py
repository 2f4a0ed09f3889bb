"""Random flows cover every pair of an input bit and a weight slice once; with a hole or an overlap they are refused."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from pimc_isa.errors import FlowError
from pimc_isa.flow import Flow, MicroOp, NormalForm, normal_form
from pimc_isa.flow.forms import Block
from pimc_isa.flow.microops import Accumulate, Drive
from tests.properties.drafts_flows import GUARDED, KINDS, make_flow, make_guarded

SLICES = ((2, 2, 2, 2), (4, 4), (1, 3, 4), (8,))


def flow_of(seed: int) -> Flow:
    rng = Random(seed)
    slices = rng.choice(SLICES)
    if seed % 2:
        return make_guarded(rng, "f", rng.choice(GUARDED), slices)
    return make_flow(rng, "f", rng.choice(KINDS), slices, rng.random() < 0.5)


def cells(form: NormalForm, blocks: tuple[Block, ...]) -> list[tuple[int, int]]:
    return sorted((bit, j) for b in blocks for i, j in b.pairs for bit in range(*form.input_slices[i]))


@pytest.mark.parametrize("seed", range(120))
def test_blocks_cover_the_grid_once_and_refinements_their_blocks(seed: int) -> None:
    flow = flow_of(seed)
    form = normal_form(flow)
    everything = [(bit, j) for bit in range(8) for j in range(len(flow.slices))]
    assert cells(form, form.blocks) == everything
    for block in form.blocks:
        if block.refinement:
            assert cells(form, block.refinement) == cells(form, (block,))
        for part in (block, *block.refinement):
            for (i, j), exponent in zip(part.pairs, part.exponents, strict=True):
                assert part.shift + exponent == form.input_slices[i][0] + form.weight_shifts[j]


def changed(flow: Flow, old: MicroOp, new: tuple[MicroOp, ...]) -> Flow:
    ops = tuple(op for each in flow.ops for op in (new if each is old else (each,)))
    return replace(flow, ops=ops)


@pytest.mark.parametrize("seed", range(120))
def test_a_hole_is_refused(seed: int) -> None:
    flow, rng = flow_of(seed), Random(seed)
    adders = [op for op in flow.ops if isinstance(op, Accumulate)]
    drives = [op for op in flow.ops if isinstance(op, Drive) and op.bits[1] - op.bits[0] > 1]
    wrong = [changed(flow, rng.choice(adders), ())] if len(adders) > 1 else []  # codes of the only one can be merged
    if drives:
        drive = rng.choice(drives)
        narrow = replace(drive, bits=(drive.bits[0], drive.bits[1] - 1))
        wrong.append(changed(flow, drive, (narrow,)))
    for each in wrong:
        with pytest.raises(FlowError):
            normal_form(each)


@pytest.mark.parametrize("seed", range(120))
def test_an_overlap_is_refused(seed: int) -> None:
    flow, rng = flow_of(seed), Random(seed)
    drive = rng.choice([op for op in flow.ops if isinstance(op, Drive)])
    lo, hi = drive.bits
    for bits in [(lo - 1, hi)] if lo else [(lo, hi + 1)] if hi < 8 else []:
        with pytest.raises(FlowError):
            normal_form(changed(flow, drive, (replace(drive, bits=bits),)))
    late = max(op.end for op in flow.ops)
    again = [replace(op, step=late) for op in flow.ops if isinstance(op, Accumulate)]
    if again:
        with pytest.raises(FlowError):
            normal_form(replace(flow, ops=(*flow.ops, rng.choice(again))))
