"""Names of constants that an op and its decisions refer to, read off their declarations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from pimc.ir.ops import Op
from pimc.ir.ops.specs import is_constant

__all__ = ["constants_of"]


def constants_of(op: Op) -> list[str]:
    """Names of the constants an op refers to, in field order; also those of its decisions."""
    return list(_walk(op))


def _walk(value: Any) -> Iterator[str]:
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if is_constant(type(value), field.name):
            if item is not None:
                yield item
        elif dataclasses.is_dataclass(item):
            yield from _walk(item)
