"""`compare`: import a model once, compile it for every target at equal area, measure each program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pimc.comparison.area import common_area, with_area
from pimc.comparison.fidelity import Fidelity, inputs_for, measure_fidelity
from pimc.comparison.figures import Figures, figures_of
from pimc.comparison.variant import Variant, parse_variants, without_values
from pimc.driver import CompiledProgram, emit
from pimc.ir.graph import Graph
from pimc.passes.manager import run_passes
from pimc.passes.target import TargetError

if TYPE_CHECKING:
    from pimc.frontend import QuantiserOptions

__all__ = ["Comparison", "compare"]

Array = np.ndarray
Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """A network on several targets, each with ``area_mm2`` of tiles. ``data`` says what fidelity was measured on."""

    network: str
    area_mm2: float
    data: str
    targets: tuple[Figures, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "network": self.network,
            "area_mm2": self.area_mm2,
            "data": self.data,
            "targets": [figures.to_dict() for figures in self.targets],
        }


def compare(
    model: Any,
    targets: Sequence[str] = ("isaac",),
    *,
    area_mm2: float | None = None,
    data: Any = None,
    labels: Array | None = None,
    images: int = 4,
    seed: int = 0,
    calibration: Any = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    replication: str | None = None,
    quantiser: QuantiserOptions | None = None,
    epitome: str | Path = "exact",
    progress: Say | None = None,
) -> Comparison:
    """Compare targets (``NAME`` or ``NAME:OPTION=VALUE``) on one network, each with the same area of tiles.

    ``area_mm2``: see `pimc.comparison.area`. Fidelity is measured on ``data`` (and accuracy with ``labels``), else on
    ``images`` synthetic images; 0 images measure none. ``calibration``, ``input_shapes``, ``quantiser`` and ``epitome``
    are as for `pimc.compile`.
    Raises PimcError: for targets or options that do not exist, a network that does not fit the area, unfit data.
    """
    from pimc.frontend import load_model
    from pimc.passes.choose_ranges import needs_calibration

    if area_mm2 is not None and not area_mm2 > 0:
        raise TargetError(f"an area of {area_mm2:g} mm2 holds nothing; give one above 0")
    variants = parse_variants(list(targets), replication=replication)
    if data is None and not images:
        variants = [replace(v, passes=without_values(v.passes)) for v in variants]
    graph = load_model(
        model,
        calibration=calibration,
        input_shapes=input_shapes,
        progress=progress,
        quantiser=quantiser,
        epitome=epitome,
        calibrate=any(needs_calibration(v.target, v.passes) for v in variants),
    )
    area = common_area(graph, variants) if area_mm2 is None else area_mm2
    found = [_measure(graph, variant, area, (data, labels, images, seed), progress) for variant in variants]
    said = "images given" if data is not None else f"synthetic images (uniform random, seed {seed})"
    return Comparison(graph.name, area, said if data is not None or images else "none", tuple(found))


def _measure(graph: Graph, variant: Variant, area: float, what: tuple[Any, Any, int, int], say: Say | None) -> Figures:
    if say:
        say(f"{variant.label}: compiling")
    target = with_area(variant.target, area)
    compiled = emit(run_passes(graph, variant.passes, target), target)
    fidelity = _fidelity(compiled, what, lambda text: say(f"{variant.label}: {text}") if say else None)
    if say:
        say(f"{variant.label}: timing")
    return figures_of(variant.label, compiled, target.tiles, fidelity)


def _fidelity(compiled: CompiledProgram, what: tuple[Any, Any, int, int], say: Say) -> Fidelity | None:
    data, labels, images, seed = what
    if data is None and not images:
        return None
    return measure_fidelity(compiled, inputs_for(compiled, data, images, seed), labels, say)
