"""Error goldens: one line of the golden program changed, and the message that follows.

A case file has lines ``- OLD`` and ``+ NEW`` (stripped lines of ``every.pimasm``; no ``+`` deletes the line) and ``= ``
lines with the whole message.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GOLDEN = Path(__file__).parents[2] / "golden"


@dataclass(frozen=True)
class Case:
    """One case file."""

    path: Path

    def __str__(self) -> str:
        return self.path.stem

    def lines(self, mark: str) -> list[str]:
        """The lines with a mark, without it."""
        text = self.path.read_text(encoding="utf-8").split("\n")
        return [line[2:] for line in text if line.startswith(mark + " ") or line == mark]

    def edit(self, text: str) -> str:
        """The program's text with this case's change; the old lines must be there, next to each other."""
        lines = text.split("\n")
        old, new = self.lines("-"), self.lines("+")
        stripped = [line.strip() for line in lines]
        at = next(n for n in range(len(lines)) if stripped[n : n + len(old)] == old)
        return "\n".join([*lines[:at], *new, *lines[at + len(old) :]])

    def expect(self, message: str, update: bool) -> None:
        """Compare the message, or rewrite it."""
        if update:
            kept = [line for line in self.path.read_text(encoding="utf-8").split("\n") if line[:1] in ("-", "+")]
            told = ["= " + line for line in message.split("\n")]
            self.path.write_text("\n".join([*kept, *told]) + "\n", encoding="utf-8")
        assert "\n".join(self.lines("=")) == message


def cases(kind: str) -> list[Case]:
    """The cases of a kind, by name."""
    found = [Case(path) for path in sorted((GOLDEN / "errors" / kind).glob("*.case"))]
    assert found, f"no cases of kind {kind}"
    return found
