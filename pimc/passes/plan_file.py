"""The plan file (TOML): what passes decided, in a form that can be edited and forced.

A section for each pass holds its options, and below it a table for each op with the fields that the pass decides:

    [choose-ranges]
    ranges = "gain"

    [map-weights."stem/conv"]
    mapping = {copies = 2}

`plan_text` writes what a graph's passes decided, whoever searched for it. Given back, it forces the same; a table that
names only some numbers of a decision leaves the others as the pass made them.

A section ``[quantise]`` is the front end's (`pimc.frontend.planned`): bits of a float model's weights, for all layers
or in a table for each.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import Any

import msgspec

from pimc.ir.graph import Graph
from pimc.ir.ops import Op
from pimc.passes.base import Decisions, Pass, PassError, options_of

__all__ = ["QUANTISE", "WEIGHT_BITS", "PlanFile", "plan_text", "read_plan"]

QUANTISE, WEIGHT_BITS = "quantise", "weight_bits"
"""The section of the front end; in it, and in what a graph says of its origin (``meta``), bits of weights by layer."""


@dataclass(frozen=True)
class PlanFile:
    """Options by pass, and by pass and op the fields that are forced."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    decisions: Mapping[str, Decisions] = field(default_factory=dict)

    def passes(self, steps: Sequence[Pass]) -> tuple[Pass, ...]:
        """The passes with the plan's options, told of its decisions.

        Raises PassError for passes and options that are not there.
        """
        names = [step.name for step in steps]
        for name in (*self.options, *self.decisions):
            if name not in names:
                raise PassError(f"the plan has a section for pass {name!r}; the passes are {', '.join(names)}")
        return tuple(_with_options(step, self.options.get(step.name, {})).told(self.decisions) for step in steps)

    def split(self) -> tuple[PlanFile, PlanFile]:
        """The front end's section, and the plan without it."""

        def sections(*, own: bool) -> PlanFile:
            parts = (self.options, self.decisions)
            return PlanFile(*({n: v for n, v in part.items() if (n == QUANTISE) is own} for part in parts))

        return sections(own=True), sections(own=False)

    def force(self, step: Pass, graph: Graph) -> None:
        """Put what is forced into the ops of a graph that ``step`` has just made, in place. Raises PassError."""
        for name, fields in self.decisions.get(step.name, {}).items():
            if name not in graph:
                raise PassError(f"the plan names op {name!r} in [{step.name}]; the graph has none after that pass")
            for decided, value in fields.items():
                if decided not in step.decides:
                    known = ", ".join(step.decides) or "nothing"
                    raise PassError(f"plan: [{step.name}.{name}] {decided}: that pass decides {known}")
                if not hasattr(graph[name], decided):
                    raise PassError(f"plan: [{step.name}.{name}] {decided}: a {graph[name].kind} has none")
                graph.update(_forced(graph[name], decided, value))


def _with_options(step: Pass, options: Mapping[str, Any]) -> Pass:
    known = [f.name for f in options_of(step)]
    for name in options:
        if name not in known:
            raise PassError(f"plan: pass {step.name} has no option {name!r}; it has {', '.join(known) or 'none'}")
    return replace(step, **options) if options else step


def _forced(op: Op, name: str, value: Any) -> Op:
    """The op with one decision replaced, or some numbers of it."""
    hint, now = typing.get_type_hints(type(op))[name], getattr(op, name)
    kind = next(part for part in (*typing.get_args(hint), hint) if part is not NoneType)
    _refuse_unknown(op, name, kind, value)
    given = value
    if isinstance(value, Mapping) and dataclasses.is_dataclass(now):
        given = {**msgspec.to_builtins(now), **value}
    try:
        made = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise PassError(f"plan: {name} of {op.name}: {str(error).replace('`', chr(39))}") from error
    return dataclasses.replace(op, **{name: made})


def _refuse_unknown(op: Op, name: str, kind: Any, value: Any) -> None:
    """A misspelt number of a decision would be left out without a word."""
    items = next((part for part in typing.get_args(kind) if dataclasses.is_dataclass(part)), None)
    if items is not None and isinstance(value, list):
        for item in value:
            _refuse_unknown(op, name, items, item)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        known = [f.name for f in dataclasses.fields(kind)]
        for key in value:
            if key not in known:
                raise PassError(f"plan: {name} of {op.name} has no {key!r}; it has {', '.join(known)}")


def read_plan(path: str | Path) -> PlanFile:
    """Read a plan file. Raises PassError."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PassError(f"cannot read the plan {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PassError(f"{path} is not valid TOML: {error}") from error
    options: dict[str, dict[str, Any]] = {}
    decisions: dict[str, dict[str, dict[str, Any]]] = {}
    for name, section in data.items():
        if not isinstance(section, dict):
            raise PassError(f"{path}: {name} stands outside a pass's section")
        for key, value in section.items():
            kind: dict[str, Any] = decisions if isinstance(value, dict) else options
            kind.setdefault(name, {})[key] = value
    return PlanFile(options, decisions)


def plan_text(graph: Graph, passes: Sequence[Pass]) -> str:
    """Return what passes decided of a graph's ops, as a plan file."""
    return "".join(_lines(graph, passes))


def _lines(graph: Graph, passes: Sequence[Pass]) -> Iterator[str]:
    yield f"# Decisions for {json.dumps(graph.name)}, as far as stage {graph.stage}\n"
    for name, bits in sorted(json.loads(graph.meta.get(WEIGHT_BITS, "{}")).items()):
        yield f"\n[{QUANTISE}.{json.dumps(name)}]\n{WEIGHT_BITS} = {bits}\n"
    for step in passes:
        options = {f.name: getattr(step, f.name) for f in options_of(step)}
        changed = {f.name: options[f.name] for f in options_of(step) if options[f.name] != f.default}
        if changed:
            yield f"\n[{step.name}]\n"
            yield from (f"{name} = {_value(value)}\n" for name, value in changed.items())
        for op in graph.ops():
            made = {name: getattr(op, name) for name in step.decides if getattr(op, name, None) is not None}
            if made:
                yield f"\n[{step.name}.{json.dumps(op.name)}]\n"
                yield from (f"{name} = {_value(msgspec.to_builtins(value))}\n" for name, value in made.items())


def _value(value: Any) -> str:
    """A value in TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
