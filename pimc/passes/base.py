"""What a pass is: a frozen dataclass whose fields are its options.

A pass takes a graph whose invariants of ``from_stage`` hold and returns a new one for which those of ``to_stage`` hold.
It never changes the graph it was given; decisions go into the ops' fields, never into side tables.

    @dataclass(frozen=True)
    class MapWeights(Pass):
        \"\"\"Cut every layer's weights into tiles.\"\"\"

        name = "map-weights"
        from_stage = "quantised"
        to_stage = "mapped"

        arrays: int | None = None  # an option: map-weights{arrays=512}

        def apply(self, graph: Graph, target: Target) -> Graph: ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, ClassVar

from pimc.ir.graph import Graph
from pimc.passes.target import Target
from pimc_isa.errors import PimcError

__all__ = ["NOT_AN_OPTION", "Decisions", "Pass", "PassError", "options_of"]

#: Fields by op, as a plan file forces them.
Decisions = Mapping[str, Mapping[str, Any]]

#: Metadata of a pass's field that no user sets.
NOT_AN_OPTION = {"option": False}


class PassError(PimcError):
    """A pass that is not known, or whose conditions do not hold."""


@dataclass(frozen=True)
class Pass(ABC):
    """Base of all passes: ``name`` is a kebab-case verb phrase; the docstring's first line is its help.

    ``decides`` names the fields of ops that it fills and that a plan file may force.
    """

    name: ClassVar[str]
    from_stage: ClassVar[str]
    to_stage: ClassVar[str]
    decides: ClassVar[tuple[str, ...]] = ()

    def told(self, forced: Mapping[str, Decisions]) -> Pass:
        """The pass, told what a plan file forces by pass; most do not ask."""
        return self

    @abstractmethod
    def apply(self, graph: Graph, target: Target) -> Graph:
        """Return the changed copy of ``graph``."""


def options_of(step: Pass | type[Pass]) -> tuple[Field[Any], ...]:
    """The options of a pass: its fields, but for those that say they are none."""
    return tuple(each for each in fields(step) if each.metadata.get("option", True))
