"""Facts about ops' fields that their Python types do not say: which strings name constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from pimc.ir.ops import Op

__all__ = ["CONSTANT_FIELDS", "constants_of"]

#: Fields of ops and of their decisions that hold the name of a constant of the graph.
CONSTANT_FIELDS = frozenset({"weights", "multiplier", "bias", "table", "model", "codes", "polarity", "centre"})


def constants_of(op: Op) -> list[str]:
    """Names of the constants an op refers to, in field order; also those of its decisions."""
    return list(_walk(op))


def _walk(value: Any) -> Iterator[str]:
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if field.name in CONSTANT_FIELDS and isinstance(item, str):
            yield item
        elif dataclasses.is_dataclass(item):
            yield from _walk(item)
