"""What commands print: results on stdout (text or one JSON object), progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pimc.progress import heard_by
from pimc_isa.errors import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.spinner import Spinner

__all__ = ["Progress", "counted", "percent", "print_json", "print_table", "progress", "quantity", "say", "stdout"]


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object with keys in the order given; numpy numbers become plain ones."""
    text = json.dumps(values, indent=2, ensure_ascii=False, default=_plain)
    if not all(map(str.isprintable, text.split("\n"))):  # JSON has escapes of its own for what terminals act on
        text = "".join(c if c == "\n" or shown(c) == c else json.dumps(c)[1:-1] for c in text)
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """Print a line for people; names in it may hold anything."""
    sys.stdout.write(shown(text) + "\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def stdout(width: int | None = None) -> Console:
    """Return the console for results, ``width`` characters wide (None: as wide as the terminal is)."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=width)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """Print a table; the first ``left`` columns are text, the others are numbers.

    Nothing is cut or folded: where a terminal is too narrow, further columns follow below, the first beside them again.
    """
    from rich.cells import cell_len

    console = stdout()
    cells = [[shown(cell) for cell in row] for row in ([*columns], *rows)]
    widths = [max(cell_len(row[n]) for row in cells) for n in range(len(columns))]
    for n, block in enumerate(_blocks(widths, console.width if console.is_terminal else None)):
        said = shown(title) + (", continued" if n else "")
        lines = _block_lines([[row[n] for n in block] for row in cells], left)
        print("\n".join([said, *lines, ""]))


#: Blanks between two columns of a table.
_GAP = 3


def _blocks(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Numbers of the columns that stand beside each other in ``width`` characters; the first one is in each block."""
    blocks: list[list[int]] = []
    room = -1
    for n in range(1, len(widths)):
        room -= widths[n] + _GAP
        if not blocks or (width is not None and room < 0):
            blocks.append([0])
            room = (width or 0) - widths[0] - widths[n] - _GAP
        blocks[-1].append(n)
    return blocks or [[0]]


def _block_lines(cells: Sequence[Sequence[str]], left: int) -> list[str]:
    """The lines of columns that stand beside each other, the header in bold on a terminal."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    head, *rows = cells
    for n, name in enumerate(head):
        table.add_column(Text(name), justify="left" if n < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console = stdout(width=sum(max(cell_len(row[n]) + _GAP for row in cells) for n in range(len(head))))
    with console.capture() as printed:
        console.print(table)
    return [line.rstrip() for line in printed.get().splitlines()]


_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))


def quantity(value: float, unit: str) -> str:
    """Return a value with three digits and a prefix: ``1.23 mJ``."""
    if value == 0:
        return f"0 {unit}"
    scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s), _PREFIXES[-1])
    return f"{value / scale:.3g} {prefix}{unit}"


def counted(number: int, noun: str) -> str:
    """Return ``1 image``, ``2 images``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with one digit."""
    return f"{100 * fraction:.1f} %"


class Progress:
    """Says on stderr what is being done: a live line on a terminal, else a line after each step that took long."""

    PATIENCE_SECONDS = 1.0

    def __init__(self, spinner: Spinner | None, quiet: bool) -> None:
        self._spinner, self._quiet = spinner, quiet
        self._last = time.monotonic()

    def __call__(self, text: str) -> None:
        """Say what is done now."""
        if self._quiet:
            return
        if self._spinner is not None:
            from rich.text import Text

            self._spinner.update(text=Text(shown(text)))
            return
        now = time.monotonic()
        if now - self._last >= self.PATIENCE_SECONDS:
            sys.stderr.write(f"pimc: {shown(text)}\n")
            self._last = now


@contextmanager
def progress(text: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Show progress while the block runs."""
    if quiet or not sys.stderr.isatty():
        plain = Progress(None, quiet)
        with heard_by(plain):
            yield plain
        return
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

    spinner = Spinner("dots", text=text)
    # Rich would otherwise take over stdout and write it to stderr too, also where stdout is a pipe.
    options = {"transient": True, "redirect_stdout": False, "redirect_stderr": False}
    with Live(spinner, console=Console(stderr=True), **options):  # type: ignore[arg-type]
        live = Progress(spinner, quiet)
        with heard_by(live):
            yield live
