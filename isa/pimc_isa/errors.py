"""Errors a user can cause, one class per phase. Each message says what, where and the remedy in one to three lines."""

from __future__ import annotations

import unicodedata

__all__ = [
    "AsmError",
    "DeadlockError",
    "FlowError",
    "MachineError",
    "PimcError",
    "ProgramError",
    "RunError",
    "clipped",
    "shown",
]

#: Unicode categories that a terminal acts on instead of showing: controls, formats such as bidirectional overrides,
#: lone surrogates, line and paragraph separators.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LINE = 500


def shown(text: str) -> str:
    """A text of unknown origin (a name, a line) for people: characters that terminals act on are written as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN else c for c in text)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def clipped(message: str, most_lines: int = 3) -> str:
    """A message whose lines are shown safely, and are neither too long nor too many to read."""
    lines = message.split("\n")
    lines[most_lines - 1 :] = ["\\n".join(lines[most_lines - 1 :])] if len(lines) >= most_lines else []
    return "\n".join(shown(x if len(x) <= _LINE else f"{x[: _LINE // 2]} ... {x[-_LINE // 2 :]}") for x in lines)


class PimcError(Exception):
    """Base of every error that is the input's fault; commands print it without a traceback and exit with code 2."""

    most_lines = 3

    def __str__(self) -> str:
        """The message, safe for a terminal."""
        return clipped(super().__str__(), self.most_lines)


class AsmError(PimcError):
    """Assembly text that does not parse: carries line, column and a caret."""


class ProgramError(PimcError):
    """A program file that is damaged, of another version, or refers to things that do not exist."""


class FlowError(PimcError):
    """An analog micro-program with a structural hazard or an impossible step; ``op`` is the micro-operation, if one."""

    def __init__(self, message: str, op: object = None) -> None:
        super().__init__(message)
        self.op = op


class MachineError(PimcError):
    """A machine description with a missing or impossible value."""


class RunError(PimcError):
    """Inputs of the wrong shape or type, or a program that cannot be run."""


class DeadlockError(RunError):
    """A program in which every unit waits; the message says who waits for whom."""

    most_lines = 7
