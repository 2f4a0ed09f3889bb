"""The page of accuracies over the noise of column sums, and its figure, from the counts that `noise` keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["figure", "page"]

HEAD = """\
# Accuracy over the noise of column sums

Made by `python benchmarks/noise.py` from `raella-noise.json`; do not edit. Every row is a program compiled by pimc and
run by its values engine; nothing is retrained, and no range or slicing is chosen with the noise in sight.

The model is RAELLA's (section 7.2): a column sum with products N+ above and N- below zero strays by
`sigma = E sqrt(N+ + N-)` before its converter rounds and clips (`--noise-model column=E`; section "Noise" of the ISA's
manual). Every read has a draw of its own, a recovery too. Sums of inputs are free of noise, as the paper has it for
both chips: it replaces ISAAC's analog sum of inputs with a digital one.

![accuracy over E](raella-noise.svg)
"""

READING = """\
"Same class" compares with onnxruntime int8, right or wrong, on the same images: it moves before accuracy does. The
standard error of a difference to int8 is about the square root of (lost + won), in images. With E = 0 the engine goes
the same way, sum by sum: that column is what conversions alone cost.

The paper's own curves (ImageNet networks, BERT) are only in a figure; its text says that ISAAC loses much beyond 4 %,
that Center+Offset is the decisive step, and that speculation does not hurt. Fashion's network is small and easy: ten
classes, filters of 9 to 576 weights, two row blocks of RAELLA at most. So every chip here stands more noise than the
paper's do, and the order of the rows is what to look at. Zero + offset has slices chosen for it, which hide much of
what the centre is for. Speculation helps against this noise: one read of four bits strays by the root of
`sum 2**b N_b` where four reads of one bit, weighed by their places, stray by the root of `sum 4**b N_b`.
"""

WIDTH, HEIGHT, LEFT, TOP, LOW, KEY = 620, 330, 56, 24, 280, 430
COLOURS = ("#4878a8", "#8fb3d4", "#7a5ca8", "#c2703d", "#a02c2c", "#4c8c4a", "#888888")


def page(data: Mapping[str, Any]) -> str:
    """The page's text."""
    cases: Mapping[str, Any] = data["cases"]
    int8 = data["int8"]
    lines = [HEAD, f"onnxruntime int8: {_share(int8['right'], int8['images'])} of {int8['images']:,} images.", ""]
    for title, count in (("Top-1", "right"), ("Same class as int8", "same"), ("Images lost / won", "")):
        lines += [f"## {title}", "", *_table(cases, count), ""]
    lines += [READING, "## Images, seeds, slices", "", *_terms(cases)]
    return "\n".join(lines).rstrip() + "\n"


def _table(cases: Mapping[str, Any], count: str) -> Iterator[str]:
    percents = list(next(iter(cases.values()))["percent"])
    yield f"| E | {' | '.join(f'{p} %' for p in percents)} |"
    yield "| --- " * (len(percents) + 1) + "|"
    for name, row in cases.items():
        found = [row["percent"][p] for p in percents]
        shown = [_share(f[count], row["images"]) if count else f"{f['lost']} / {f['won']}" for f in found]
        yield f"| {name} | {' | '.join(shown)} |"


def _terms(cases: Mapping[str, Any]) -> Iterator[str]:
    yield "Slices of the weights are high bits first, layer by layer."
    yield ""
    yield "| chip | test images | seed | slices |"
    yield "| --- | --- | --- | --- |"
    for name, row in cases.items():
        slices = row["slices"]
        shown = slices[0] + " everywhere" if len(set(slices)) == 1 else ", ".join(slices)
        yield f"| {name} | first {row['images']:,} | {row['seed']} | {shown} |"


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.2f} %"


def figure(data: Mapping[str, Any]) -> str:
    """The figure's SVG: top-1 over E, a line for each chip."""
    cases: Mapping[str, Any] = data["cases"]
    shares = {name: _points(row) for name, row in cases.items()}
    least = min(y for points in shares.values() for _, y in points)
    floor, most = 5 * (least // 5), max(x for points in shares.values() for x, _ in points)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="14">top-1, %</text>',
        f'<text x="{(LEFT + KEY - 20) // 2}" y="{HEIGHT - 12}">E, % of sqrt(N+ + N-)</text>',
    ]
    lines += _axes(floor, most)
    for n, (name, points) in enumerate(shares.items()):
        lines += _line(name, [_place(point, floor, most) for point in points], n)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _points(row: Mapping[str, Any]) -> list[tuple[float, float]]:
    """E and top-1, both in %."""
    return [(float(p), 100 * found["right"] / row["images"]) for p, found in row["percent"].items()]


def _place(point: tuple[float, float], floor: float, most: float) -> tuple[float, float]:
    right = KEY - 20
    x = LEFT + (right - LEFT) * point[0] / most
    return round(x, 1), round(LOW - (LOW - TOP) * (point[1] - floor) / (95 - floor), 1)


def _axes(floor: float, most: float) -> Iterator[str]:
    """Lines at whole steps of top-1 and numbers along both sides."""
    step = 2 if 95 - floor <= 10 else 5 if 95 - floor <= 40 else 10
    for value in range(int(floor), 96, step):
        x, y = _place((0, value), floor, most)
        yield f'<line x1="{x}" y1="{y}" x2="{KEY - 20}" y2="{y}" stroke="#dddddd"/>'
        yield f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{value}</text>'
    for percent in range(0, int(most) + 1, 2):
        x, y = _place((percent, floor), floor, most)
        yield f'<text x="{x}" y="{y + 16}" text-anchor="middle">{percent}</text>'


def _line(name: str, places: list[tuple[float, float]], n: int) -> Iterator[str]:
    colour = COLOURS[n % len(COLOURS)]
    points = " ".join(f"{x},{y}" for x, y in places)
    yield f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'
    yield from (f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in places)
    y = TOP + 18 * n
    yield f'<rect x="{KEY}" y="{y}" width="12" height="12" fill="{colour}"/>'
    yield f'<text x="{KEY + 18}" y="{y + 10}">{escape(name)}</text>'
