"""The figure of an exploration: bars of peak and of network throughput, best peak first, as an SVG by hand."""

from __future__ import annotations

from html import escape

from pimc.explore.run import Exploration, Scored

__all__ = ["figure"]

ROW, LABEL, BAR, GAP, HEAD = 16, 170, 260, 70, 46
PEAK, NETWORK, OWN = "#4878a8", "#c2703d", "#a02c2c"


def figure(found: Exploration) -> str:
    """Return the SVG's text; the same exploration gives the same text."""
    shown = sorted((s for s in found.points if not s.peak.error), key=lambda s: (-s.peak.gops_per_mm2, s.point))
    columns = 2 if any(s.network for s in shown) else 1
    width, height = LABEL + columns * (BAR + GAP), HEAD + ROW * len(shown) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="8" y="16" font-size="13">{escape(found.target)}: design space</text>',
        f'<text x="{LABEL}" y="36">peak, GOPS/s/mm2 of tile</text>',
    ]
    if columns == 2:
        title = escape(f"{found.network}, images/s on {found.area_mm2:.4g} mm2")
        lines.append(f'<text x="{LABEL + BAR + GAP}" y="36">{title}</text>')
    most = max((s.peak.gops_per_mm2 for s in shown), default=1.0) or 1.0
    fastest = max((s.network.images_per_second for s in shown if s.network), default=1.0) or 1.0
    for n, scored in enumerate(shown):
        y = HEAD + n * ROW
        own = scored.point == found.published
        mark = f' font-weight="bold" fill="{OWN}"' if own else ""
        lines.append(
            f'<text x="{LABEL - 8}" y="{y + 11}" text-anchor="end"{mark}>{escape(found.name(scored.point))}</text>'
        )
        lines += _bar(LABEL, y, scored.peak.gops_per_mm2 / most, PEAK, f"{scored.peak.gops_per_mm2:,.0f}")
        lines += _network(scored, y, fastest)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _network(scored: Scored, y: int, fastest: float) -> list[str]:
    if scored.network is None:
        return []
    rate = scored.network.images_per_second
    text = "does not fit" if scored.network.error else f"{rate:,.0f}"
    return _bar(LABEL + BAR + GAP, y, rate / fastest, NETWORK, text)


def _bar(x: int, y: int, share: float, colour: str, text: str) -> list[str]:
    length = round(BAR * share, 1)
    return [
        f'<rect x="{x}" y="{y + 2}" width="{length}" height="{ROW - 4}" fill="{colour}"/>',
        f'<text x="{x + length + 4}" y="{y + 11}">{text}</text>',
    ]
