"""Checks of rounds: the tables fit what they speak of, and every column that is read sums what its patches want.

The schedule is judged crossbar by crossbar from the tables alone; nothing is taken from who runs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from pimc_isa.check.patches import conflicts
from pimc_isa.limits import beyond
from pimc_isa.operands import Group, Range, Rounds
from pimc_isa.program import Program

__all__ = ["declared_rounds", "group_rounds", "rounds_tensors"]

Array = np.ndarray

OVERWRITE, ADD = 0, 1


def declared_rounds(program: Program) -> Iterator[str]:
    """What is wrong with the declarations, their tables aside."""
    for name, times in Counter(r.name for r in program.rounds).items():
        if times > 1:
            yield f"rounds '{name}' is declared twice"
    for r in program.rounds:
        what, (lo, hi) = f"of rounds '{r.name}'", r.outputs
        yield from filter(None, [beyond("rounds", f"the count {what}", r.count)])
        yield from filter(None, (beyond("channels", f"the inputs or outputs {what}", most) for most in (r.inputs, hi)))
        if min(r.count, r.inputs) < 1 or not 0 <= lo < hi:
            yield f"rounds '{r.name}': count={r.count} inputs={r.inputs} outputs={lo}:{hi}; give at least one of each"


def group_rounds(program: Program, group: Group) -> Iterator[str]:
    """What is wrong with the rounds that a group names, their tables aside."""
    if not group.rounds:
        return
    if group.rounds not in program.schedule:
        yield f"group '{group.name}' works in rounds '{group.rounds}', which the program does not have"
    elif program.weight[group.weights].groups != 1:
        yield (
            f"group '{group.name}': rounds need weights of one convolution group: "
            "give the groups of a convolution as patches"
        )


@dataclass(frozen=True, eq=False)
class _Tables:
    """Rounds as the program's tensors have them."""

    rounds: Rounds
    patches: Array
    rows: Array
    columns: Array
    copies: Array


def rounds_tensors(program: Program, group: Group) -> Iterator[str]:
    """What is wrong with the tables of a group's rounds: sizes and shapes, numbers, then what the rounds do."""
    what = f"group '{group.name}', rounds '{group.rounds}': "
    rounds, weights = program.schedule[group.rounds], program.weight[group.weights]
    across = program.machine.array.columns // weights.columns
    patches = next(iter(np.shape(program.tensors.get(f"{rounds.name}.patches", ()))), 0)
    size = patches * max(weights.n, weights.k * -(-weights.n // across))
    yield from filter(None, [beyond("patches", what + "patches x rows x crossbars side by side", size)])
    shapes = {
        "patches": (patches, 2),
        "rows": (patches, weights.k),
        "columns": (patches, weights.n),
        "copies": (rounds.outputs[1] - rounds.outputs[0],),
    }
    yield from (what + problem for problem in _shapes(program.tensors, rounds, shapes))
    t = _Tables(rounds, *(program.tensors[f"{rounds.name}.{part}"] for part in shapes))
    merged = (problem for patches in _by_round(t) for problem in _merged(t, patches, group, weights.block_rows, across))
    yield from (what + problem for problem in chain(_numbers(t), _acting(t, group), _written(t), _copied(t), merged))


def _shapes(tensors: Mapping[str, Array], rounds: Rounds, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for part, shape in shapes.items():
        name = f"{rounds.name}.{part}"
        if name not in tensors:
            yield f"the program has no tensor '{name}'"
        elif tensors[name].dtype != np.int32 or tensors[name].shape != shape:
            held = f"{tensors[name].dtype} {list(tensors[name].shape)}"
            yield f"tensor '{name}' is {held}, expected int32 {list(shape)}"


def _by_round(t: _Tables) -> list[Array]:
    """Numbers of the patches of each round."""
    order = np.argsort(t.patches[:, 0], kind="stable")
    return np.split(order, np.searchsorted(t.patches[order, 0], np.arange(1, t.rounds.count)))


def _numbers(t: _Tables) -> Iterator[str]:
    """Rounds, modes, inputs and channels that there are; -1 where a table may say none."""
    for what, table, (lo, hi), optional in (
        ("round", t.patches[:, :1], (0, t.rounds.count), False),
        ("mode", t.patches[:, 1:], (OVERWRITE, ADD + 1), False),
        ("input", t.rows, (0, t.rounds.inputs), True),
        ("channel", t.columns, t.rounds.outputs, True),
    ):
        for patch, place in np.argwhere(((table < lo) | (table >= hi)) & ((table != -1) | (not optional))):
            yield f"{what} {table[patch, place]} of patch {patch} is not within {lo}:{hi}"
    lo, hi = t.rounds.outputs
    for channel in np.flatnonzero((t.copies != -1) & ((t.copies < lo) | (t.copies >= hi))):
        yield f"channel {lo + channel} is a copy of channel {t.copies[channel]}, which is not within {lo}:{hi}"


def _acting(t: _Tables, group: Group) -> Iterator[str]:
    """Every round has a patch, and every patch drives rows and reads outputs that the group holds."""
    for number, patches in enumerate(_by_round(t)):
        if not len(patches):
            yield f"round {number} has no patch"
    for what, verb, table, span in (("row", "drives", t.rows, group.k), ("output", "reads", t.columns, group.n)):
        outside = table >= 0
        for patch in np.flatnonzero(~outside.any(axis=1)):
            yield f"patch {patch} {verb} no {what}"
        outside[:, slice(*span)] = False
        for patch, place in np.argwhere(outside):
            yield f"patch {patch} {verb} {what} {place}, the group holds {span[0]}:{span[1]}"


def _written(t: _Tables) -> Iterator[str]:
    """A channel's first round overwrites it, all later ones add to it."""
    first, size = t.rounds.outputs[0], len(t.copies)
    made, modes = np.full(size, -1), np.full(size, -1)
    for number, patches in enumerate(_by_round(t)):
        for patch in patches:
            channels, mode = np.unique(t.columns[patch][t.columns[patch] >= 0]) - first, t.patches[patch, 1]
            for channel in channels[(modes[channels] >= 0) & (modes[channels] != mode)]:
                yield f"round {number} overwrites channel {first + channel} and adds to it (patch {patch})"
            for channel in channels[(made[channels] >= 0) != (mode == ADD)]:
                yield f"patch {patch} of round {number} {_accident(int(mode), first + channel, made[channel])}"
            modes[channels] = mode
        touched = np.unique(t.columns[patches])
        touched = touched[touched >= 0] - first
        made[touched], modes[touched] = number, -1
    for channel in np.flatnonzero((made < 0) & (t.copies < 0)):
        yield f"channel {first + channel} is never written"
    for channel in np.flatnonzero((made >= 0) & (t.copies >= 0)):
        yield f"channel {first + channel} is a copy of channel {t.copies[channel]}, and round {made[channel]} makes it"


def _accident(mode: int, channel: int, before: int) -> str:
    if mode == ADD:
        return f"adds to channel {channel}, which no earlier round makes: let it overwrite"
    return f"overwrites channel {channel}, which round {before} has made: let it add"


def _copied(t: _Tables) -> Iterator[str]:
    """What is copied is no copy."""
    first = t.rounds.outputs[0]
    for channel in np.flatnonzero(t.copies >= 0):
        source = t.copies[channel]
        if t.copies[source - first] >= 0:
            yield f"channel {first + channel} is a copy of channel {source}, which is itself a copy"


def _merged(t: _Tables, patches: Array, group: Group, height: int, across: int) -> Iterator[str]:
    """Patches of one round that disturb each other on a crossbar."""
    for n in _pieces(group.n, across):
        here = patches[(t.columns[patches, slice(*n)] >= 0).any(axis=1)]
        for k in _pieces(group.k, height) if len(here) > 1 else ():
            acting = here[(t.rows[here, slice(*k)] >= 0).any(axis=1)]
            found = conflicts(t.rows[acting, slice(*k)], t.columns[acting, slice(*n)], (k[0], n[0]), acting)
            yield from (f"round {t.patches[here[0], 0]}: {problem}" for problem in found)


def _pieces(span: Range, size: int) -> list[Range]:
    return [(first, min(first + size, span[1])) for first in range(*span, size)]
