"""Codes of weights: whole numbers of some bits, symmetric around 0, so that sign and magnitude hold them.

Source: MNSIM 2.0's scheme as the EPIM notes have it (sections 3 and 7.2): b bits are a sign and a magnitude of b - 1
bits, which takes ceil((b - 1) / cell bits) slices, each in a cell for positive and a cell for negative weights.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

__all__ = ["FEWEST", "MOST", "largest_code", "least_bits"]

FEWEST, MOST = 2, 8
"""Bits that weights may have."""


def largest_code(bits: int) -> int:
    """The largest code of so many bits; the smallest is its negative."""
    return (1 << (bits - 1)) - 1


def least_bits(codes: npt.NDArray[Any]) -> int:
    """The fewest bits whose codes these are: 9 where int8 codes hold -128."""
    top = max(-int(codes.min(initial=0)), int(codes.max(initial=0)))
    return max(FEWEST, top.bit_length() + 1)
