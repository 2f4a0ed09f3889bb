"""Targets as a user names them, with options: ``neural-pim``, ``neural-pim:ranges=published``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pimc.driver import choose
from pimc.passes.base import Pass
from pimc.passes.choose_ranges import ChooseRanges
from pimc.passes.target import Target, TargetError

__all__ = ["Variant", "parse_variants", "without_values"]

#: A converter range and gain for programs whose values nobody looks at.
ANY_RANGE = "0.125/1"


@dataclass(frozen=True)
class Variant:
    """A target with options, under the name the user gave it."""

    label: str
    target: Target
    passes: tuple[Pass, ...]


def parse_variants(texts: list[str], **options: Any) -> list[Variant]:
    """Read ``NAME[:OPTION=VALUE...]`` texts; ``options`` are for all targets. Raises TargetError."""
    if not texts:
        raise TargetError("no target given; name some, as in --targets isaac,neural-pim")
    twice = [text for n, text in enumerate(texts) if text in texts[:n]]
    if twice:
        raise TargetError(f"target {twice[0]!r} is given twice")
    return [_parse(text, options) for text in texts]


def _parse(text: str, options: dict[str, Any]) -> Variant:
    name, *parts = text.split(":")
    chosen = dict(options)
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise TargetError(f"{text!r}: {part!r} is not OPTION=VALUE, as in neural-pim:ranges=published")
        chosen[key.replace("-", "_")] = int(value) if value.isdigit() else value
    target, passes = choose(name, **chosen)
    return Variant(text, target, passes)


def without_values(passes: Sequence[Pass]) -> tuple[Pass, ...]:
    """Passes for a program of which only time and energy are wanted: ranges decide neither, and need no data then."""
    return tuple(ChooseRanges(force=ANY_RANGE) if isinstance(step, ChooseRanges) else step for step in passes)
