"""Sections of a page that have commands of their own: between marks, kept when the rest of the page is made anew."""

from __future__ import annotations

from pathlib import Path

__all__ = ["kept_sections", "put_section"]


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def put_section(page: Path, name: str, text: str) -> None:
    """Replace a section of a page, or add it at the end."""
    begin, end = _marks(name)
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    section = f"{begin}\n{text.strip()}\n{end}\n"
    if begin in old and end in old:
        before, _, rest = old.partition(begin)
        page.write_text(before + section + rest.partition(end)[2].lstrip("\n"), encoding="utf-8")
    else:
        page.write_text(old.rstrip("\n") + "\n\n" + section, encoding="utf-8")


def kept_sections(page: Path, names: tuple[str, ...]) -> str:
    """The sections of a page as they stand, to be written behind its new text."""
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    found = []
    for begin, end in map(_marks, names):
        if begin in old and end in old:
            found.append(begin + old.partition(begin)[2].partition(end)[0] + end + "\n")
    return "".join(f"\n{text}" for text in found)
