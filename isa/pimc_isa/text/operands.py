"""Instructions in assembly: printed and read from the declarations of their fields.

A slab is ``acc[2*i+1, 0:14, 0:64]`` (row, columns, channels; ``:`` or nothing for all that the buffer holds, and for
the row where it means nothing), an ``until`` is ``until=2*i+2``, a count is ``i, 28``: the counter and how often. A
range of rows is ``rows=1:28:2``: first, stop, step; one of all rows is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pimc_isa.instructions  # noqa: F401  (fills the registry)
from pimc_isa.define import Field, Instr, fields_of
from pimc_isa.operands import ALL_ROWS, Range, RowExpr, RowRange, Slab
from pimc_isa.text.values import WrongValue, quoted, whole

__all__ = ["OperandText", "read_operands", "read_range", "read_row", "show_instr", "show_range", "show_row", "usage"]

_ROW = re.compile(
    r"(?P<open>\()?\s*(?:(?P<sign>-)?(?:(?P<a>\d+)\s*\*\s*)?(?P<i>i)(?:\s*(?P<op>[-+])\s*(?P<b>\d+))?|(?P<n>-?\d+))"
    r"\s*(?:\)\s*//\s*(?P<d>-?\d+))?"
)


@dataclass(frozen=True)
class OperandText:
    """One operand as written: a name, a number, a slab (name, index and ranges), a keyed row expression or range."""

    kind: str  # 'name', 'number', 'slab', 'keyed' or 'ranged'
    name: str
    column: int
    number: int = 0
    row: RowExpr | None = None
    ranges: tuple[Range | None, ...] = ()
    rows: RowRange | None = None


def show_row(row: RowExpr) -> str:
    """A row expression: ``i``, ``2*i+1``, ``(3*i+1)//2``, ``5``."""
    inner = str(row.b) if row.a == 0 else _counter(row.a) + (f"{row.b:+d}" if row.b else "")
    return inner if row.d == 1 else f"({inner})//{row.d}"


def _counter(a: int) -> str:
    return {1: "i", -1: "-i"}.get(a, f"{a}*i")


def read_row(text: str) -> RowExpr:
    """The row expression behind a ROW token."""
    match = _ROW.fullmatch(text)
    if match is None:
        raise WrongValue("a row like i, 2*i+1 or (3*i+1)//2")
    part = match.groupdict()
    divisor = whole(part["d"] or "1")
    if part["n"] is not None:
        return RowExpr(0, whole(part["n"]), divisor)
    a = whole(part["a"] or "1") * (-1 if part["sign"] else 1)
    b = whole(part["b"] or "0") * (-1 if part["op"] == "-" else 1)
    return RowExpr(a, b, divisor)


def show_range(rows: RowRange) -> str:
    """A range of rows: ``1:``, ``0:14``, ``1:28:2``."""
    return f"{rows.first}:{'' if rows.stop is None else rows.stop}" + (f":{rows.step}" if rows.step != 1 else "")


def read_range(text: str) -> RowRange:
    """The range behind a ROWS token."""
    first, stop, step = (*text.split(":"), "1")[:3]
    return RowRange(whole(first), whole(stop) if stop else None, whole(step))


def show_instr(instr: Instr) -> str:
    """An instruction as one line, without indentation and node."""
    operands = (_SHOW[spec.kind](spec, getattr(instr, name), name) for name, spec in fields_of(type(instr)))
    return f"{instr.mnemonic:<6} {', '.join(filter(None, operands))}".rstrip()


def _show_slab(spec: Field, slab: Slab, name: str) -> str:
    ignored = not spec.access and slab.row == RowExpr()
    parts = [":" if ignored else show_row(slab.row), _span(slab.cols), _span(slab.chans)]
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return quoted(slab.buffer) if parts == [":"] else f"{quoted(slab.buffer)}[{', '.join(parts)}]"


def _span(span: Range | None) -> str:
    return ":" if span is None else f"{span[0]}:{span[1]}"


_SHOW: dict[str, Callable[..., str]] = {
    "slab": _show_slab,
    "ref": lambda spec, value, name: quoted(value),
    "until": lambda spec, value, name: f"{name}={show_row(value)}",
    "rows": lambda spec, value, name: "" if value == ALL_ROWS else f"{name}={show_range(value)}",
    "count": lambda spec, value, name: f"i, {value}",
    "byte": lambda spec, value, name: f"{name}={value}",
}


def usage(cls: type[Instr]) -> str:
    """What an instruction looks like, for messages and the manual."""
    forms = {"slab": "{}[row]", "ref": "{}", "until": "{}=rows", "count": "i, {}", "byte": "{}=0..255"}
    operands = [
        forms[spec.kind if spec.access or spec.kind != "slab" else "ref"].format(name)
        for name, spec in fields_of(cls)
        if spec.kind != "rows"
    ]
    optional = "".join(f"[, {name}=first:stop:step]" for name, spec in fields_of(cls) if spec.kind == "rows")
    return f"{cls.mnemonic} {', '.join(operands)}{optional}".rstrip()


class _Operands:
    """The operands of one line, taken one after the other."""

    def __init__(self, operands: list[OperandText]) -> None:
        self.left = list(operands)

    def take(self, kind: str, what: str) -> OperandText:
        if not self.left or self.left[0].kind != kind:
            raise WrongValue(what)
        return self.left.pop(0)


def read_operands(cls: type[Instr], operands: list[OperandText]) -> Instr:
    """The instruction; WrongValue says what was expected where the operands left in ``operands`` begin."""
    taken = _Operands(operands)
    values: dict[str, object] = {}
    try:
        for name, spec in fields_of(cls):
            values[name] = _READ[spec.kind](taken, spec, name)
        if taken.left:
            raise WrongValue("the end of the line")
    finally:
        operands[:] = taken.left
    return cls(**values)


def _read_slab(taken: _Operands, spec: Field, name: str) -> Slab:
    if not spec.access and taken.left and taken.left[0].kind == "name":
        return Slab(taken.left.pop(0).name, RowExpr())
    operand = taken.take("slab", f"a row part for '{name}', like {name}[i] or {name}[2*i+1, 0:14, 0:64]")
    if operand.row is None and spec.access:
        raise WrongValue(f"a row for '{name}', like {name}[i]")
    if len(operand.ranges) > 2:
        raise WrongValue(f"at most a row, columns and channels for '{name}'")
    cols, chans = (*operand.ranges, None, None)[:2]
    return Slab(operand.name, operand.row or RowExpr(), cols, chans)


def _read_ref(taken: _Operands, spec: Field, name: str) -> str:
    return taken.take("name", f"the name of a {spec.space} ({name})").name


def _read_until(taken: _Operands, spec: Field, name: str) -> RowExpr:
    operand = taken.take("keyed", f"{name}=ROWS, like {name}=2*i+2")
    if operand.name != name or operand.row is None:
        raise WrongValue(f"{name}=ROWS")
    return operand.row


def _read_rows(taken: _Operands, spec: Field, name: str) -> RowRange:
    if not taken.left:
        return ALL_ROWS
    operand = taken.left[0]
    if operand.name != name or operand.rows is None:
        raise WrongValue(f"{name}=FIRST:STOP:STEP, like {name}=1:28:2, or the end of the line")
    taken.left.pop(0)
    return operand.rows


def _read_byte(taken: _Operands, spec: Field, name: str) -> int:
    operand = taken.take("keyed", f"{name}=VALUE, like {name}=128")
    row = operand.row
    if operand.name != name or row is None or row.a or row.d != 1 or not 0 <= row.b <= 255:
        raise WrongValue(f"{name}=VALUE, 0 to 255")
    return row.b


def _read_count(taken: _Operands, spec: Field, name: str) -> int:
    if taken.take("name", f"the counter i and {name}: i, 28").name != "i":
        raise WrongValue("the counter, which is called i")
    return taken.take("number", f"{name}: a whole number").number


_READ: dict[str, Callable[[_Operands, Field, str], object]] = {
    "slab": _read_slab,
    "ref": _read_ref,
    "until": _read_until,
    "rows": _read_rows,
    "count": _read_count,
    "byte": _read_byte,
}
