"""The assembler: lines become drafts of the forms' values, drafts become a program."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pimc_isa import ISA_VERSION
from pimc_isa.binary.words import SPACES
from pimc_isa.define import REGISTRY, Instr, fields_of
from pimc_isa.errors import AsmError, FlowError, PimcError
from pimc_isa.flow.define import OPS, MicroOp, micro_op
from pimc_isa.program import Program, Tile
from pimc_isa.text.forms import PROGRAM, Child, Form, FormPart
from pimc_isa.text.operands import OperandText, read_operands, usage
from pimc_isa.text.parse import Item, Line, parse_lines
from pimc_isa.text.values import WrongValue

__all__ = ["Judge", "build"]

Loader = Callable[[str, str], Mapping[str, Any]]
Judge = Callable[[Program], None]


@dataclass
class _Draft:
    """A value being read: its form, its first line, what is known of it."""

    form: Form
    line: Line
    values: dict[str, Any]
    drafts: dict[str, list[_Draft]] = field(default_factory=dict)
    code: list[tuple[Line, Instr]] = field(default_factory=list)
    ops: list[MicroOp] = field(default_factory=list)


def build(text: str, load: Loader, judge: Judge | None = None) -> Program:
    """Assemble; ``load(file, sha256)`` gives the tensors of a data file, after ``judge`` has accepted all the rest."""
    root: _Draft | None = None
    stack: list[_Draft] = []
    for line in parse_lines(text):
        if root is None:
            root = _first(line)
            stack = [root]
        elif line.parsed.kind == "directive":
            _directive(stack, line)
        elif line.parsed.kind == "instruction":
            _instruction(stack, line)
        else:
            _microop(stack, line)
    if root is None:
        raise AsmError(f'the text is empty; it begins with: .program isa="{ISA_VERSION}"')
    return _program(root, load, judge)


def _first(line: Line) -> _Draft:
    if line.parsed.name != PROGRAM.directive or line.parsed.kind != "directive":
        raise line.error(0, f'the text begins with: .program isa="{ISA_VERSION}"')
    draft = _Draft(PROGRAM, line, _values(PROGRAM, line))
    version = draft.values["isa"]
    if version != ISA_VERSION:
        raise line.error(0, f"the text is ISA {version}, this assembler reads {ISA_VERSION}", "compile the model again")
    return draft


def _directive(stack: list[_Draft], line: Line) -> None:
    """Add a draft to the innermost open one that may hold it, and close those inside."""
    name = line.parsed.name
    for depth in range(len(stack) - 1, -1, -1):
        child = stack[depth].form.child(name)
        if child is None or child.form is None:
            continue
        del stack[depth + 1 :]
        siblings = stack[-1].drafts.setdefault(child.attribute, [])
        if child.kind == "one" and siblings:
            raise line.error(0, f".{name} is already there", f"see line {siblings[0].line.number}")
        draft = _Draft(child.form, line, _values(child.form, line))
        siblings.append(draft)
        stack.append(draft)
        return
    raise line.error(0, *_unknown_directive(name))


def _unknown_directive(name: str) -> tuple[str, str]:
    parents = dict(_all_directives(PROGRAM))
    if name in parents:
        return f".{name} belongs inside .{parents[name]}", f"put it after a .{parents[name]} line"
    return f"unknown directive .{name}", _suggest("." + name, ["." + known for known in parents])


def _all_directives(form: Form) -> Iterable[tuple[str, str]]:
    for child in form.children:
        if child.form:
            yield child.form.directive, form.directive
            yield from _all_directives(child.form)


def _suggest(word: str, known: Iterable[str]) -> str:
    """The nearest known word, or the list if it is short."""
    words = sorted(set(known))
    if len(word) > 60 or len(words) > 1000:
        return ""  # the search would take too long
    close = difflib.get_close_matches(word, words, 1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"there is: {', '.join(words)}" if 0 < len(words) <= 20 else ""


def _values(form: Form, line: Line) -> dict[str, Any]:
    """The values on a directive's line."""
    values: dict[str, Any] = {}
    head = list(form.head)
    for item in line.parsed.items:
        if item.key:
            part = form.keys.get(item.key)
            if part is None:
                raise line.error(item.column, f".{form.directive} has no '{item.key}='", _suggest(item.key, form.keys))
            if part.fields[0] in values:
                raise line.error(item.column, f"'{item.key}=' is given twice")
        elif head:
            part = head.pop(0)
        else:
            raise line.error(item.column, "one value too many", _shape(form))
        _read(part, item, values, line)
    _complete(form, head, values, line)
    return values


def _read(part: FormPart, item: Item, values: dict[str, Any], line: Line) -> None:
    if part.literal:
        if item.tokens[0].text != part.literal:
            raise line.error(item.column, f"expected '{part.literal}'")
        return
    try:
        if not part.put(values, part.style.read(item.tokens)):
            raise WrongValue(f"{len(part.fields)} numbers: {','.join(part.fields)}")
    except WrongValue as wrong:
        at = item.tokens[0].column if item.tokens else item.column
        raise line.error(at, f"expected {wrong} ({', '.join(part.fields)})") from None


def _complete(form: Form, head: list[FormPart], values: dict[str, Any], line: Line) -> None:
    defaults = form.defaults(values)
    known = values.keys() | defaults.keys()
    missing = [*head, *(part for part in form.keys.values() if not known >= set(part.fields))]
    if missing:
        part = missing[0]
        name = f"'{part.key}='" if part.key else f"'{part.literal}'" if part.literal else ", ".join(part.fields)
        raise line.error(len(line.text), f".{form.directive} lacks {name}", _shape(form))
    for name, value in defaults.items():
        values.setdefault(name, value)


def _shape(form: Form) -> str:
    head = [part.literal or "x".join(part.fields).upper() for part in form.head]
    return f"it is: .{form.directive} {' '.join([*head, *(f'{key}=' for key in form.keys)])}"


def _instruction(stack: list[_Draft], line: Line) -> None:
    while stack and not any(child.kind == "code" for child in stack[-1].form.children):
        stack.pop() if len(stack) > 1 else _misplaced(line, "an instruction", ".tile")
    mnemonic = line.parsed.name
    cls = REGISTRY.get(mnemonic)
    if cls is None:
        raise line.error(0, f"unknown instruction '{mnemonic}'", _suggest(mnemonic, REGISTRY))
    operands = list(line.parsed.operands)
    try:
        instr = read_operands(cls, operands)
    except WrongValue as wrong:
        column = operands[0].column if operands else len(line.text)
        raise line.error(column, f"expected {wrong}", f"it is: {usage(cls)}") from None
    stack[-1].code.append((line, instr))


def _microop(stack: list[_Draft], line: Line) -> None:
    while not any(child.kind == "ops" for child in stack[-1].form.children):
        stack.pop() if len(stack) > 1 else _misplaced(line, "a micro-operation", ".flow")
    name, *args = line.parsed.arguments
    if len(line.parsed.name) > 9:
        raise line.error(0, "no flow has so many steps")
    column = max(0, line.text.find(name))
    if name not in OPS:
        raise line.error(column, f"unknown micro-operation '{name}'", _suggest(name, OPS))
    try:
        stack[-1].ops.append(micro_op(int(line.parsed.name), name, args))
    except FlowError:
        raise line.error(column, "wrong arguments", f"it is: {name} {OPS[name].usage()}".rstrip()) from None


def _misplaced(line: Line, what: str, where: str) -> None:
    raise line.error(0, f"{what} belongs inside a {where}")


def _make(draft: _Draft, **more: Any) -> Any:
    """The value of a draft and all inside it."""
    values = dict(draft.values)
    for child in draft.form.children:
        if child.kind == "ops":
            values[child.attribute] = tuple(draft.ops)
        elif child.kind != "code":
            values[child.attribute] = _held(draft, child)
    try:
        return draft.form.make(**{**values, **more})
    except WrongValue as wrong:
        raise draft.line.error(0, f"expected {wrong}") from None
    except PimcError as error:
        raise draft.line.error(0, "; ".join(str(error).split("\n"))) from None


def _held(draft: _Draft, child: Child) -> Any:
    drafts = draft.drafts.get(child.attribute, [])
    if child.kind == "one":
        if not drafts:
            directive = child.form.directive if child.form else child.attribute
            raise draft.line.error(0, f".{draft.form.directive} lacks its .{directive} line")
        return _make(drafts[0])
    values = [_make(inner) for inner in drafts]
    if child.kind == "many":
        return tuple(values)
    table: dict[str, Any] = {}
    for inner, (key, value) in zip(drafts, values, strict=True):
        if key in table:
            raise inner.line.error(0, f"'{key}' is given twice")
        table[key] = value
    return table


def _program(root: _Draft, load: Loader, judge: Judge | None) -> Program:
    held = {c.attribute: _held(root, c) for c in PROGRAM.children if c.attribute not in ("tiles", "data")}
    channels = {channel.name for channel in held["channels"]}
    tiles = tuple(_tile(draft, channels) for draft in root.drafts.get("tiles", []))
    program = Program(tiles=tiles, **held)
    if judge is not None:
        judge(program)
    for draft in root.drafts.get("data", []):
        program = replace(program, tensors={**_load(draft, load), **program.tensors})
    return program


def _load(draft: _Draft, load: Loader) -> Mapping[str, Any]:
    try:
        return load(draft.values["file"], draft.values["sha256"])
    except PimcError as error:
        raise draft.line.error(0, "; ".join(str(error).split("\n"))) from None


def _tile(draft: _Draft, channels: set[str]) -> Tile:
    usual = draft.values.pop("node")
    nodes = tuple(
        line.parsed.node if line.parsed.node is not None else "" if instr.unit == "control" else usual
        for line, instr in draft.code
    )
    code = tuple(instr for _, instr in draft.code)
    tile: Tile = _make(draft, code=code, nodes=nodes if any(nodes) else ())
    _check_names(tile, draft.code, channels)
    return tile


def _check_names(tile: Tile, code: list[tuple[Line, Instr]], channels: set[str]) -> None:
    """Names that nothing declares are reported where they stand."""
    known = {space: {d.name for d in getattr(tile, attr)} for space, attr in SPACES.items()} | {"channel": channels}
    for line, instr in code:
        for position, (name, spec) in enumerate(fields_of(type(instr))):
            space = "buffer" if spec.kind == "slab" else spec.space
            value = getattr(instr, name)
            word = value.buffer if spec.kind == "slab" else value
            if space and word not in known[space]:
                operand: OperandText = line.parsed.operands[position]
                where = "the program" if space == "channel" else f"tile {tile.number}"
                message = f"{where} has no {space} '{word}'"
                raise line.error(operand.column, message, _suggest(word, known[space]))
