"""What an exploration says, in sentences: which point is best, whether it is the published one, what would move it."""

from __future__ import annotations

from pimc.explore.run import Exploration

__all__ = ["sentences"]


def sentences(found: Exploration) -> list[str]:
    """Return the answer, one sentence an item."""
    best, name = found.best, found.name(found.best.point)
    published = found.name(found.published)
    same = best.point == found.published
    said = [f"Best by peak: {name}, {best.peak.gops_per_mm2:,.0f} GOPS/s/mm2 of tile."]
    if same:
        said[0] += " It is the published point."
    elif any(s.point == found.published for s in found.points):
        own = next(s for s in found.points if s.point == found.published).peak.gops_per_mm2
        said.append(f"The published point {published} has {own:,.0f}.")
    else:
        said.append(f"The published point {published} is not in this grid.")
    said += _moves(found)
    by_network = found.best_by_network
    if by_network is not None and by_network.network is not None:
        where = f"{found.network} on {found.area_mm2:.4g} mm2"
        rate = by_network.network.images_per_second
        said.append(f"Best for {where}: {found.name(by_network.point)}, {rate:,.0f} images/s.")
    return said


def _moves(found: Exploration) -> list[str]:
    """Which assumptions change the best point, and which do not."""
    said, still = [], []
    for (assumption, option), (point, peak) in found.best_under.items():
        if point == found.best.point:
            still.append(f"{assumption}={option} ({peak:,.0f})")
            continue
        back = ", the published point" if point == found.published else ""
        meaning = found.meanings[assumption, option]
        said.append(
            f"With {assumption}={option} ({meaning}) the best is {found.name(point)}{back}, {peak:,.0f} GOPS/s/mm2."
        )
    if still:
        said.append(f"The best point stays the same with {', '.join(still)}.")
    return said
