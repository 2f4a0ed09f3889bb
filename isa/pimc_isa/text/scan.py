"""Lines read quickly: the terminals of the grammar, one after the other, by the rules that ``grammar.lark`` states.

A generated parser takes some 150 microseconds a line, this one some ten; what it does not accept is left to the other,
which then says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["Mark", "Scanner"]

#: A terminal's name, its text, and its column.
Mark = tuple[str, str, int]

_VALUES = ("DIMS", "RANGE", "FLOAT", "INT", "NAME", "STRING", "PLACE", "SHAPE")


class Scanner:
    """Splits lines into terminals; ``None`` where a line is not of the grammar."""

    def __init__(self, terminals: Mapping[str, str]) -> None:
        def any_of(*names: str) -> re.Pattern[str]:
            return re.compile("|".join(f"(?P<{name}>{terminals[name]})" for name in names))

        self._blank = re.compile(r"(?:[ \t]+|;[^\n]*)*")
        self._head = any_of("DIRECTIVE", "NAME", "STEP")
        self._item = any_of("DIMS", "RANGE", "KEY", *_VALUES[2:], "PUNCTUATION")
        self._value = any_of(*_VALUES)
        self._operand = any_of("KEY", "INT", "NAME", "STRING")
        self._index = any_of("ROW", "WHOLE")
        self._row = any_of("ROWS", "ROW")
        self._span = any_of("RANGE", "WHOLE")
        self._argument = any_of("ARGUMENT", "STRING")
        self._string = any_of("STRING")

    def head(self, body: str) -> tuple[Mark | None, int]:
        """The first terminal, and where the rest begins."""
        return self._take(self._head, body, self._skip(body, 0))

    def items(self, body: str, at: int) -> list[list[Mark]] | None:
        """The items of a directive: key, if there is one, and values."""
        items: list[list[Mark]] = []
        at = self._skip(body, at)
        while at < len(body):
            if body[at] == ",":
                if not items or items[-1][-1][0] == "PUNCTUATION":
                    return None
                mark, at = self._take(self._value, body, self._skip(body, at + 1))
                if mark is None:
                    return None
                items[-1].append(mark)
                continue
            mark, at = self._take(self._item, body, at)
            if mark is None:
                return None
            item = [mark]
            if mark[0] == "KEY":
                value, at = self._take(self._value, body, at)
                if value is None:
                    return None
                item.append(value)
            items.append(item)
        return items

    def operands(self, body: str, at: int) -> tuple[list[list[Mark]], Mark | None] | None:
        """The operands of an instruction, and the string behind ``@``."""
        operands: list[list[Mark]] = []
        at = self._skip(body, at)
        while at < len(body) and (body[at] == "," if operands else body[at] != "@"):
            mark, at = self._take(self._operand, body, self._skip(body, at + 1) if operands else at)
            if mark is None:
                return None
            operand = [mark]
            if mark[0] == "KEY":
                row, at = self._take(self._row, body, at)
                if row is None:
                    return None
                operand.append(row)
            elif mark[0] in ("NAME", "STRING") and body[at : at + 1] == "[":
                part, at = self._take(self._index, body, self._skip(body, at + 1))
                while part is not None:
                    operand.append(part)
                    if body[at : at + 1] != ",":
                        break
                    part, at = self._take(self._span, body, self._skip(body, at + 1))
                if part is None or body[at : at + 1] != "]":
                    return None
                at = self._skip(body, at + 1)
            operands.append(operand)
        node: Mark | None = None
        if body[at : at + 1] == "@":
            node, at = self._take(self._string, body, self._skip(body, at + 1))
            if node is None:
                return None
        return (operands, node) if at == len(body) else None

    def arguments(self, body: str, at: int) -> list[Mark] | None:
        """The words of a micro-operation."""
        found: list[Mark] = []
        while at < len(body):
            mark, at = self._take(self._argument, body, at)
            if mark is None:
                return None
            found.append(mark)
        return found or None

    def _skip(self, body: str, at: int) -> int:
        match = self._blank.match(body, at)
        return match.end() if match else at

    def _take(self, pattern: re.Pattern[str], body: str, at: int) -> tuple[Mark | None, int]:
        """The terminal at a place, and where the next one begins."""
        match = pattern.match(body, at)
        if match is None:
            return None, at
        return (str(match.lastgroup), match[0], at), self._skip(body, match.end())
