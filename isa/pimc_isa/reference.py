"""Writes the manual, isa/README.md: tables from the declarations, prose from reference.md.

``python -m pimc_isa.reference [FILE]`` writes it (default: isa/README.md of the checkout this module is in).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

import pimc_isa.instructions  # noqa: F401  (fills the registry)
from pimc_isa import ISA_VERSION
from pimc_isa.binary.words import word_layout
from pimc_isa.define import OPCODE_BITS, REGISTRY, WORD_BITS, Field, Instr, fields_of
from pimc_isa.files import write_text
from pimc_isa.flow.microops import OPS, MicroOp
from pimc_isa.limits import LIMITS
from pimc_isa.machine import ACTIONS
from pimc_isa.text.forms import PROGRAM, Form
from pimc_isa.text.operands import usage

__all__ = ["manual"]

EXAMPLE = """\
.tile 17 "layer2.0.conv1" at=0,3,1 node="layer2.0.conv1"
  .buffer x u8 28x56x64 slots=4            ; rows x width x channels; a ring of four rows
  .buffer acc i32 14x28x128 slots=2
  .buffer y u8 14x28x128 slots=2
  .window w 3x3 stride=2x2 pads=1,1,1,1 pad_value=128
  .group g weights=w17 flow=isaac8 k=0:576 n=0:128 groups=0:1 copies=2
  .requant q data=m17 zero=0
  loop   i, 14
    recv   x, c0, until=2*i+2              ; rows 0 to 2i+1 are here
    mvm    acc[i], x, w, g
    quant  y[i], acc[i], q
    send   c1, y[i]
  end
  halt"""


def manual() -> str:
    """The whole page."""
    text = resources.files("pimc_isa").joinpath("reference.md").read_text(encoding="utf-8")
    parts = {
        "version": ISA_VERSION,
        "instructions": _overview(),
        "details": "\n\n".join(_details(cls) for cls in _instructions()),
        "words": _words(),
        "example": EXAMPLE,
        "directives": _table(("directive", "what it declares"), _directives(PROGRAM)),
        "microops": _microops(),
        "limits": _table(("most", "of what"), ((str(limit.most), limit.what) for limit in LIMITS.values())),
        "actions": _table(("action", "one is"), ((f"`{name}`", doc) for name, doc in ACTIONS.items())),
    }
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part.replace("``", "`"))
    return text


def _instructions() -> list[type[Instr]]:
    return sorted(REGISTRY.values(), key=lambda cls: cls.opcode)


def _table(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    cells = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().splitlines()[0]


def _overview() -> str:
    rows = (
        (f"`{usage(cls)}`", cls.unit, "-" if cls.unit == "control" else _first_line(cls.cycles.__doc__), _what(cls))
        for cls in _instructions()
    )
    return _table(("instruction", "unit", "cycles", "what it does"), rows)


def _what(cls: type[Instr]) -> str:
    return _first_line(cls.__doc__)


def _details(cls: type[Instr]) -> str:
    """An instruction with all of its documentation and operands."""
    doc = "\n".join(line.strip() for line in (cls.__doc__ or "").strip().splitlines())
    operands = "\n".join(f"* `{name}`: {_field(spec)}" for name, spec in fields_of(cls))
    return "\n\n".join(part for part in (f"### `{usage(cls)}`", doc, operands) if part)


def _field(spec: Field) -> str:
    kinds = {
        "slab": "row part",
        "until": "row expression",
        "rows": "range of rows, if not all",
        "count": "count",
        "byte": "value",
        "ref": spec.space,
    }
    access = {"r": ", read", "w": ", written", "rw": ", read and written"}.get(spec.access, "")
    dtype = f", {spec.dtype}" if spec.dtype else ""
    return f"{kinds[spec.kind]}{access}{dtype}: {spec.doc}"


def _words() -> str:
    top = WORD_BITS - 1
    rows = []
    for cls in _instructions():
        places = [f"{top}:{WORD_BITS - OPCODE_BITS} `{cls.opcode:#04x}`"]
        places += [f"{p.shift + p.spec.bits - 1}:{p.shift} {p.name}" for p in word_layout(cls)]
        rows.append((f"`{cls.mnemonic}`", ", ".join(places)))
    return _table(("instruction", "bits"), rows)


def _directives(form: Form) -> Iterator[tuple[str, str]]:
    yield f"`{_shape(form)}`", form.what
    for child in form.children:
        if child.form:
            yield from _directives(child.form)


def _shape(form: Form) -> str:
    head = [part.literal or "x".join(part.fields).upper() for part in form.head]
    return " ".join(["." + form.directive, *head, *(f"{key}=" for key in form.keys)])


def _microops() -> str:
    rows = (
        (f"`{f'{name} {op.usage()}'.strip()}`", op.resource, op.takes or "-", op.makes or "-", _said(op))
        for name, op in OPS.items()
    )
    return _table(("micro-operation", "occupies", "takes", "makes", "what it does"), rows)


def _said(op: type[MicroOp]) -> str:
    """What a micro-operation does, in a line."""
    return " ".join((op.__doc__ or "").split())


def main() -> None:
    """Write the page."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "README.md"
    write_text(path, manual())


if __name__ == "__main__":
    main()
