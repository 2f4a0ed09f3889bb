"""Which layers' weights get how many bits: the least noise of the network under a budget of crossbars or of mean bits.

How much a layer bears is measured: the noise of the network's outputs when its weights alone are narrowed (those of an
epitome by their cells, so that each counts as often as it is used), relative to the outputs of the 8-bit model on
calibration images. Noise of several layers is taken to add up; how far it does is measured of the choice. EPIM has HAWQ
choose mixed widths (recalled), whose sensitivity needs gradients; this one needs none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pimc.analysis.budget import Option, least_noise
from pimc.epitomes.codes import FEWEST, MOST
from pimc.frontend.trials import WidthTrials
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import Pass
from pimc.passes.manager import run_passes
from pimc.passes.target import Target
from pimc_isa.errors import PimcError

__all__ = ["WIDTHS", "LayerWidth", "WidthChoice", "arrays_by_layer", "cells_by_layer", "choose_widths"]

Say = Callable[[str], None]

WIDTHS = (8, 7, 6, 5, 4, 3)
"""Bits that are tried."""


@dataclass(frozen=True)
class LayerWidth:
    """What a layer (or several with the same weights) got.

    ``cost``: crossbars, or bits times stored weights. ``noise``: of the outputs when it alone is narrowed, over their
    power.
    """

    layers: tuple[str, ...]
    bits: int
    cells: int
    cost: int
    noise: float


@dataclass(frozen=True)
class WidthChoice:
    """The widths of all layers, what they cost of ``budget``, the noise that adds up and that was measured of all."""

    layers: tuple[LayerWidth, ...]
    budget: int
    noise: float
    measured: float

    @property
    def cost(self) -> int:
        """Of all layers."""
        return sum(layer.cost for layer in self.layers)

    @property
    def mean_bits(self) -> float:
        """Of a stored weight."""
        cells = sum(layer.cells for layer in self.layers)
        return sum(layer.bits * layer.cells for layer in self.layers) / max(1, cells)

    def plan(self) -> str:
        """As the section of a plan file."""
        named = sorted((name, layer.bits) for layer in self.layers for name in layer.layers)
        return "".join(f"[quantise.{json.dumps(name)}]\nweight_bits = {bits}\n\n" for name, bits in named)


def choose_widths(
    trials: WidthTrials,
    target: Target,
    passes: Sequence[Pass],
    *,
    arrays: int | None = None,
    mean_bits: float | None = None,
    widths: Sequence[int] = WIDTHS,
    images: int = 16,
    progress: Say | None = None,
) -> WidthChoice:
    """The bits of every layer that make the least noise with at most so many ``arrays``, or so many bits on average.

    ``arrays``: crossbars of one copy on the ``target``. Noise is measured on the first ``images`` of the calibration
    data. A width that costs a layer as much as a wider one is not tried. Raises PimcError for no budget or one that
    nothing fits, for widths that there are not, and for a target without flows for them.
    """
    if (arrays is None) == (mean_bits is None):
        raise PimcError("bits of weights are chosen for a budget\ngive a number of crossbars or of mean bits, not both")
    if not widths or not all(FEWEST <= bits <= MOST for bits in widths):
        given = ", ".join(map(str, widths)) or "none"
        raise PimcError(f"weights of {given} bits cannot be tried\ngive some of {FEWEST} to {MOST}, the sign included")
    say = progress or (lambda text: None)
    cells = cells_by_layer(trials, trials.graph({}))
    costs: dict[int, Mapping[str, int]] = {}
    for bits in sorted(set(widths)):
        say(f"costs of {bits} bits")
        by_bits = {name: bits * n for name, n in cells.items()}
        costs[bits] = by_bits if arrays is None else arrays_by_layer(trials, bits, target, passes)
    budget = arrays if arrays is not None else int((mean_bits or 0) * sum(cells.values()))
    return _Search(trials, cells, costs, images, say).choice(budget)


def cells_by_layer(trials: WidthTrials, graph: Graph) -> dict[str, int]:
    """Stored weights by the first layer of the same weights: those of an epitome, where there is one."""
    return _by_layer(trials, graph, lambda op: graph.constants[op.epitome or op.weights].size, of_all=False)


def arrays_by_layer(trials: WidthTrials, bits: int, target: Target, passes: Sequence[Pass]) -> dict[str, int]:
    """Crossbars of one copy, with weights of so many bits in all layers; layers of the same weights together."""
    last = next(n for n, step in enumerate(passes) if step.to_stage == "mapped")
    done = run_passes(trials.graph(dict.fromkeys(trials.layers, bits)), passes[: last + 1], target)
    return _by_layer(trials, done, lambda op: op.mapping.arrays if op.mapping is not None else 0, of_all=True)


def _by_layer(trials: WidthTrials, graph: Graph, size: Callable[[Conv], int], *, of_all: bool) -> dict[str, int]:
    """Sizes of a graph's ops, added up by layer; of layers with the same weights those of all, or of the first."""
    first = {name: key for key, names in trials.layers.items() for name in (names if of_all else names[:1])}
    found = dict.fromkeys(trials.layers, 0)
    for op in graph.of(Conv):
        if (name := op.node.removesuffix("_quant")) in first:
            found[first[name]] += size(op)
    return found


@dataclass(frozen=True)
class _Search:
    """Layers with what each width costs."""

    trials: WidthTrials
    cells: Mapping[str, int]
    costs: Mapping[int, Mapping[str, int]]
    images: int
    say: Say

    def choice(self, budget: int) -> WidthChoice:
        """Measure, choose, and measure the choice."""
        usual = self.trials.outputs({}, self.images)
        layers = {name: self._widths(name) for name, n in self.cells.items() if n}
        options = []
        for number, (name, widths) in enumerate(layers.items(), 1):
            self.say(f"layer {number} of {len(layers)}")
            noises = [self._noise({name: bits}, usual) for bits in widths]
            options.append([Option(self.costs[b][name], n) for b, n in zip(widths, noises, strict=True)])
        picks = least_noise(options, budget)
        made = []
        for (name, widths), tried, pick in zip(layers.items(), options, picks, strict=True):
            names = tuple(each.lstrip("/") for each in self.trials.layers[name])
            made.append(LayerWidth(names, widths[pick], self.cells[name], tried[pick].cost, tried[pick].noise))
        self.say("all layers")
        chosen = {name: widths[pick] for (name, widths), pick in zip(layers.items(), picks, strict=True)}
        total = sum(layer.noise for layer in made)
        return WidthChoice(tuple(made), budget, total, self._noise(chosen, usual))

    def _widths(self, name: str) -> list[int]:
        """The widths that cost less than all wider ones."""
        found: list[int] = []
        for bits, cost in sorted(self.costs.items(), reverse=True):
            if not found or cost[name] < self.costs[found[-1]][name]:
                found.append(bits)
        return found

    def _noise(self, bits: Mapping[str, int], usual: Sequence[np.ndarray]) -> float:
        """Power of what differs over that of the outputs around their mean, of all outputs together."""
        narrowed = {name: b for name, b in bits.items() if b < MOST}
        made = self.trials.outputs(narrowed, self.images) if narrowed else usual
        powers = ((np.square(a - b).sum(), np.square(b - b.mean()).sum()) for a, b in zip(made, usual, strict=True))
        return float(sum(error / power for error, power in powers if power))
