"""The shape of a normal form, and that no kernel takes a form with a part that it does not know."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from pimc_backends import cascade, isaac, neural_pim
from pimc_isa.crossbar import exactness
from pimc_isa.crossbar.cells import encode, encode_differential
from pimc_isa.crossbar.exactness import KNOWN, conversions_exact, sliced_dot
from pimc_isa.engines.dots import analog, layer, summed
from pimc_isa.engines.kernels import blocks, corrected, popcount
from pimc_isa.errors import ProgramError
from pimc_isa.flow import Block, Conversion, Flow, NormalForm, normal_form
from pimc_isa.flow.forms import Shape, Takes
from pimc_isa.operands import Weights

Array = np.ndarray


@dataclass(frozen=True)
class _Twisted(Block):
    """A block with a part that nobody has heard of."""

    twist: int = 0


def twisted(flow: Flow) -> NormalForm:
    form = normal_form(flow)
    return replace(form, blocks=(_Twisted(**vars(form.blocks[0]), twist=1), *form.blocks[1:]))


def test_shapes_of_the_shipped_flows() -> None:
    offset, whole, buffered = (normal_form(m.flow()).shape for m in (isaac, neural_pim, cascade))
    assert offset == Shape(frozenset({"singles"}), frozenset({"unit_conversions"}))
    assert whole == Shape(frozenset({"whole"}), frozenset({"ranged"}))
    assert buffered == Shape(frozenset(), frozenset({"cell", "step", "unit_conversions"}))


def test_parts_in_refinements_and_tuples_are_found() -> None:
    clipped = Conversion(-4, 3, 2)
    finer = Block(((1, 0),), (0,), 0, clipped)
    form = NormalForm(((0, 1), (0, 1)), (0,), (Block(((0, 0),), (0,), 0, Conversion(0, 3), None, (finer,)),))
    assert form.shape.parts == {"refinement", "step"}
    assert NormalForm(((0, 1),), (0,), (Block(((0, 0),), (0,), 0, None),), (clipped,)).shape.parts == {
        "unit_conversions",
        "step",
    }


@pytest.mark.parametrize("module", [isaac, neural_pim, cascade])
def test_no_kernel_takes_a_part_that_it_does_not_know(module: object) -> None:
    form = twisted(module.flow())  # type: ignore[attr-defined]
    assert "twist" in form.shape.parts
    for takes in (popcount.TAKES, blocks.TAKES, corrected.TAKES, summed.TAKES, analog.TAKES, KNOWN):
        assert not takes(form)


def test_the_reference_runs_where_it_alone_knows_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Takes(KNOWN.parts | {"twist"})
    ran: list[int] = []

    def reference(x: Array, *args: object) -> Array:
        ran.append(len(x))
        return sliced_dot(x, *args)  # type: ignore[arg-type]

    flow = isaac.flow()
    values = np.random.default_rng(0).integers(-128, 128, (1, 64, 8))
    cells, weights = encode(values, flow.slices, 32), Weights("w", 1, 64, 8, 32, flow.slices)
    part = layer.LayerPart("", "w", flow.name, (0, 64), (0, 8), (0, 1))
    tensors = {f"w.{name}": getattr(cells, name) for name in ("codes", "polarity", "centre")}

    class Held:
        """As much of a program as a layer looks at."""

    held = Held()
    vars(held).update(weight={"w": weights}, flow={flow.name: flow}, tensors=tensors)
    x = np.random.default_rng(1).integers(0, 256, (5, 64), dtype=np.uint8)
    plain = layer.Layer(held, part)  # type: ignore[arg-type]
    assert plain.exact
    monkeypatch.setattr(layer, "normal_form", twisted)
    monkeypatch.setattr(layer, "sliced_dot", reference)
    odd = layer.Layer(held, part)  # type: ignore[arg-type]
    assert not odd.exact
    assert odd.summed is None
    with pytest.raises(ProgramError, match="nothing here computes flows with 'twist'"):
        odd.dense(x)
    monkeypatch.setattr(exactness, "KNOWN", known)
    ran.clear()
    np.testing.assert_array_equal(odd.dense(x), plain.dense(x))
    assert ran == [5]


def test_kernels_take_no_guards_that_they_leave_out() -> None:
    """Sums of inputs 2:4 and 0:2, through a buffer cell or not, guarded, refined bit by bit: every end code counts."""
    bits = ((2, 4), (0, 2), *((bit, bit + 1) for bit in range(4)))
    narrow, wide = Conversion(-8, 7), Conversion(-(1 << 20), 1 << 20)
    finer = tuple(Block(((2 + bit, 0),), (0,), bit, wide) for bit in range(4))
    values = np.random.default_rng(0).integers(-7, 8, (1, 64, 8))
    cells, weights = encode_differential(values, (3,), 32), Weights("w", 1, 64, 8, 32, (3,), True)
    x = np.random.default_rng(1).integers(0, 16, (5, 64), dtype=np.uint8)
    for cell in (None, Conversion(-(1 << 20), 1 << 20)):
        coarse = (
            Block(((0, 0),), (0,), 2, narrow, cell, (finer[2], finer[3])),
            Block(((1, 0),), (0,), 0, narrow, cell, (finer[0], finer[1])),
        )
        form = NormalForm(bits, (0,), coarse)
        expected = sliced_dot(x[:, None], cells, weights, form)[:, 0]
        np.testing.assert_array_equal(expected, x @ values[0])
        for make in (blocks.block_product, popcount.bit_product):
            product = make(cells, weights, form, 1, 64)
            if product is not None:
                np.testing.assert_array_equal(product(popcount.pack(x).reshape(5, -1)), expected)


def test_nothing_is_proved_of_an_unknown_part() -> None:
    flow = isaac.flow()
    values = np.random.default_rng(0).integers(-128, 128, (1, 64, 8))
    cells, weights = encode(values, flow.slices, 32), Weights("w", 1, 64, 8, 32, flow.slices)
    assert conversions_exact(cells, weights, normal_form(flow)).holds
    assert not conversions_exact(cells, weights, twisted(flow)).exact.any()
