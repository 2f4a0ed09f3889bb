"""What a field of an op may hold, said where the field is declared; the verifier and the text form read it here."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from pimc.epitomes.codes import FEWEST, MOST

__all__ = [
    "ANY",
    "NAMED",
    "Constant",
    "Spec",
    "constant",
    "is_constant",
    "limit",
    "optional",
    "scale",
    "specs_of",
    "width",
    "zero_point",
]

_KEY = "spec"

ANY = -1
"""In the shape of a constant: any number."""


class Spec(ABC):
    """A condition on the value of a field."""

    @abstractmethod
    def problems(self, op: Any, name: str, value: Any) -> Iterator[str]:
        """Yield what is wrong with ``value`` of the field ``name`` of ``op``."""


@dataclass(frozen=True)
class Constant(Spec):
    """The field names a constant of the graph: of ``dtype``, with one of ``shapes`` or one number per channel.

    An ``optional`` one may be None.
    """

    dtype: type | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    per_channel: bool = False
    optional: bool = False

    def problems(self, op: Any, name: str, value: Any) -> Iterator[str]:
        """A name alone is never wrong; see `array_problems`."""
        yield from ()

    def array_problems(self, op: Any, name: str, array: np.ndarray) -> Iterator[str]:
        """Yield what is wrong with the constant ``name`` of ``op``."""
        if self.dtype is not None and array.dtype != np.dtype(self.dtype):
            yield f"@{name} is {array.dtype}, not {np.dtype(self.dtype)}"
        shapes = self.shapes
        if self.per_channel:
            shapes = (op.type.shape[2] if op.type else 0,), (1,)
        if shapes and not any(_fits(array.shape, shape) for shape in shapes):
            yield f"@{name} has shape {array.shape}, not {' or '.join(map(str, dict.fromkeys(shapes)))}"


def _fits(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(found) == len(shape) and all(wanted in (ANY, n) for n, wanted in zip(found, shape, strict=True))


@dataclass(frozen=True)
class _Code(Spec):
    """A number of 8 bits; ``above`` names a field that it must not be below."""

    above: str = ""

    def problems(self, op: Any, name: str, value: Any) -> Iterator[str]:
        if not 0 <= value <= 255:
            yield f"{name}={value} is outside 0..255"
        if self.above and getattr(op, self.above) > value:
            yield f"{self.above} is above {name}"


@dataclass(frozen=True)
class _Scale(Spec):
    """A positive number."""

    def problems(self, op: Any, name: str, value: Any) -> Iterator[str]:
        if not (math.isfinite(value) and value > 0):
            yield f"{name}={value} is not a positive number"


@dataclass(frozen=True)
class _Width(Spec):
    """A number of bits of weights, or None."""

    def problems(self, op: Any, name: str, value: Any) -> Iterator[str]:
        if value is not None and not FEWEST <= value <= MOST:
            yield f"{name}={value} is outside {FEWEST}..{MOST}"


NAMED = {_KEY: Constant()}
"""Metadata of a plain dataclass's field with the name of a constant."""


def constant(dtype: type | None = None, *shapes: tuple[int, ...], per_channel: bool = False) -> Any:
    """Declare a field with the name of a constant; ``shapes`` are those it may have (none: any)."""
    return dataclasses.field(metadata={_KEY: Constant(dtype, shapes, per_channel)})


def optional(dtype: type, *shapes: tuple[int, ...], default: None) -> Any:
    """Declare a field with the name of a constant, or with None."""
    return dataclasses.field(default=default, metadata={_KEY: Constant(dtype, shapes, optional=True)})


def zero_point(*, default: int | None = None) -> Any:
    """Declare a field with a zero point."""
    return _field(_Code(), default)


def limit(*, default: int, above: str = "") -> Any:
    """Declare a field with an end of the range of results, which is not below the field ``above``."""
    return _field(_Code(above), default)


def scale() -> Any:
    """Declare a field with the scale of a tensor."""
    return _field(_Scale(), None)


def width(*, default: None) -> Any:
    """Declare a field with the bits of weights' codes, or with None."""
    return dataclasses.field(default=default, metadata={_KEY: _Width()})


def _field(spec: Spec, default: Any) -> Any:
    value = dataclasses.MISSING if default is None else default
    return dataclasses.field(default=value, metadata={_KEY: spec})


def specs_of(cls: Any) -> dict[str, Spec]:
    """Return the conditions on a dataclass's fields, by name."""
    return _specs_of(cls)


@cache
def _specs_of(cls: Any) -> dict[str, Spec]:
    return {f.name: f.metadata[_KEY] for f in dataclasses.fields(cls) if _KEY in f.metadata}


def is_constant(cls: type, name: str) -> bool:
    """Whether the field ``name`` of a dataclass names a constant."""
    return isinstance(specs_of(cls).get(name), Constant)
