"""What micro-operations add to the normal form of their flow: codes, sums of inputs, what is done to totals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pimc_isa.flow.forms import Bits, Conversion, InputSlice

if TYPE_CHECKING:
    from pimc_isa.flow.define import MicroOp
    from pimc_isa.flow.microops import Convert

__all__ = ["Addition", "Codes", "Corrected", "InputSum", "Scaled"]


@dataclass(frozen=True)
class Codes:
    """The codes of ``convert`` count, the lowest of them ``2**left`` times; ``op`` adds them."""

    op: MicroOp
    convert: Convert
    left: int = 0


@dataclass(frozen=True)
class InputSum:
    """The sum of some input bits is known: converted, or counted in digital (``convert`` None)."""

    op: MicroOp
    bits: Bits
    convert: Convert | None = None
    left: int = 0
    part: str = ""

    @property
    def slice(self) -> InputSlice:
        """The input slice that is summed."""
        return (*self.bits, self.part)

    @property
    def conversion(self) -> Conversion | None:
        """How the sum is converted."""
        return None if self.convert is None else self.convert.conversion


@dataclass(frozen=True)
class Corrected:
    """Centre times sum of inputs is added to every partial sum."""

    op: MicroOp


@dataclass(frozen=True)
class Scaled:
    """Totals of ranged codes are multiplied by what one code stands for."""

    op: MicroOp


Addition = Codes | InputSum | Corrected | Scaled
