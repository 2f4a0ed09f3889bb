"""`explore`: points of a grid scored by their peak, by a network's program at equal area, under other assumptions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pimc.explore.design import find_design
from pimc.explore.evaluate import NetworkScore, PeakScore, PointTask, least_area, network_score, peak_score
from pimc.explore.grid import ExploreError, Point, name_of, parse_grid, points_of
from pimc.explore.pool import Pool, pool

__all__ = ["Exploration", "Scored", "explore"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Scored:
    """A design point and how it scores; ``network`` is ``None`` where no network was compiled."""

    point: Point
    peak: PeakScore
    network: NetworkScore | None = None


@dataclass(frozen=True)
class Exploration:
    """All points in the order of the grid.

    ``published`` is the point that the target's own machine file describes. ``best_under``: for every assumption and
    option other than the default, the best point by peak and its GOPS/s/mm2. ``varied`` are the parameters with more
    than one value.
    """

    target: str
    network: str
    area_mm2: float
    published: Point
    varied: tuple[str, ...]
    points: tuple[Scored, ...]
    best_under: Mapping[tuple[str, str], tuple[Point, float]]
    meanings: Mapping[tuple[str, str], str]

    @property
    def best(self) -> Scored:
        """The best point by peak; the first in the grid's order among equals."""
        return max(self.points, key=lambda s: s.peak.gops_per_mm2)

    @property
    def best_by_network(self) -> Scored | None:
        """The point on which the network is fastest, ``None`` where none was compiled."""
        scored = [s for s in self.points if s.network is not None and not s.network.error]
        return max(scored, key=lambda s: s.network.images_per_second if s.network else 0.0, default=None)

    def name(self, point: Point) -> str:
        """A point's name: the paper's, with further parameters where the grid varies them."""
        return name_of(point, [n for n, _ in point if n == "M" and n not in self.varied])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        by_network = self.best_by_network
        return {
            "target": self.target,
            "network": self.network,
            "area_mm2": self.area_mm2,
            "best": self.name(self.best.point),
            "best_by_network": self.name(by_network.point) if by_network else None,
            "published": self.name(self.published),
            "best_under": [
                {"assumption": a, "option": o, "best": self.name(point), "gops_per_mm2": peak}
                for (a, o), (point, peak) in self.best_under.items()
            ],
            "points": [
                {
                    "name": self.name(s.point),
                    "parameters": dict(s.point),
                    "peak": dataclasses.asdict(s.peak),
                    "network": dataclasses.asdict(s.network) if s.network else None,
                }
                for s in self.points
            ],
        }


def explore(
    target: str,
    grid: Iterable[str],
    *,
    model: bytes | None = None,
    network: str = "",
    assumptions: Mapping[str, str] | None = None,
    area_mm2: float | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    progress: Say | None = None,
) -> Exploration:
    """Score every point of a grid (texts such as ``N=32,64,128``) of a target's design space.

    ``model`` (a quantised model's bytes) is compiled for every point with the same area of tiles: ``area_mm2``, or what
    the neediest point needs for one copy. Points run in ``jobs`` processes, or on the Dask cluster of the ``scheduler``
    at an address; the result depends on neither. Raises ExploreError, TargetError.
    """
    design = find_design(target)
    points = points_of(parse_grid(grid, design.PARAMETERS))
    chosen = _chosen(design.ASSUMPTIONS, assumptions or {})
    tasks = [PointTask(target, point, chosen) for point in points]
    peaks = [peak_score(task) for task in tasks]
    if all(peak.error for peak in peaks):
        raise ExploreError(f"no point of the grid can be built; the first: {peaks[0].error}")
    area = 0.0
    networks: list[NetworkScore | None] = [None] * len(tasks)
    if model is not None:
        with pool(jobs, scheduler) as workers:
            area, networks = _networks(workers, tasks, model, area_mm2, progress)
    varied = tuple(name for name in design.PARAMETERS if len({dict(p)[name] for p in points}) > 1)
    others = _others(design.ASSUMPTIONS, dict(chosen))
    return Exploration(
        target=target,
        network=network if model is not None else "",
        area_mm2=area,
        published=tuple(design.PARAMETERS.items()),
        varied=varied,
        points=tuple(Scored(p, k, n) for p, k, n in zip(points, peaks, networks, strict=True)),
        best_under={other: _best(target, points, chosen, other) for other in others},
        meanings={(a, o): text for a, options in design.ASSUMPTIONS.items() for o, text in options.items()},
    )


def _chosen(known: Mapping[str, Mapping[str, str]], given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for name, option in given.items():
        if option not in known.get(name, {}):
            choices = ", ".join(f"{a}={o}" for a, options in known.items() for o in options)
            raise ExploreError(f"--assume {name}={option}: choose from {choices}")
    return tuple((name, given.get(name, next(iter(options)))) for name, options in known.items())


def _others(known: Mapping[str, Mapping[str, str]], chosen: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, option) for name, options in known.items() for option in options if option != chosen[name]]


def _best(
    target: str, points: list[Point], chosen: tuple[tuple[str, str], ...], other: tuple[str, str]
) -> tuple[Point, float]:
    changed = tuple((name, other[1] if name == other[0] else option) for name, option in chosen)
    scores = [peak_score(PointTask(target, point, changed)).gops_per_mm2 for point in points]
    top = max(range(len(points)), key=lambda n: scores[n])
    return points[top], scores[top]


def _networks(
    workers: Pool, tasks: list[PointTask], model: bytes, area_mm2: float | None, say: Say | None
) -> tuple[float, list[NetworkScore | None]]:
    """Compile for every point, all with the same area."""
    shared = workers.share(model)

    def tell(what: str) -> Callable[[int], None] | None:
        return (lambda n: say(f"{what}: {n} of {len(tasks)} points")) if say else None

    if area_mm2 is None:
        areas = workers.map(least_area, tasks, shared, tell("area"))
        area_mm2 = max((area for area in areas if math.isfinite(area)), default=0.0)
        if not area_mm2:
            raise ExploreError("the network fits no point of the grid")
    placed = [replace(task, area_mm2=area_mm2) for task in tasks]
    return area_mm2, [*workers.map(network_score, placed, shared, tell("compiling"))]
