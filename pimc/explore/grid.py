"""Grids of design points: ``N=32,64,128 D=1,2,4`` to the points of their product."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from pimc_isa.errors import PimcError

__all__ = ["ExploreError", "Point", "name_of", "parse_grid", "points_of"]

#: Values by parameter, in the order of the target's parameters.
Point = tuple[tuple[str, int], ...]


class ExploreError(PimcError):
    """A grid that cannot be read, a target without a design space, a point that cannot be built."""


def parse_grid(texts: Iterable[str], parameters: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Read ``NAME=VALUE,VALUE...`` texts; parameters that none names keep the one value given. Raises ExploreError."""
    grid: dict[str, tuple[int, ...]] = {name: (value,) for name, value in parameters.items()}
    seen: set[str] = set()
    for text in texts:
        name, equals, values = text.partition("=")
        if name not in parameters or not equals:
            known = ", ".join(parameters)
            raise ExploreError(f"--grid {text!r}: write PARAMETER=VALUE,VALUE...; the parameters are {known}")
        if name in seen:
            raise ExploreError(f"--grid: {name} is given twice")
        seen.add(name)
        grid[name] = _values(text, values)
    return grid


def _values(text: str, values: str) -> tuple[int, ...]:
    try:
        numbers = [int(value) for value in values.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise ExploreError(f"--grid {text!r}: the values must be whole numbers of at least 1, as in N=32,64,128")
    return tuple(dict.fromkeys(numbers))


def points_of(grid: Mapping[str, Sequence[int]]) -> list[Point]:
    """Return the product of a grid; the last parameter varies fastest."""
    return [tuple(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def name_of(point: Point, hidden: Iterable[str] = ()) -> str:
    """``N128-D4-A4-S64``: the paper's name of a point, without the ``hidden`` parameters."""
    return "-".join(f"{name}{value}" for name, value in point if name not in set(hidden))
