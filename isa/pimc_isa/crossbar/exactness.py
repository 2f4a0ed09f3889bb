"""What conversions do to dot products: the proof that they do nothing, and the slow reference for when they do.

A conversion that can neither round nor clip returns the exact sum, and then a flow computes the integer dot product.
Whether that holds follows from the cells alone: the largest sum of a column is the sum of its cells times the largest
input slice. The proof reads the cells that are there; it does not trust whoever made them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc_isa.crossbar.cells import Cells, column_sums, row_blocks, slice_shifts
from pimc_isa.crossbar.inputs import driven, largest
from pimc_isa.errors import ProgramError
from pimc_isa.flow.forms import Block, Conversion, NormalForm, Takes
from pimc_isa.operands import Weights

__all__ = ["KNOWN", "Proof", "conversions_exact", "flags_of", "full_scale", "guarded_flags", "sliced_dot"]

Array = np.ndarray

#: The forms that the proof and the reference know: everything there is.
KNOWN = Takes.of("step", "ranged", "cell", "refinement", "unit_conversions", "sides", "input_parts", "zero")


@dataclass(frozen=True)
class Proof:
    """Which conversions are proved exact.

    ``exact`` [groups, blocks, n]: all conversions of that output and row block (and of the row block's sum of inputs)
    are. ``proved`` and ``total`` count conversions per position; a guarded one counts once, with its refinement.
    """

    exact: Array
    proved: int
    total: int

    @property
    def holds(self) -> bool:
        """Nothing can round or clip: the flow computes integer dot products."""
        return self.proved == self.total


def full_scale(weights: Weights, input_bits: int, v_max: float, gain: float) -> float:
    """The dot product that the end code of a ranged conversion stands for; 0 for groups without ranged conversions.

    With ``v_max`` 1 and ``gain`` 1 it is the largest one that ``block_rows`` inputs and weights could have.
    """
    most = weights.block_rows * ((1 << input_bits) - 1) * ((1 << sum(weights.slices)) - 1)
    return most * v_max / gain


def conversions_exact(cells: Cells, weights: Weights, form: NormalForm, scale: float = 0.0) -> Proof:
    """Prove for every column whether its conversions are exact for all inputs; ``cells`` may be part of ``weights``.

    ``scale`` is the group's full scale (see ``full_scale``). A ranged conversion is exact if its step is one n-th of a
    unit, n a whole number, and no code clips: then codes are n times the sum, and their product with the step is it. A
    guarded one that does not round is exact where its refinement is, or where no sum reaches an end code. Nothing is
    proved of a form with a part that is not known.
    """
    positive, negative = column_sums(cells.codes, weights)
    exact = np.full(cells.centre.shape, KNOWN(form))
    proved = 0
    for block in form.blocks:
        fits = _block_exact(block, form, cells, (positive, negative), scale) & KNOWN(form)
        proved += int(np.count_nonzero(fits))
        exact = exact & fits
    units, unit_count = _units_exact(cells.codes.shape[1], weights.block_rows, form)
    exact = exact & units.all(axis=1).reshape(1, -1, 1)
    groups = cells.codes.shape[0]
    return Proof(
        exact, proved + groups * int(np.count_nonzero(units)), exact.size * len(form.blocks) + groups * unit_count
    )


def _block_exact(block: Block, form: NormalForm, cells: Cells, sums: tuple[Array, Array], scale: float) -> Array:
    """[groups, blocks, n]: is the block converted exactly?"""
    low, high = _range(block, form, cells, *sums)
    nothing = np.zeros_like(low)
    spans = [(nothing, high), (nothing, -low)] if form.sides else [(low, high)]
    whole = _cells_fit(block, form, *sums)
    if not block.refinement:
        return np.asarray(whole & np.all([_fits(block.conversion, *span, scale) for span in spans], axis=0))
    c = block.conversion
    assert c is not None
    inside = np.all([(a >= c.lo) & (b <= c.hi) & ~_reaches(c, a, b) for a, b in spans], axis=0)
    finer = np.all([_block_exact(b, form, cells, sums, scale) for b in block.refinement], axis=0)
    return np.asarray(whole & (inside | finer)) if c.step == 1 else np.zeros_like(whole)


def _reaches(c: Conversion, low: Array, high: Array) -> Array:
    """Whether sums from ``low`` to ``high`` can give an end code."""
    return np.asarray((high >= c.hi) | ((low <= c.lo) if c.lo in c.ends else False))


def _units_exact(k: int, block_rows: int, form: NormalForm) -> tuple[Array, int]:
    """[blocks, unit conversions]: is the sum of one input slice over the rows of a block converted exactly?"""
    rows = np.array([r.stop - r.start for _, r in row_blocks(k, block_rows)])
    fits = [_fits(c, 0 * rows, rows * largest(form, i)) for i, c in enumerate(form.unit_conversions)]
    table = np.array(fits, np.bool_).reshape(len(fits), len(rows)).T
    return table, table.size


def _fits(conversion: Conversion | None, low: Array, high: Array, scale: float = 0.0) -> Array:
    if conversion is None:
        return np.ones(high.shape, np.bool_)
    codes = 1
    if conversion.ranged:
        step = _step(conversion, scale)
        codes = max(1, round(1 / step)) if step > 0 else 1
        if step != 1.0 / codes or codes > 1 << 16:  # finer steps than any converter has would outgrow float64
            return np.zeros(high.shape, np.bool_)
    elif conversion.step != 1:
        return np.zeros(high.shape, np.bool_)
    return np.asarray((low * codes >= conversion.lo) & (high * codes <= conversion.hi))


def _cells_fit(block: Block, form: NormalForm, positive: Array, negative: Array) -> Array:
    """[groups, blocks, n]: no analog buffer cell of a block rounds or clips."""
    fits = np.ones(positive.shape[:3], np.bool_)
    for i, j in block.pairs if block.cell is not None else ():
        for sums in (positive, negative):
            fits &= _fits(block.cell, 0 * sums[..., j], largest(form, i) * sums[..., j].astype(np.int64))
    return fits


def _step(conversion: Conversion, scale: float) -> float:
    """What one code of a ranged conversion stands for."""
    return scale / conversion.hi


def _range(block: Block, form: NormalForm, cells: Cells, positive: Array, negative: Array) -> tuple[Array, Array]:
    """Smallest and largest value that a block's sum can take, [groups, blocks, n]."""
    low, high = np.zeros(cells.centre.shape, np.int64), np.zeros(cells.centre.shape, np.int64)
    for (i, j), exponent in zip(block.pairs, block.exponents, strict=True):
        most = largest(form, i) << exponent
        up, down = most * positive[..., j].astype(np.int64), most * negative[..., j].astype(np.int64)
        if len(block.pairs) > 1:  # mixed with other columns before the conversion, so with its sign
            flipped = (cells.polarity >> j & 1).astype(np.bool_)
            up, down = np.where(flipped, down, up), np.where(flipped, up, down)
        high += up
        low -= down
    return low, high


def sliced_dot(x: Array, cells: Cells, weights: Weights, form: NormalForm, scale: float = 0.0) -> Array:
    """Dot products as the flow computes them, slice by slice with every conversion applied.

    Raises ProgramError for a form with a part that it does not know.

    ``x`` [positions, groups, k] unsigned integers; ``scale`` is the group's full scale (see ``full_scale``), which must
    be given where conversions are ranged; returns int64 [positions, groups, n]. The sign of a flipped column applies
    after its conversion where a block is one pair, before it where a block mixes several columns; W+ and W- that are
    converted apart (``form.sides``) are subtracted afterwards, and so are codes of the negative part of inputs: where
    parts are driven it is the products of the inputs less ``form.zero``. Ranged codes are
    added over blocks and row blocks, multiplied once by the step in float64, and rounded to the nearest, halves up.
    """
    if not KNOWN(form):
        unknown = ", ".join(sorted(form.shape.parts - KNOWN.parts))
        raise ProgramError(f"weights {weights.name}: nothing here computes flows with '{unknown}'")
    if cells.centre.any() and not form.unit_conversions:
        raise ProgramError(f"weights {weights.name} have a centre, but their flow sums no inputs")
    ranged = next((b.conversion for b in form.blocks if b.conversion is not None and b.conversion.ranged), None)
    if ranged is not None and not scale > 0:
        raise ProgramError(
            f"weights {weights.name}: ranged conversions need a full scale\ngive the group v_max and gain"
        )
    groups, k, n = cells.codes.shape
    y = np.zeros((x.shape[0], groups, n), np.int64)
    codes = np.zeros_like(y)
    for number, rows in row_blocks(k, weights.block_rows):
        slices, apart, signs = _parts(x, cells, weights, form, number, rows)
        for block in form.blocks:
            value = np.zeros_like(y)
            for side, fields in apart:
                value += side * _converted(block, slices, fields, signs, scale)
            value *= form.sign(block.pairs[0][0])
            if block.conversion is not None and block.conversion.ranged:
                codes += value
            else:
                y += value
        for i, conversion in enumerate(form.unit_conversions):
            sums = _convert(slices[i].sum(axis=2), conversion, scale) << form.input_slices[i][0]
            y += form.sign(i) * cells.centre[:, number] * sums[:, :, None]
    if ranged is not None:
        y += np.floor(codes * _step(ranged, scale) + 0.5).astype(np.int64)
    return y


def _converted(block: Block, slices: list[Array], fields: list[Array], signs: list[Array], scale: float) -> Array:
    """One block of one row block: column sums, added, converted, shifted, signed; refined where it is flagged."""
    value = _value(block, slices, fields, signs, scale)
    flags = flags_of(block, value)
    value = value << block.shift
    value = np.asarray(signs[block.pairs[0][1]] * value if len(block.pairs) == 1 else value)
    if flags is None or not flags.any():
        return value
    finer = sum(_converted(b, slices, fields, signs, scale) for b in block.refinement)
    return np.asarray(np.where(flags, finer, value))


def _value(block: Block, slices: list[Array], fields: list[Array], signs: list[Array], scale: float) -> Array:
    """What the conversion of one block of one row block gives."""
    total: Array = np.zeros((), np.int64)
    for (i, j), exponent in zip(block.pairs, block.exponents, strict=True):
        sums = _buffered(slices[i], fields[j], block.cell, scale) << exponent
        total = total + (sums if len(block.pairs) == 1 else signs[j] * sums)
    return _convert(total, block.conversion, scale)


def guarded_flags(x: Array, cells: Cells, weights: Weights, form: NormalForm, scale: float = 0.0) -> Array:
    """How many conversions gave an end code: int32 [blocks of the form, row blocks, positions, groups, n].

    Arguments as for ``sliced_dot``; 2 where W+ and W- both did, always 0 where a block is not guarded.
    """
    height = weights.block_rows
    made = np.zeros((len(form.blocks), -(-x.shape[2] // height), x.shape[0], *cells.centre.shape[::2]), np.int32)
    for number, rows in row_blocks(x.shape[2], height):
        slices, apart, signs = _parts(x, cells, weights, form, number, rows)
        for n, block in enumerate(form.blocks):
            for _, fields in apart if block.refinement else []:
                flags = flags_of(block, _value(block, slices, fields, signs, scale))
                made[n, number] += 0 if flags is None else flags
    return made


def _parts(
    x: Array, cells: Cells, weights: Weights, form: NormalForm, number: int, rows: slice
) -> tuple[list[Array], list[tuple[int, list[Array]]], list[Array]]:
    """Of one row block: input slices, what is converted together with its sign, and the polarity of every slice."""
    slices = driven(x[:, :, rows].astype(np.int64), form)
    both = _fields(cells.codes[:, rows], weights)
    signs = [1 - 2 * (cells.polarity[:, number].astype(np.int64) >> j & 1) for j in range(len(both))]
    if not form.sides:
        return slices, [(1, both)], signs
    return slices, [(1, [np.maximum(f, 0) for f in both]), (-1, [np.maximum(-f, 0) for f in both])], signs


def flags_of(block: Block, value: Array) -> Array | None:
    """Where a guarded block's converted sum is an end code; None where it is not guarded."""
    if not block.refinement or block.conversion is None:
        return None
    return np.isin(value, block.conversion.ends)


def _fields(codes: Array, weights: Weights) -> list[Array]:
    """Signed cell values of every slice, each [groups, rows, n]."""
    magnitude, sign = np.abs(codes.astype(np.int64)), np.sign(codes.astype(np.int64))
    shifts = slice_shifts(weights.slices)
    return [
        (magnitude >> shift & ((1 << width) - 1)) * sign for shift, width in zip(shifts, weights.slices, strict=True)
    ]


def _buffered(x: Array, field: Array, cell: Conversion | None, scale: float) -> Array:
    """Column sums; with buffer cells those of W+ and of W- go through a cell each."""
    if cell is None:
        return _product(x, field)
    positive, negative = (_convert(_product(x, np.maximum(side, 0)), cell, scale) for side in (field, -field))
    return np.asarray(positive - negative)


def _product(x: Array, cells: Array) -> Array:
    """Column sums [positions, groups, n]; float64 holds them exactly and its matrix product is far faster."""
    sums: Array = np.matmul(x.transpose(1, 0, 2).astype(np.float64), cells.astype(np.float64))
    return np.asarray(sums.transpose(1, 0, 2), np.int64)


def _convert(value: Array, conversion: Conversion | None, scale: float) -> Array:
    """Round to the nearest multiple of the step (halves up), then clip; codes where the conversion is ranged."""
    if conversion is None:
        return value
    if conversion.ranged:
        codes = np.floor(value / _step(conversion, scale) + 0.5).astype(np.int64)
    else:
        codes = (value + conversion.step // 2) // conversion.step * conversion.step
    clipped: Array = np.clip(codes, conversion.lo, conversion.hi)
    return clipped
