"""Values of dataclass fields to text and back, driven by the fields' declared types."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Sequence
from functools import cache
from typing import Any

from pimc.ir._scan import GraphScanner, Node, quote
from pimc.ir.ops.specs import is_constant

__all__ = ["fields_to_text", "node_to_fields"]

_WIDTH = 110


class _Name:
    """In place of ``str``: the field holds a constant's name."""


def fields_to_text(value: Any, skip: frozenset[str], indent: int, last: Sequence[str] = ()) -> str:
    """``{field = value, ...}`` of the fields that differ from their defaults; broken into lines where it is long.

    Fields named in ``last`` come after the others, in that order.
    """
    fields = {f.name: f for f in dataclasses.fields(value) if f.name not in skip}
    order = [name for name in fields if name not in last] + [name for name in last if name in fields]
    shown = [
        n for n in order if fields[n].default is dataclasses.MISSING or not _same(getattr(value, n), fields[n].default)
    ]
    return _wrap("{", [f"{name} = {_field(value, name, indent + 2)}" for name in shown], "}", indent)


def _same(item: Any, default: Any) -> bool:
    return type(item) is type(default) and bool(item == default)


def _wrap(opening: str, texts: list[str], closing: str, indent: int) -> str:
    """Everything on one line, or lines filled with as much as fits."""
    flat = opening + ", ".join(texts) + closing
    if len(flat) + indent <= _WIDTH and "\n" not in flat:
        return flat
    lines = [""]
    for text in texts:
        if lines[-1] and (len(lines[-1]) + len(text) + indent + 4 > _WIDTH or "\n" in lines[-1] + text):
            lines.append("")
        lines[-1] += f", {text}" if lines[-1] else text
    pad = " " * (indent + 2)
    return opening + ",".join(f"\n{pad}{line}" for line in lines) + "\n" + " " * indent + closing


def _field(value: Any, name: str, indent: int) -> str:
    item = getattr(value, name)
    if is_constant(type(value), name):
        return quote("@", item)
    try:
        return _text(item, indent)
    except TypeError as error:
        raise TypeError(f"field {name} holds a {error}, which has no text form") from None


def _text(item: Any, indent: int) -> str:
    if item is None:
        return "none"
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, str):
        return json.dumps(item)
    if isinstance(item, int):
        return str(int(item))
    if isinstance(item, float):
        return repr(float(item))
    if isinstance(item, tuple):
        return _wrap("[", [_text(part, indent + 2) for part in item], "]", indent)
    if dataclasses.is_dataclass(item):
        return fields_to_text(item, frozenset(), indent)
    raise TypeError(type(item).__name__)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def node_to_fields(scan: GraphScanner, cls: type, record: dict[str, Node], at: int, given: dict[str, Any]) -> Any:
    """Build a dataclass from a parsed record and fields ``given`` otherwise."""
    declared = {f.name: f for f in dataclasses.fields(cls)}
    values = dict(given)
    for key, node in record.items():
        if key not in declared or key in given:
            scan.fail(
                node.at,
                f"{_name(cls)} has no field {key!r}; fields are {', '.join(n for n in declared if n not in given)}",
            )
        values[key] = _convert(scan, node, _Name if is_constant(cls, key) else _hints(cls)[key], key)
    missing = [n for n, f in declared.items() if n not in values and f.default is dataclasses.MISSING]
    if missing:
        scan.fail(at, f"{_name(cls)} without {', '.join(missing)}")
    return cls(**values)


def _name(cls: type) -> str:
    return str(getattr(cls, "kind", cls.__name__))


def _convert(scan: GraphScanner, node: Node, hint: Any, key: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        if node.kind == "word" and node.data == "none":
            return None
        return _convert(scan, node, next(a for a in args if a is not type(None)), key)
    if origin is tuple:
        return _convert_tuple(scan, node, args, key)
    if dataclasses.is_dataclass(hint):
        if not isinstance(node.data, dict):
            scan.fail(node.at, f"{key}: expected {{...}}")
        return node_to_fields(scan, typing.cast(type, hint), node.data, node.at, {})
    return _convert_scalar(scan, node, hint, key)


def _convert_tuple(scan: GraphScanner, node: Node, args: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if not isinstance(node.data, list):
        scan.fail(node.at, f"{key}: expected a list")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(scan, item, args[0], key) for item in node.data)
    if len(args) != len(node.data):
        scan.fail(node.at, f"{key}: expected {len(args)} values, found {len(node.data)}")
    return tuple(_convert(scan, item, hint, key) for item, hint in zip(node.data, args, strict=True))


def _convert_scalar(scan: GraphScanner, node: Node, hint: Any, key: str) -> Any:
    data = node.data
    if isinstance(data, str):
        if hint is bool and data in {"true", "false"}:
            return data == "true"
        if (hint, node.kind) in ((str, "string"), (_Name, "const")):
            return data
        if hint is float and node.kind == "number":
            return float(data)
        if hint is int and node.kind == "number" and data.lstrip("+-").isdigit():
            return int(data)
    wanted = "a constant's name (@name)" if hint is _Name else f"a value of type {getattr(hint, '__name__', hint)}"
    scan.fail(node.at, f"{key}: expected {wanted}")
