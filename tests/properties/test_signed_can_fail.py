"""Rules of signed passes are broken in the fast engines, and the step engine, which has its own, objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pimc_isa.crossbar import inputs
from pimc_isa.engines.dots import oneround
from pimc_isa.engines.dots.layer import Layer
from pimc_isa.engines.dots.rounds import RoundsProduct
from pimc_isa.flow import use
from pimc_isa.flow.forms import NormalForm
from pimc_isa.program import Program
from tests.properties.programs import random_program
from tests.properties.programs_rounds import random_rounds_program
from tests.properties.test_guards import agree
from tests.properties.test_referee_can_fail import everywhere

Patch = pytest.MonkeyPatch


def parts_are_added(patch: Patch) -> None:
    patch.setattr(NormalForm, "sign", lambda form, i: 1)


def passes_are_swapped(patch: Patch) -> None:
    parts = inputs.parts_of
    everywhere(patch, inputs, "parts_of", lambda x, form: parts(x, form)[::-1])


def products_keep_the_zero_point(patch: Patch) -> None:
    patch.setattr(Layer, "lifted", lambda layer, sums: sums)


def rounds_keep_the_zero_point(patch: Patch) -> None:
    def exact(rounds: RoundsProduct, a: Any) -> Any:
        made: Any = a.astype("int64") @ rounds.matrix()
        return made.astype("int32")

    patch.setattr(RoundsProduct, "exact", exact)


def idle_word_lines_drive(patch: Patch) -> None:
    dealt = oneround.dealt
    everywhere(patch, oneround, "dealt", lambda a, driven, zero=0: dealt(a, driven))


def pulses_are_those_of_the_positive_part(patch: Patch) -> None:
    part = use._of_part
    patch.setattr(use, "_of_part", lambda counted, name: part(counted, "positive" if name else ""))


FAULTS: dict[Callable[[Patch], None], Callable[..., Program]] = {
    parts_are_added: random_program,
    passes_are_swapped: random_program,
    products_keep_the_zero_point: random_program,
    rounds_keep_the_zero_point: random_rounds_program,
    idle_word_lines_drive: random_rounds_program,
    pulses_are_those_of_the_positive_part: random_program,
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_broken_rule_is_found(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """By programs on ideal chips, which those of even seeds are."""
    fault(monkeypatch)
    assert any(_differ(seed, FAULTS[fault]) for seed in range(0, 40, 2))


def _differ(seed: int, draft: Callable[..., Program]) -> bool:
    try:
        agree(seed, draft, signed=True)
    except AssertionError:
        return True
    return False
