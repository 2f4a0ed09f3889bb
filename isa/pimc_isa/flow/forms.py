"""The normal form of flows: what any dataflow computes, whatever happens in between.

With ``p_ij`` the column sum of input slice i and weight slice j, every flow computes

    y = sum over blocks B of  2**shift_B * C_B( sum over (i, j) in B of 2**a_ij p_ij )

where the blocks partition the grid of pairs and C_B is one conversion.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bits", "Block", "Conversion", "NormalForm", "Seen"]

Bits = tuple[int, int]
"""A range of bits [lo, hi)."""


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


@dataclass(frozen=True)
class Seen:
    """What one conversion sees: input bits by input slice, and the cell that each sample went through.

    ``kind``: 'samples', each by itself; 'held', added in analog; 'buffered', added in columns of a buffer.
    """

    kind: str
    bits: tuple[Bits, ...]
    cell: Conversion | None = None


@dataclass(frozen=True)
class Block:
    """One block of (input slice i, weight slice j) pairs summed in analog before one conversion.

    The block's sum is ``sum 2**exponents[n] * p[pairs[n]]``; the converted value counts ``2**shift`` times. ``cell``
    is what each column sum goes through before it is added (an analog buffer cell).
    """

    pairs: tuple[tuple[int, int], ...]
    exponents: tuple[int, ...]
    shift: int
    conversion: Conversion | None
    cell: Conversion | None = None


@dataclass(frozen=True)
class NormalForm:
    """What a flow computes: input slices as bit ranges [lo, hi), weight slices as bit positions, and the blocks.

    ``unit_conversions``: how the sum of each input slice is converted (unit column; ``None``: counted in digital);
    empty if the flow sums no inputs, and then only weights with centre 0 can use it. ``sides``: W+ and W- columns go
    through conversions of their own, and their converted blocks are subtracted.
    """

    input_slices: tuple[tuple[int, int], ...]
    weight_shifts: tuple[int, ...]
    blocks: tuple[Block, ...]
    unit_conversions: tuple[Conversion | None, ...] = ()
    sides: bool = False
