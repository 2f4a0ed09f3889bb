# ruff: noqa: E501  # the page's own lines
"""Writes docs/claims/epim-counts.md: crossbars and busy time of ResNets with epitomes of one size, by `epitomes.py`.

python benchmarks/epitomes_page.py --write
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from epitomes import EPITOMES, lines

__all__ = ["PAGE", "page", "section"]

PAGE = Path(__file__).parents[1] / "docs" / "claims" / "epim-counts.md"

CASES = (
    ("resnet50", 256, ""),
    ("resnet50", 128, ""),
    ("resnet101", 256, ""),
    ("resnet101", 128, ""),
    ("resnet50", 128, "isaac"),
)
"""Network, rows and columns of a crossbar, and the target that is not the test machine."""

HEAD = """\
# Crossbars and time of networks with epitomes

`python benchmarks/epitomes_page.py --write` makes this page out of compiled programs. EPIM (arXiv 2311.07620) has a uniform
variant in which all large layers have epitomes of one size; that and the sizes are recalled, and the paper's own table could not
be had, so **nothing here is compared with it**: the numbers of the test machine are those that follow from shapes alone
(`tests/claims/test_epim.py` derives them), and say that the compiler does what the paper's idea comes to.

The test machine has square crossbars, one column for a weight and no other columns. Every layer but the first has weights whose
blocks of a crossbar's size lie on those of its epitome in turn; no two channels are the same. A layer is folded where that takes
fewer crossbars. *Busy* is the time in which matrix units work on one image (of every layer, its busiest tile), over that of the
dense network: what rounds cost where nothing is copied. On isaac a weight takes four columns of two bits.
"""


def section(network: str, size: int, target: str) -> str:
    """The table of one network on crossbars of one size."""
    dense, *folded = (json.loads(line) for line in lines(network, size, target, EPITOMES, wraps=False))
    title = f"## {network.replace('resnet', 'ResNet-')}, " + (target or f"crossbars of {size} x {size}")
    command = f"--network {network} " + (f"--target {target}" if target else f"--size {size}")
    rows = [f"| dense | {dense['arrays']} | 1 | - | 1 |"]
    for made in folded:
        share = f"{dense['arrays'] / made['arrays']:.2f}"
        rows.append(f"| {made['epitome']} | {made['arrays']} | {share} | {made['folded']} | {made['busy']:.2f} |")
    heads = ["| epitome | crossbars | times fewer | layers folded | busy |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([title, "", f"`python benchmarks/epitomes.py {command}`", "", *heads, *rows, ""])


def page(cases: Iterable[tuple[str, int, str]] = CASES) -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(*case) for case in cases)])


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the page in docs/claims")
    text = page()
    if parser.parse_args().write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
