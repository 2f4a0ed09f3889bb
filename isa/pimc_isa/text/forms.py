"""What assembly lines look like: one form per directive, derived from the dataclasses; exceptions are written here.

A form prints a value as ``.directive head... key=value...`` and builds it from what was read; keys whose value is the
default are left out. Children (the views of a buffer, the tiles of a program) follow on lines of their own.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from pimc_isa.flow import Flow
from pimc_isa.machine import Machine, machine_from_dict, machine_to_dict
from pimc_isa.operands import (
    Buffer,
    Call,
    Channel,
    Elementwise,
    Group,
    Requant,
    Rounds,
    Table,
    View,
    Weights,
    Window,
)
from pimc_isa.program import Port, Program, Tile
from pimc_isa.text.tensors import TENSOR_DTYPE, TENSOR_VALUES, make_tensor
from pimc_isa.text.values import (
    BOOL,
    CORNERS,
    FLOAT,
    INT,
    INTS,
    NAME,
    PLACE,
    RANGE,
    SCALE,
    SHAPE,
    TEXT,
    Style,
    dims,
)

__all__ = ["PROGRAM", "Child", "Form", "FormPart", "usual_node"]


@dataclass(frozen=True)
class FormPart:
    """A value on the line: which fields it holds (several make a tuple), its style, and its key, if it has one."""

    fields: tuple[str, ...]
    style: Style
    key: str = ""
    literal: str = ""  # punctuation instead of a value

    def get(self, values: Mapping[str, Any]) -> Any:
        """The value to print."""
        return values[self.fields[0]] if len(self.fields) == 1 else tuple(values[f] for f in self.fields)

    def put(self, values: dict[str, Any], value: Any) -> bool:
        """Store what was read; False if there are too many or too few numbers."""
        if len(self.fields) == 1:
            values[self.fields[0]] = value
            return True
        values.update(zip(self.fields, value, strict=False))
        return len(value) == len(self.fields)


@dataclass(frozen=True)
class Child:
    """A field printed on further lines: ``one`` value, a tuple of ``many``, a ``dict``, or the special code and ops."""

    attribute: str
    kind: str
    form: Form | None = None


@dataclass(frozen=True)
class Form:
    """A directive. ``take`` gives a value's fields, ``make`` builds it, ``defaults`` fills keys that were left out."""

    directive: str
    what: str
    parts: tuple[FormPart, ...]
    take: Callable[[Any], Mapping[str, Any]] = vars
    make: Callable[..., Any] = dict
    defaults: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda values: {}
    children: tuple[Child, ...] = ()
    _table: dict[str, Child] = field(default_factory=dict, compare=False)

    @property
    def head(self) -> tuple[FormPart, ...]:
        """Values without a key, in order."""
        return tuple(part for part in self.parts if not part.key)

    @property
    def keys(self) -> dict[str, FormPart]:
        """Values with a key."""
        return {part.key: part for part in self.parts if part.key}

    def child(self, directive: str) -> Child | None:
        """The child that a directive belongs to."""
        if not self._table:
            self._table.update({c.form.directive: c for c in self.children if c.form})
        return self._table.get(directive)


_BY_TYPE: dict[Any, Style] = {int: INT, float: FLOAT, str: TEXT, bool: BOOL, tuple[int, ...]: INTS}


def _form(
    directive: str,
    cls: Any,
    head: Mapping[str | tuple[str, ...], Style] | None = None,
    styles: Mapping[str, Style] | None = None,
    children: tuple[Child, ...] = (),
    defaults: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> Form:
    """A form for a dataclass: ``head`` values first, every other field a key in the style of its type."""
    hints = get_type_hints(cls)
    parts = [FormPart((f,) if isinstance(f, str) else f, style) for f, style in (head or {}).items()]
    done = {f for part in parts for f in part.fields} | {c.attribute for c in children}
    nested = []
    for f in dataclasses.fields(cls):
        style = (styles or {}).get(f.name) or _BY_TYPE.get(hints[f.name])
        if f.name in done:
            continue
        if style is None:
            nested.append(_nested(directive, f.name, hints[f.name]))
        else:
            parts.append(FormPart((f.name,), style, f.name))
    fixed = {f.name: f.default for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
    return Form(
        directive,
        (cls.__doc__ or "").splitlines()[0],
        tuple(parts),
        make=cls,
        defaults=lambda values: {**fixed, **(defaults(values) if defaults else {})},
        children=(*nested, *children),
    )


def _nested(directive: str, attribute: str, hint: Any) -> Child:
    """A field that is itself a dataclass, a tuple of them, or a dict of strings."""
    name = f"{directive}.{attribute}"
    if get_origin(hint) is dict:
        return _pairs(attribute, name, "a name and its text")
    if get_origin(hint) is not tuple:
        return Child(attribute, "one", _form(name, hint))
    cls = get_args(hint)[0]
    first = dataclasses.fields(cls)[0].name
    return Child(attribute, "many", _form(name, cls, {first: TEXT} if get_type_hints(cls)[first] is str else None))


def _pair(value: Any) -> Mapping[str, Any]:
    return {"a": value[0], "b": value[1]}


def _make_pair(a: Any, b: Any) -> tuple[Any, Any]:
    return a, b


def _pairs(attribute: str, directive: str, what: str) -> Child:
    """A dict of strings: one line per entry."""
    parts = (FormPart(("a",), NAME), FormPart((), NAME, literal="="), FormPart(("b",), TEXT))
    return Child(attribute, "dict", Form(directive, what, parts, _pair, _make_pair))


def _places(attribute: str, directive: str, arrow: str, what: str) -> Child:
    """Pairs of a subgraph's tensor and a buffer or port."""
    parts = (FormPart(("a",), TEXT), FormPart((), NAME, literal=arrow), FormPart(("b",), PLACE))
    return Child(attribute, "many", Form(directive, what, parts, _pair, _make_pair))


def _machine(**values: Any) -> Machine:
    """A checked machine."""
    return machine_from_dict(machine_to_dict(Machine(**values)), "the machine")


def _tensor(name_and_array: tuple[str, np.ndarray]) -> Mapping[str, Any]:
    name, array = name_and_array
    return {"name": name, "dtype": array.dtype.name, "shape": array.shape, "values": array}


def _make_tensor(name: str, dtype: str, shape: tuple[int, ...], values: list[float] | str) -> tuple[str, np.ndarray]:
    return name, make_tensor(dtype, shape, values)


def usual_node(tile: Tile) -> str:
    """The ONNX node that most instructions of a tile work for: printed once, not on every line."""
    nodes = [node for instr, node in zip(tile.code, tile.nodes, strict=False) if instr.unit != "control"]
    times = Counter(nodes)
    return max(times, key=lambda node: times[node]) if times else ""


_VIEW = _form("view", View, {"tensor": TEXT, "order": NAME, "shape": SHAPE})
_BUFFER = _form(
    "buffer",
    Buffer,
    {"name": NAME, "dtype": NAME, ("rows", "width", "channels"): dims(3)},
    {"cols": RANGE, "chans": RANGE},
    (Child("views", "many", _VIEW),),
    defaults=lambda v: {"cols": (0, v.get("width")), "chans": (0, v.get("channels"))},
)
_WINDOW = _form(
    "window",
    Window,
    {"name": NAME, "kernel": dims(2)},
    {"stride": dims(2), "pads": CORNERS, "dilation": dims(2)},
)
_GROUP = _form(
    "group",
    Group,
    {"name": NAME},
    {"weights": NAME, "flow": NAME, "k": RANGE, "n": RANGE, "groups": RANGE, "rounds": NAME},
)
_REQUANT = _form("requant", Requant, {"name": NAME}, {"data": NAME})
_ELEMENTWISE = _form("elementwise", Elementwise, {"name": NAME}, {"a": SCALE, "b": SCALE, "y": SCALE})
_TABLE = _form("table", Table, {"name": NAME}, {"data": NAME})
_CALL = _form(
    "call",
    Call,
    {"name": NAME},
    {"model": NAME},
    (
        _places("inputs", "feed", "<-", "Input of a host call: the subgraph's tensor and where it comes from."),
        _places("outputs", "fetch", "->", "Output of a host call: the subgraph's tensor and where it goes."),
    ),
)
_CHANNEL = dataclasses.replace(
    _form("channel", Channel, {"name": NAME}),
    parts=(
        FormPart(("name",), NAME),
        FormPart(("source",), INT),
        FormPart((), NAME, literal="->"),
        FormPart(("dests",), INTS),
        FormPart(("depth",), INT, "depth"),
    ),
)
_TILE = Form(
    "tile",
    "One instruction stream with its descriptors; place: chip, x, y, which other streams may share; "
    "node: ONNX node of instructions that name none.",
    (
        FormPart(("number",), INT),
        FormPart(("name",), TEXT),
        FormPart(("chip", "x", "y"), INTS, "at"),
        FormPart(("kind",), NAME, "kind"),
        FormPart(("node",), TEXT, "node"),
    ),
    lambda tile: {**vars(tile), "node": usual_node(tile)},
    Tile,
    lambda values: {"kind": "tile", "node": ""},
    (
        Child("buffers", "many", _BUFFER),
        Child("windows", "many", _WINDOW),
        Child("groups", "many", _GROUP),
        Child("requants", "many", _REQUANT),
        Child("elementwises", "many", _ELEMENTWISE),
        Child("tables", "many", _TABLE),
        Child("calls", "many", _CALL),
        Child("code", "code"),
    ),
)
_FLOW = _form("flow", Flow, {"name": NAME}, None, (Child("ops", "ops"),))
_TENSOR = Form(
    "tensor",
    "A tensor of the program.",
    (
        FormPart(("name",), NAME),
        FormPart(("dtype",), TENSOR_DTYPE),
        FormPart(("shape",), SHAPE),
        FormPart((), NAME, literal="="),
        FormPart(("values",), TENSOR_VALUES),
    ),
    _tensor,
    _make_tensor,
)
_DATA = Form(
    "data",
    "The file with the tensors that are not written out, beside the text, and its checksum.",
    (FormPart(("file",), TEXT), FormPart(("sha256",), TEXT, "sha256")),
    dict,
)

#: The whole text: the program's own line, then its children in this order.
PROGRAM = Form(
    "program",
    "Version of the ISA; the first line.",
    (FormPart(("isa",), TEXT, "isa"),),
    children=(
        _pairs("meta", "meta", "Origin of the program: target, hash of the model, ..."),
        Child("data", "one", _DATA),
        Child("machine", "one", dataclasses.replace(_form("machine", Machine, {"name": TEXT}), make=_machine)),
        Child("inputs", "many", _form("input", Port, {"name": TEXT, "dtype": NAME, "shape": SHAPE})),
        Child("outputs", "many", _form("output", Port, {"name": TEXT, "dtype": NAME, "shape": SHAPE})),
        Child("flows", "many", _FLOW),
        Child("weights", "many", _form("weights", Weights, {"name": NAME})),
        Child("rounds", "many", _form("rounds", Rounds, {"name": NAME}, {"outputs": RANGE})),
        Child("channels", "many", _CHANNEL),
        Child("tensors", "dict", _TENSOR),
        Child("tiles", "many", _TILE),
    ),
)
assert {c.attribute for c in PROGRAM.children} - {"data"} == {f.name for f in dataclasses.fields(Program)}
