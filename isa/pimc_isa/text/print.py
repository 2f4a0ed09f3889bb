"""The disassembler: a program as text, from the forms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pimc_isa import ISA_VERSION
from pimc_isa.program import Program, Tile
from pimc_isa.text.forms import PROGRAM, Child, Form, FormPart, usual_node
from pimc_isa.text.operands import show_instr
from pimc_isa.text.values import TEXT

__all__ = ["print_program"]

_WORD = re.compile(r'[^\s";@]+')
_BLANK_BEFORE = {"machine", "inputs", "flows", "weights", "rounds", "channels", "tensors", "tiles"}


def print_program(program: Program, tensors: Mapping[str, Any], data: Mapping[str, str] | None) -> str:
    """The whole text: ``tensors`` are written out, ``data`` (file and sha256) names the file with the others."""
    values = {
        **vars(program),
        "isa": ISA_VERSION,
        "data": data,
        "meta": dict(sorted(program.meta.items())),
        "tensors": dict(sorted(tensors.items())),
    }
    return "\n".join([_line(PROGRAM, values), *_children(PROGRAM, values, -1)]) + "\n"


def _line(form: Form, values: Mapping[str, Any]) -> str:
    words = ["." + form.directive]
    defaults = form.defaults(values)
    for part in form.parts:
        if part.literal:
            words.append(part.literal)
        elif not part.key:
            words.append(part.style.show(part.get(values)))
        elif not _is_default(part, values, defaults):
            words.append(f"{part.key}={part.style.show(part.get(values))}")
    return " ".join(words)


def _is_default(part: FormPart, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    return all(name in defaults and defaults[name] == values[name] for name in part.fields)


def _children(form: Form, values: Mapping[str, Any], depth: int) -> Iterator[str]:
    for child in form.children:
        if child.kind == "code":
            yield from _code(values, depth + 1)
        elif child.kind == "ops":
            yield from _ops(values["ops"], depth + 1)
        else:
            yield from _entries(child, values[child.attribute], depth + 1)


def _entries(child: Child, held: Any, depth: int) -> Iterator[str]:
    form = child.form
    if form is None or held is None:
        return
    entries = [held] if child.kind == "one" else sorted(held.items()) if child.kind == "dict" else held
    for number, entry in enumerate(entries):
        if depth == 0 and child.attribute in _BLANK_BEFORE and (number == 0 or child.attribute == "tiles"):
            yield ""
        values = form.take(entry)
        yield "  " * depth + _line(form, values)
        yield from _children(form, values, depth)


def _code(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    tile = Tile(**{name: values[name] for name in Tile.__dataclass_fields__})
    usual = usual_node(tile)
    nodes = tile.nodes or ("",) * len(tile.code)
    for instr, node in zip(tile.code, nodes, strict=True):
        if instr.mnemonic == "end":
            depth -= 1
        suffix = "" if node == ("" if instr.unit == "control" else usual) else f"  @{TEXT.show(node)}"
        yield "  " * depth + show_instr(instr) + suffix
        if instr.mnemonic == "loop":
            depth += 1


def _ops(ops: Any, depth: int) -> Iterator[str]:
    width = max((len(str(op.step)) for op in ops), default=1) + 1
    for op in ops:
        words = [word if _WORD.fullmatch(word) else TEXT.show(word) for word in (op.op, *op.args)]
        yield "  " * depth + f"{'@' + str(op.step):<{width}}  {' '.join(words)}"
