"""Tokens and values of the graph text: numbers, strings, names, lists and records, each with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from pimc_isa.errors import PimcError

__all__ = ["GraphScanner", "IrTextError", "Node", "quote"]

_TOKEN = re.compile(
    r"""(?P<skip>[ \t\r\n]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<value>%(?:[A-Za-z0-9_./-]+|"(?:[^"\\\n]|\\.)*"))
      | (?P<const>@(?:[A-Za-z0-9_./-]+|"(?:[^"\\\n]|\\.)*"))
      | (?P<number>[-+]?(?:inf|nan|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?![A-Za-z0-9_]))
      | (?P<word>[A-Za-z_][A-Za-z0-9_.]*|\d+(?:x\d+)+)
      | (?P<mark>[][{}(),=:])
    """,
    re.VERBOSE,
)
_BARE = re.compile(r"[A-Za-z0-9_./-]+")


class IrTextError(PimcError):
    """Graph text that does not parse: the message has line, column and a caret."""


def quote(mark: str, name: str) -> str:
    """A name after its mark (% value, @ constant), quoted only where it must be."""
    return mark + (name if _BARE.fullmatch(name) else json.dumps(name))


@dataclass(frozen=True)
class Node:
    """A parsed value: ``kind`` number, string, value, const, word, list or record; ``at`` is its offset."""

    kind: str
    data: str | list[Node] | dict[str, Node]
    at: int


class GraphScanner:
    """Reads tokens and values from a text; every error points at its place."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = list(self._scan())
        self._next = 0

    def _scan(self) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                self.fail(at, f"unexpected {self.text[at]!r}")
            if match.lastgroup != "skip":
                yield str(match.lastgroup), match.group(), at
            at = match.end()
        yield "end", "", at

    def fail(self, at: int, message: str) -> NoReturn:
        """Raise IrTextError for a place in the text."""
        line = self.text.count("\n", 0, at) + 1
        start = self.text.rfind("\n", 0, at) + 1
        shown = self.text[start:].split("\n", 1)[0]
        column = at - start
        first = max(0, column - 60)
        raise IrTextError(
            f"line {line}, column {column + 1}: {message}\n  {shown[first : first + 100]}\n  {' ' * (column - first)}^"
        )

    @property
    def kind(self) -> str:
        """Kind of the next token."""
        return self._tokens[self._next][0]

    @property
    def at(self) -> int:
        """Offset of the next token."""
        return self._tokens[self._next][2]

    def peek(self, text: str) -> bool:
        """Whether the next token is this mark or word."""
        return self._tokens[self._next][0] in {"mark", "word"} and self._tokens[self._next][1] == text

    def take(self, kind: str, what: str) -> str:
        """Take a token of a kind; names and strings come without mark and quotes."""
        found, text, at = self._tokens[self._next]
        if found != kind:
            self.fail(at, f"expected {what}" + (f", found {text!r}" if text else ", found the end"))
        self._next += 1
        return self._plain(kind, text, at)

    def expect(self, text: str) -> None:
        """Take this mark or word."""
        if not self.peek(text):
            self.fail(self.at, f"expected {text!r}")
        self._next += 1

    def accept(self, text: str) -> bool:
        """Take this mark or word if it is next."""
        if self.peek(text):
            self._next += 1
            return True
        return False

    def _plain(self, kind: str, text: str, at: int) -> str:
        body = text[1:] if kind in {"value", "const"} else text
        if not body.startswith('"'):
            return body
        try:
            return str(json.loads(body))
        except ValueError:
            self.fail(at, "a string with a bad escape")

    def value(self) -> Node:
        """Take any value."""
        at = self.at
        if self.accept("["):
            return Node("list", list(self._items("]")), at)
        if self.accept("{"):
            return Node("record", self.record(), at)
        kind = self.kind
        if kind not in {"number", "string", "value", "const", "word"}:
            self.fail(at, "expected a value")
        return Node(kind, self.take(kind, "a value"), at)

    def _items(self, closing: str) -> Iterator[Node]:
        while not self.accept(closing):
            yield self.value()
            if not self.peek(closing):
                self.expect(",")

    def record(self) -> dict[str, Node]:
        """Take ``key = value, ...}``; the opening brace is taken already."""
        found: dict[str, Node] = {}
        while not self.accept("}"):
            at = self.at
            key = self.take("word", "a field name")
            if key in found:
                self.fail(at, f"field {key} twice")
            self.expect("=")
            found[key] = self.value()
            if not self.peek("}"):
                self.expect(",")
        return found
