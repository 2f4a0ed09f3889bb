"""Checks of patches that act on one crossbar in one round: what each column sums must be what its patches want."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["conflicts"]

Array = np.ndarray


def conflicts(rows: Array, columns: Array, first: tuple[int, int], numbers: Array) -> Iterator[str]:
    """What is wrong with patches ``numbers`` of one round that all drive rows of one crossbar and read outputs there.

    ``rows`` [patches, rows]: the inputs on its word lines; ``columns`` [patches, outputs]: the channels to which its
    outputs go; -1 for none. ``first``: the crossbar's first row and output.
    """
    if len(numbers) < 2:
        return
    for row, a, b in _differences(rows):
        inputs = f"input {rows[a, row]} (patch {numbers[a]}) and input {rows[b, row]} (patch {numbers[b]})"
        yield f"row {first[0] + row} needs {inputs}"
    for column, a, b in _differences(columns):
        goes = f"channel {columns[a, column]} (patch {numbers[a]}) and to channel {columns[b, column]}"
        yield f"output {first[1] + column} goes to {goes} (patch {numbers[b]})"
    for column, row in np.argwhere(_polluted(rows >= 0, columns >= 0)):
        reader, driver = numbers[np.argmax(columns[:, column] >= 0)], numbers[np.argmax(rows[:, row] >= 0)]
        yield (
            f"row {first[0] + row} of patch {driver} pollutes output {first[1] + column}, which patch {reader} reads: "
            "put them into different rounds"
        )


def _differences(table: Array) -> Iterator[tuple[int, int, int]]:
    """Places for which two patches want different things, and these two."""
    most = table.max(axis=0)
    other: Array = (table >= 0) & (table != most)
    for place in np.flatnonzero(other.any(axis=0)):
        yield int(place), int(np.argmax(other[:, place])), int(np.argmax(table[:, place] == most[place]))


def _polluted(driven: Array, read: Array) -> Array:
    """[outputs, rows]: outputs that are read while a row is driven that none of those who read them drives."""
    wanted = read.T.astype(np.float32) @ driven.astype(np.float32) > 0
    return np.logical_and.outer(read.any(axis=0), driven.any(axis=0)) & ~wanted
