"""Inputs as word lines get them: whole codes, or the positive and the negative parts of codes less their zero point."""

from __future__ import annotations

import numpy as np

from pimc_isa.flow.forms import PARTS, NormalForm

__all__ = ["driven", "largest", "parts_of"]

Array = np.ndarray


def driven(x: Array, form: NormalForm) -> list[Array]:
    """What each input slice of the form puts on the word lines, of unsigned integers of any shape; in their type."""
    parts = dict(zip(PARTS if form.input_parts else ("",), parts_of(x, form), strict=True))
    slices = enumerate(form.input_slices)
    return [parts[form.part(i)] >> lo & ((1 << (hi - lo)) - 1) for i, (lo, hi) in slices]


def parts_of(x: Array, form: NormalForm) -> list[Array]:
    """The inputs as they are, or by how much they are above the zero point and by how much below, in their type."""
    if not form.input_parts:
        return [x]
    return [np.maximum(x, form.zero) - form.zero, form.zero - np.minimum(x, form.zero)]


def largest(form: NormalForm, i: int) -> int:
    """The largest value of an input slice: of a part, which may be shorter, only as far as its zero point lets it."""
    lo, hi = form.input_slices[i]
    every = (1 << max(high for _, high in form.input_slices)) - 1
    most = {"positive": every - form.zero, "negative": form.zero}.get(form.part(i), every)
    return min(most >> lo, (1 << (hi - lo)) - 1)
