"""From text to lines: the grammar applied to each line, with errors that show the place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lark import Lark, Transformer
from lark import Token as LarkToken
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from pimc_isa.errors import AsmError, shown
from pimc_isa.limits import beyond
from pimc_isa.text.operands import OperandText, read_range, read_row
from pimc_isa.text.scan import Mark, Scanner
from pimc_isa.text.values import Token, WrongValue, unquoted, whole

__all__ = ["Item", "Line", "error_at", "parse_lines"]


@dataclass(frozen=True)
class Item:
    """A value on a directive's line: its key ('' for none), its tokens (several with commas between), its column."""

    key: str
    tokens: tuple[Token, ...]
    column: int


@dataclass(frozen=True)
class Parsed:
    """What a line says. ``kind`` is 'directive', 'instruction' or 'microop'; ``name`` is its first word.

    ``items`` belong to a directive, ``operands`` and ``node`` to an instruction, ``arguments`` to a micro-op.
    """

    kind: str
    name: str
    items: tuple[Item, ...] = ()
    operands: tuple[OperandText, ...] = ()
    node: str | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A line of the text: its number (from 1), indentation, text without it, and what it says."""

    number: int
    indent: int
    text: str
    parsed: Parsed

    def error(self, column: int, message: str, hint: str = "") -> AsmError:
        """An error at a column of the line's own text."""
        return error_at(self.number, self.indent, self.text, column, message, hint)


def error_at(number: int, indent: int, text: str, column: int, message: str, hint: str = "") -> AsmError:
    """Line, column, message; the source line; a caret under the place."""
    before, after = shown(text[max(0, column - 60) : column]), shown(text[column : column + 60])
    caret = " " * len(before) + "^"
    place = f"line {number}, column {indent + column + 1}: {message}"
    return AsmError(f"{place}{'; ' + hint if hint else ''}\n  {before}{after}\n  {caret}")


def parse_lines(text: str) -> Iterator[Line]:
    """The lines that say something, in order; AsmError at the first that does not parse, or beyond the limits."""
    known: dict[str, Parsed | None] = {}
    raws = text.split("\n")
    said = sum(1 for raw in raws if raw and raw.lstrip()[:1] not in ("", ";"))
    problem = beyond("parts", "the number of lines", said)
    if problem:
        raise AsmError(f"line {len(raws)}: {problem}")
    words = 0
    for number, raw in enumerate(raws, 1):
        body = raw.strip()
        if not body or body[0] == ";":
            continue
        indent = len(raw) - len(raw.lstrip())
        head = body if not body.startswith(".tensor") else body[: body.find("=") + 1]
        words += head.count(",") + head.count(" ")
        problem = beyond("line", "the length of this line", len(head)) or beyond("words", "the number of words", words)
        if problem:
            raise error_at(number, indent, body, 0, problem)
        if body not in known:
            known[body] = _parse(number, indent, body)
        parsed = known[body]
        if parsed is not None:
            yield Line(number, indent, body, parsed)


def _parse(number: int, indent: int, body: str) -> Parsed | None:
    try:
        return _tensor(body) or _quick(body) or _thorough(number, indent, body)
    except WrongValue as wrong:
        raise error_at(number, indent, body, 0, str(wrong)) from None
    except ValueError:
        raise error_at(number, indent, body, max(0, body.find('"')), "a string that JSON does not allow") from None


def _thorough(number: int, indent: int, body: str) -> Parsed | None:
    """What the grammar says, or what is wrong."""
    try:
        result: Any = _parser().parse(body)
    except UnexpectedInput as error:
        column = len(body) if error.column < 1 or _at_end(error) else error.column - 1
        message = f"{_found(error, body, column)}, expected {_expected(error)}"
        raise error_at(number, indent, body, column, message) from None
    except VisitError as error:
        raise error.orig_exc from None
    return result if isinstance(result, Parsed) else None


_TENSOR = re.compile(r"(\.tensor\s.*?\s=\s*)(-?[0-9][-0-9.eE+, \t]*)", re.DOTALL)
_FEW = 64


def _tensor(body: str) -> Parsed | None:
    """A line with many numbers of a tensor, which are kept as one word."""
    match = _TENSOR.fullmatch(body) if body.startswith(".tensor") and body.count(",") > _FEW else None
    head = _quick(match[1] + "0") if match else None
    if match is None or head is None:
        return None
    values = Item("", (Token("NUMBERS", match[2], match.start(2)),), match.start(2))
    return Parsed(head.kind, head.name, items=(*head.items[:-1], values))


def _quick(body: str) -> Parsed | None:
    """What a line says, where it follows the grammar."""
    scanner = _scanner()
    head, at = scanner.head(body)
    if head is None:
        return None
    kind, text, _ = head
    if kind == "DIRECTIVE":
        items = scanner.items(body, at)
        return None if items is None else Parsed("directive", text[1:], items=tuple(map(_item, items)))
    if kind == "STEP":
        words = scanner.arguments(body, at)
        return None if words is None else Parsed("microop", text[1:], arguments=tuple(unquoted(w[1]) for w in words))
    found = scanner.operands(body, at)
    if found is None:
        return None
    operands, node = found
    return Parsed(
        "instruction", text, operands=tuple(map(_operand, operands)), node=unquoted(node[1]) if node else None
    )


def _item(marks: list[Mark]) -> Item:
    key = marks[0][1][:-1] if marks[0][0] == "KEY" else ""
    return Item(key, tuple(Token(*mark) for mark in (marks[1:] if key else marks)), marks[0][2])


def _operand(marks: list[Mark]) -> OperandText:
    kind, text, column = marks[0]
    if kind == "INT":
        return OperandText("number", "", column, number=whole(text))
    if kind == "KEY":
        what, said, _ = marks[1]
        if what == "ROWS":
            return OperandText("ranged", text[:-1], column, rows=read_range(said))
        return OperandText("keyed", text[:-1], column, row=read_row(said))
    if len(marks) == 1:
        return OperandText("name", unquoted(text), column)
    row, *spans = (None if mark[0] == "WHOLE" else mark[1] for mark in marks[1:])
    ranges = tuple(None if span is None else _span(span) for span in spans)
    return OperandText("slab", unquoted(text), column, row=None if row is None else read_row(row), ranges=ranges)


def _span(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    return whole(first), whole(last)


@cache
def _scanner() -> Scanner:
    return Scanner({t.name: t.pattern.to_regexp() for t in _parser().terminals})


def _at_end(error: UnexpectedInput) -> bool:
    return isinstance(error, UnexpectedToken) and error.token.type == "$END"


def _found(error: UnexpectedInput, body: str, column: int) -> str:
    if column >= len(body):
        return "the line ends here"
    word = re.match(r"[\w.$]+|.", body[column:])
    return f"unexpected '{shown(word[0] if word else body[column])}'"


#: Terminals in words.
_WORDS = {
    "DIRECTIVE": "a directive like .buffer",
    "NAME": "a name",
    "STRING": 'a "string"',
    "INT": "a number",
    "KEY": "KEY=",
    "ROW": "a row like i or 2*i+1",
    "ROWS": "rows like 0:28:2",
    "WHOLE": "':'",
    "RANGE": "a range like 0:64",
    "STEP": "@STEP",
    "ARGUMENT": "a micro-operation",
    "COMMA": "','",
    "LSQB": "'['",
    "RSQB": "']'",
    "AT": '@"node"',
    "$END": "the end of the line",
}
_VALUES = {"INT", "FLOAT", "DIMS", "RANGE", "SHAPE", "NAME", "STRING", "PLACE"}


def _expected(error: UnexpectedInput) -> str:
    names = set(error.allowed if isinstance(error, UnexpectedCharacters) else getattr(error, "expected", ()))
    words = [word for name, word in _WORDS.items() if name in names]
    if names >= _VALUES:
        words = ["a value", *(word for word in words if word in ("KEY=", "','", "the end of the line"))]
    return " or ".join(words)


@cache
def _parser() -> Lark:
    grammar = resources.files("pimc_isa.text").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=_Build(), propagate_positions=False)


def _token(token: LarkToken) -> Token:
    return Token(token.type, str(token), _column(token))


def _column(token: LarkToken) -> int:
    return (token.column or 1) - 1


class _Build(Transformer[LarkToken, Any]):
    """Turns the parser's reductions into ``Parsed`` values."""

    def start(self, children: list[Parsed]) -> Parsed | None:
        return children[0] if children else None

    def directive(self, children: list[Any]) -> Parsed:
        return Parsed("directive", str(children[0])[1:], items=tuple(children[1:]))

    def item(self, tokens: list[LarkToken | None]) -> Item:
        present = [token for token in tokens if token is not None]
        key = str(present[0])[:-1] if present[0].type == "KEY" else ""
        return Item(key, tuple(_token(t) for t in present[1 if key else 0 :]), _column(present[0]))

    def instruction(self, children: list[Any]) -> Parsed:
        operands = tuple(child for child in children if isinstance(child, OperandText))
        last = children[-1] if isinstance(children[-1], LarkToken) and children[-1].type == "STRING" else None
        return Parsed("instruction", str(children[0]), operands=operands, node=unquoted(last) if last else None)

    def name(self, children: list[LarkToken]) -> OperandText:
        return OperandText("name", unquoted(children[0]), _column(children[0]))

    def number(self, children: list[LarkToken]) -> OperandText:
        return OperandText("number", "", _column(children[0]), number=whole(children[0]))

    def keyed(self, children: list[LarkToken]) -> OperandText:
        return OperandText("keyed", str(children[0])[:-1], _column(children[0]), row=read_row(children[1]))

    def ranged(self, children: list[LarkToken]) -> OperandText:
        return OperandText("ranged", str(children[0])[:-1], _column(children[0]), rows=read_range(children[1]))

    def slab(self, children: list[Any]) -> OperandText:
        name, row, *ranges = children
        return OperandText("slab", unquoted(name), _column(name), row=row, ranges=tuple(ranges))

    def index(self, children: list[LarkToken]) -> Any:
        return None if children[0].type == "WHOLE" else read_row(children[0])

    def span(self, children: list[LarkToken]) -> Any:
        return None if children[0].type == "WHOLE" else _span(children[0])

    def microop(self, children: list[LarkToken]) -> Parsed:
        return Parsed("microop", str(children[0])[1:], arguments=tuple(map(unquoted, children[1:])))
