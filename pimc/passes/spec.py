"""Pipelines as text: ``map-weights{chips=2};place`` to passes and back. A pass's options are its dataclass fields."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pimc.passes.base import Pass, PassError, options_of

__all__ = ["edited", "parse_pipeline", "print_pipeline"]

_STEP = re.compile(r"\s*(?P<name>[a-z0-9-]+)\s*(?:\{(?P<options>[^{}]*)\})?\s*")
_WORDS = {"none": None, "true": True, "false": False}


def print_pipeline(passes: Iterable[Pass]) -> str:
    """Return the spec of passes; options at their default are left out."""
    return ";".join(_print_pass(step) for step in passes)


def _print_pass(step: Pass) -> str:
    options = [
        f"{field.name}={_print_value(getattr(step, field.name))}"
        for field in options_of(step)
        if getattr(step, field.name) != field.default
    ]
    return step.name + (f"{{{','.join(options)}}}" if options else "")


def _print_value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return next(word for word, meaning in _WORDS.items() if meaning is value)
    if isinstance(value, tuple):
        return "/".join(map(_print_value, value))
    return str(value)


def parse_pipeline(text: str, known: Mapping[str, type[Pass]]) -> tuple[Pass, ...]:
    """Read a spec; ``known`` are the passes by name. Raises PassError for anything that is not a pass or an option."""
    passes: list[Pass] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if not match or (match.end() < len(text) and text[match.end()] != ";"):
            raise PassError(f"pipeline {text!r}: expected a pass such as name{{option=value}} at column {at + 1}")
        if match["name"] not in known:
            raise PassError(f"no pass {match['name']!r}; passes are {', '.join(known)}")
        passes.append(_parse_pass(known[match["name"]], match["options"] or ""))
        at = match.end() + 1
    return tuple(passes)


def edited(pipeline: Sequence[Pass], spec: str, known: Mapping[str, type[Pass]]) -> tuple[Pass, ...]:
    """A pipeline changed by a text; ``known`` are the passes by name.

    ``=a;b;c`` is the whole pipeline: it adds, drops and reorders. Otherwise items change the given one: ``a{x=1}``
    replaces the pass of that name, ``-a`` drops it, ``+b`` puts b behind the item before it (first: in front of all).
    Raises PassError.
    """
    if spec.strip().startswith("="):
        return parse_pipeline(spec.strip()[1:], known)
    steps, at = list(pipeline), 0
    for item in _items(spec):
        kind, text = (item[0], item[1:]) if item[0] in "+-" else ("", item)
        (step,) = parse_pipeline(text, known)
        if kind == "+":
            steps.insert(at, step)
            at += 1
            continue
        names = [s.name for s in steps]
        if step.name not in names:
            raise PassError(f"pass {step.name} is not in this pipeline; its passes are {', '.join(names)}")
        at = names.index(step.name)
        steps[at : at + 1] = [] if kind == "-" else [step]
        at += kind == ""
    return tuple(steps)


def _items(spec: str) -> list[str]:
    """Items between semicolons; those in braces do not count."""
    return [item.strip() for item in re.split(r";(?![^{]*\})", spec) if item.strip()]


def _parse_pass(cls: type[Pass], options: str) -> Pass:
    hints = typing.get_type_hints(cls)
    declared = [field.name for field in options_of(cls)]
    values: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in options.split(","))):
        key, _, text = (part.strip() for part in item.partition("="))
        if key not in declared:
            raise PassError(
                f"pass {cls.name} has no option {key!r}; "
                + (f"options are {', '.join(declared)}" if declared else "it has none")
            )
        try:
            values[key] = _parse_value(text, hints[key])
        except ValueError:
            raise PassError(f"pass {cls.name}: {key}={text!r} is not a value of type {hints[key]}") from None
    return cls(**values)


def _parse_value(text: str, hint: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        if text == "none" and type(None) in args:
            return None
        return _parse_value(text, next(a for a in args if a is not type(None)))
    if origin is tuple:
        return tuple(_parse_value(part, args[0]) for part in text.split("/")) if text else ()
    if hint is bool:
        if text not in {"true", "false"}:
            raise ValueError(text)
        return text == "true"
    if not text:
        raise ValueError(text)
    return hint(text)
