"""Random rounds: patches at random places of some weights, merged where that is legal, and what they put together.

What is legal, and which matrix the rounds stand for, is worked out here pair by pair of an input's cell and a channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

from pimc_isa.operands import Group, Range, Rounds, Weights

__all__ = ["Patch", "Plan", "is_legal", "random_plan"]

Array = np.ndarray


@dataclass(frozen=True)
class Patch:
    """Inputs by row and channels by column; ``adds`` to what is there."""

    rows: dict[int, int]
    columns: dict[int, int]
    adds: bool = False


@dataclass
class Plan:
    """Patches of every round, and sources of channels that are copies. ``across``: outputs side by side."""

    weights: Weights
    k: Range
    n: Range
    inputs: int
    outputs: Range
    across: int
    rounds: list[list[Patch]] = field(default_factory=list)
    copies: dict[int, int] = field(default_factory=dict)

    def declared(self, name: str) -> Rounds:
        return Rounds(name, self.inputs, self.outputs, len(self.rounds))

    def tensors(self, name: str, rng: Random) -> dict[str, Array]:
        """The tables, with the patches in any order."""
        listed = [(number, patch) for number, round_ in enumerate(self.rounds) for patch in round_]
        rng.shuffle(listed)
        rows, columns = np.full((len(listed), self.weights.k), -1), np.full((len(listed), self.weights.n), -1)
        for place, (_, patch) in enumerate(listed):
            rows[place, list(patch.rows)] = list(patch.rows.values())
            columns[place, list(patch.columns)] = list(patch.columns.values())
        copies = np.array([self.copies.get(channel, -1) for channel in range(*self.outputs)])
        patches = np.array([(number, int(patch.adds)) for number, patch in listed])
        tables = {"patches": patches, "rows": rows, "columns": columns, "copies": copies}
        return {f"{name}.{part}": table.astype(np.int32) for part, table in tables.items()}

    def matrix(self, w: Array) -> Array:
        """int64 [inputs, outputs] that the rounds stand for, of the weights [k, n]."""
        made = np.zeros((self.inputs, self.outputs[1]), np.int64)
        for round_ in self.rounds:
            for _, row, element, column, channel in sorted(set().union(*(self.cells(p) for p in round_))):
                made[element, channel] += int(w[row, column])
        for channel, source in self.copies.items():
            made[:, channel] = made[:, source]
        return made[:, self.outputs[0] :]

    def cells(self, patch: Patch) -> set[tuple[tuple[int, int], int, int, int, int]]:
        """Crossbar, row, input, column and channel of everything that a patch wants."""
        return {
            (self.crossbar(row, column), row, element, column, channel)
            for row, element in patch.rows.items()
            for column, channel in patch.columns.items()
        }

    def crossbar(self, row: int, column: int) -> tuple[int, int]:
        return row // self.weights.block_rows, (column - self.n[0]) // self.across


def is_legal(plan: Plan, round_: Sequence[Patch]) -> bool:
    """Whether every column that is read sums exactly what is wanted, of every crossbar."""
    wanted = set().union(*(plan.cells(patch) for patch in round_))
    lines = {(crossbar, row, element) for crossbar, row, element, _, _ in wanted}
    goes = {(crossbar, column, channel) for crossbar, _, _, column, channel in wanted}
    if len({line[:2] for line in lines}) < len(lines) or len({way[:2] for way in goes}) < len(goes):
        return False
    summed = {(a, row, e, column, channel) for a, row, e in lines for b, column, channel in goes if a == b}
    return summed == wanted


def random_plan(rng: Random, sizes: Plan, merge: float = 0.7) -> Plan:
    """Patches of blocks of channels by blocks of inputs; the last ones short, some channels copies of others."""
    plan = replace(sizes, rounds=[], copies={})
    channels = list(range(*plan.outputs))
    rng.shuffle(channels)
    made = channels[: rng.randint(1, len(channels))]
    width, depth = (rng.randint(1, high - low) for low, high in (plan.n, plan.k))
    for first in range(0, len(made), width):
        _block(rng, plan, made[first : first + width], depth, merge)
    plan.copies.update({channel: rng.choice(made) for channel in set(channels) - set(made)})
    return plan


def _block(rng: Random, plan: Plan, channels: list[int], depth: int, merge: float) -> None:
    """All patches of some channels, each put into a round that is there or one of its own."""
    places = rng.sample(range(*plan.n), len(channels)) if rng.random() < 0.4 else _run(rng, plan.n, len(channels))
    for begin in range(0, plan.inputs, depth):
        some = list(range(begin, min(begin + depth, plan.inputs)))
        if rng.random() < 0.3:
            rng.shuffle(some)
        rows = rng.sample(range(*plan.k), len(some)) if rng.random() < 0.4 else _run(rng, plan.k, len(some))
        if rng.random() < 0.5:
            places = _run(rng, plan.n, len(channels))
        patch = Patch(dict(zip(rows, some, strict=True)), dict(zip(places, channels, strict=True)))
        _put(rng, plan, patch, set(channels), merge)


def _run(rng: Random, span: Range, length: int) -> list[int]:
    first = rng.randint(span[0], span[1] - length)
    return list(range(first, first + length))


def _put(rng: Random, plan: Plan, patch: Patch, channels: set[int], merge: float) -> None:
    """Into a random round that may hold it; it adds if an earlier round has made its channels."""
    made = [n for n, round_ in enumerate(plan.rounds) if any(channels & set(p.columns.values()) for p in round_)]
    for number in rng.sample(range(len(plan.rounds)), len(plan.rounds)):
        tried = replace(patch, adds=bool(made) and number > made[0])
        if rng.random() < merge and (not made or number >= made[0]) and is_legal(plan, [*plan.rounds[number], tried]):
            plan.rounds[number].append(tried)
            return
    plan.rounds.append([replace(patch, adds=bool(made))])


def group_of(plan: Plan, name: str, flow: str, copies: int, scale: tuple[float, float]) -> Group:
    """A group that works in the plan's rounds."""
    return Group("g", plan.weights.name, flow, plan.k, plan.n, (0, 1), copies, *scale, rounds=name)
