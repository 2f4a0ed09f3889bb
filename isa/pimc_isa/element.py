"""Element types of buffers: how many bits an element takes, how engines store it, and which numbers it can be.

A type is declared once; memory, rings, links and views ask it. A package may declare further ones (entry point
``pimc.extensions``): they are known by name in every program once that package is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pimc_isa.errors import ProgramError

__all__ = ["ELEMENTS", "I32", "U8", "Element", "element", "element_problem"]

ELEMENTS: dict[str, Element] = {}
"""Element types by name."""


@dataclass(frozen=True)
class Element:
    """A type of elements: ``bits`` in memory and on links; engines hold it as ``storage``.

    ``lo`` and ``hi``: the numbers it can be. ``offsets``: what a view may subtract (128 where an ONNX tensor is int8
    and the buffer holds unsigned numbers). Raises ProgramError for a name that is taken.
    """

    name: str
    bits: int
    storage: type[np.generic]
    lo: int
    hi: int
    offsets: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        """Enter the table of types."""
        info = np.iinfo(self.storage)  # type: ignore[type-var]
        if not (0 < self.bits <= info.bits and info.min <= self.lo <= self.hi <= info.max):
            raise ProgramError(f"element type {self.name}: {self.bits} bits from {self.lo} to {self.hi} do not fit")
        if ELEMENTS.setdefault(self.name, self) != self:
            raise ProgramError(f"element type {self.name} declared twice")

    def nbytes(self, elements: int) -> int:
        """Bytes that so many elements take, packed."""
        return -(-elements * self.bits // 8)

    @property
    def entries(self) -> int:
        """Entries of a table over all its numbers."""
        return self.hi - self.lo + 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """As engines hold it."""
        return np.dtype(self.storage)


U8 = Element("u8", 8, np.uint8, 0, 255, offsets=(0, 128))
I32 = Element("i32", 32, np.int32, -(1 << 31), (1 << 31) - 1)


def element(name: str) -> Element:
    """Return the type of that name. Raises ProgramError."""
    if name not in ELEMENTS:
        raise ProgramError(element_problem(name))
    return ELEMENTS[name]


def element_problem(name: str) -> str:
    """'' or, if there is no such type, a sentence that says so."""
    known = list(ELEMENTS)
    return "" if name in ELEMENTS else f"there is no element type '{name}'; there are {', '.join(known)}"
