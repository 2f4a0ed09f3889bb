"""The normal form of flows: what any dataflow computes, whatever happens in between.

With ``p_ij`` the column sum of input slice i and weight slice j, every flow computes

    y = sum over blocks B of  2**shift_B * C_B( sum over (i, j) in B of 2**a_ij p_ij )

where the blocks partition the grid of pairs and C_B is one conversion. A *guarded* block is replaced by its refinement,
blocks that cover the same pairs, where its conversion gives an end code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

__all__ = ["PARTS", "Bits", "Block", "Conversion", "InputSlice", "NormalForm", "Seen", "Shape", "Takes"]

Bits = tuple[int, int]
"""A range of bits [lo, hi)."""

InputSlice = tuple[int, int, str]
"""A range of bits [lo, hi) of a part of the inputs."""

PARTS = {"positive": 1, "negative": -1}
"""Parts of an input less its zero point, each in a pass of its own, and how often its codes count."""


@dataclass(frozen=True)
class Conversion:
    """One conversion of a block's sum: round to multiples of ``step``, clip to ``lo``..``hi`` (in units of 1).

    Rounding is to the nearest multiple, halves up. A ``ranged`` conversion's ``lo`` and ``hi`` are codes; what a code
    stands for follows from the group (``v_max``, ``gain``).
    """

    lo: int
    hi: int
    step: int = 1
    ranged: bool = False

    @property
    def ends(self) -> tuple[int, ...]:
        """The end codes, behind which values are lost: of an unsigned conversion the upper one alone."""
        return (self.lo, self.hi) if self.lo < 0 else (self.hi,)


@dataclass(frozen=True)
class Seen:
    """What one conversion sees: input bits by input slice, and the cell that each sample went through.

    ``kind``: 'samples', each by itself; 'held', added in analog; 'buffered', added in columns of a buffer. ``part`` of
    the inputs whose bits these are; '': of the inputs as they are.
    """

    kind: str
    bits: tuple[Bits, ...]
    cell: Conversion | None = None
    part: str = ""

    @property
    def slices(self) -> tuple[InputSlice, ...]:
        """The input slices."""
        return tuple((lo, hi, self.part) for lo, hi in self.bits)


@dataclass(frozen=True)
class Block:
    """One block of (input slice i, weight slice j) pairs summed in analog before one conversion.

    The block's sum is ``sum 2**exponents[n] * p[pairs[n]]``; the converted value counts ``2**shift`` times. ``cell``
    is what each column sum goes through before it is added (an analog buffer cell). With a ``refinement`` the block is
    guarded: where the conversion gives an end code, the sum of these blocks counts instead.
    """

    pairs: tuple[tuple[int, int], ...]
    exponents: tuple[int, ...]
    shift: int
    conversion: Conversion | None
    cell: Conversion | None = None
    refinement: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Shape:
    """What a form is made of.

    ``grids``: how its blocks cut the grid: 'singles' (a pair each), 'whole' (one block sees every pair), both (a grid
    of one pair) or neither. ``parts``: the names of all its fields that are not at their defaults, whoever added them.
    """

    grids: frozenset[str]
    parts: frozenset[str]


@dataclass(frozen=True)
class Takes:
    """Shapes that a kernel knows: ``parts`` that may occur, and one of ``grids`` (empty: any)."""

    parts: frozenset[str]
    grids: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *parts: str, grids: tuple[str, ...] = ()) -> Takes:
        """Parts by name."""
        return cls(frozenset(parts), frozenset(grids))

    def __call__(self, form: NormalForm) -> bool:
        """Whether it knows everything that a form is made of."""
        shape = form.shape
        return shape.parts <= self.parts and (not self.grids or bool(shape.grids & self.grids))


@dataclass(frozen=True)
class NormalForm:
    """What a flow computes: input slices as bit ranges [lo, hi), weight slices as bit positions, and the blocks.

    The slices that blocks see come first, then those that only refinements see. ``unit_conversions``: how the sum of
    each input slice that blocks see is converted (unit column; ``None``: counted in digital); empty if the flow sums no
    inputs, and then only weights with centre 0 can use it. ``sides``: W+ and W- columns go through conversions of their
    own, and their converted blocks are subtracted. ``input_parts``: of which part of the inputs less their zero point
    each slice is (see `PARTS`); empty: inputs are driven as they are. A block sees one part; what it gives counts with
    the part's sign. ``zero``: the zero point, which a group has and no flow.
    """

    input_slices: tuple[tuple[int, int], ...]
    weight_shifts: tuple[int, ...]
    blocks: tuple[Block, ...]
    unit_conversions: tuple[Conversion | None, ...] = ()
    sides: bool = False
    input_parts: tuple[str, ...] = ()
    zero: int = 0

    def at(self, zero: int) -> NormalForm:
        """The form in a group whose inputs have this zero point."""
        return dataclasses.replace(self, zero=zero) if zero else self

    def part(self, i: int) -> str:
        """The part of the inputs that slice ``i`` is of; '': the inputs as they are."""
        return self.input_parts[i] if self.input_parts else ""

    def sign(self, i: int) -> int:
        """How often codes of input slice ``i`` count: once, or of the negative part -1 times."""
        return PARTS.get(self.part(i), 1)

    @cached_property
    def shape(self) -> Shape:
        """What it is made of."""
        grids = {name for name, holds in (("singles", self._singles()), ("whole", self._whole())) if holds}
        return Shape(frozenset(grids), frozenset(_parts(self)))

    def _singles(self) -> bool:
        return all(len(b.pairs) == 1 and b.exponents == (0,) for b in self.blocks)

    def _whole(self) -> bool:
        """One block with all pairs at their places."""
        if len(self.blocks) != 1 or self.blocks[0].shift:
            return False
        block = self.blocks[0]
        grid = {(i, j) for i in range(len(self.input_slices)) for j in range(len(self.weight_shifts))}
        places = tuple(self.input_slices[i][0] + self.weight_shifts[j] for i, j in block.pairs)
        return set(block.pairs) == grid and places == block.exponents


def _parts(value: Any) -> Iterator[str]:
    """Names of the fields that are not at their defaults, in a dataclass and in all that it holds."""
    if isinstance(value, tuple):
        for item in value:
            yield from _parts(item)
    if not dataclasses.is_dataclass(value):
        return
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        if field.default is not dataclasses.MISSING and held != field.default:
            yield field.name
        yield from _parts(held)
