"""How an op of the graph is declared: a class with its fields, its hooks, and where it may stand.

Short names: x input, y result, h rows, w columns, c channels. A subclass with ``op=`` enters the table of ops, and then
must have every hook that is marked as required: a forgotten one is an error at import.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

import numpy as np
import numpy.typing as npt

from pimc.ir.ops.decided import Mapping as Cut
from pimc.ir.ops.decided import Part, RoundPlan, Schedule
from pimc.ir.ops.reach import Reach
from pimc.ir.ops.specs import constant, limit, optional, scale, zero_point
from pimc_isa.element import U8, Element, element
from pimc_isa.operands import View, Window

if TYPE_CHECKING:
    from pimc.ir.graph import Graph

__all__ = [
    "OPS",
    "TILED",
    "Evaluation",
    "Geometry",
    "InferError",
    "Op",
    "TensorOp",
    "TensorType",
    "required",
    "single",
]

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]
Constants = Mapping[str, Array]

OPS: dict[str, type[Op]] = {}
"""Ops by the name they have in text."""

TILED = frozenset({"mapping", "placement", "schedule"})
"""Decisions that ops on tiles get."""


class InferError(ValueError):
    """Inputs that the op cannot take."""


@dataclass(frozen=True)
class TensorType:
    """Element type and shape (rows, columns, channels) of one image's tensor."""

    dtype: str
    shape: Shape


ROW = Window("w", (1, 1))
"""A row for a row."""


@dataclass(frozen=True)
class Geometry:
    """What an op's tiles need of its inputs: a window of all inputs but those in ``whole``, which are needed whole.

    ``taps`` of the window that cost time. ``k`` weight rows and ``n`` outputs of one of ``groups`` convolution groups;
    0 where there are no weights. Those of a layer that works in ``rounds`` are its epitome's. ``sums``: there are i32
    sums beside the 8-bit result. ``reach``: of a movement of data, which has no window.
    """

    window: Window = ROW
    taps: int = 1
    k: int = 0
    n: int = 0
    groups: int = 1
    sums: bool = False
    whole: tuple[int, ...] = ()
    reach: Reach | None = None
    rounds: RoundPlan | None = None


@dataclass(frozen=True)
class Evaluation:
    """What ops may ask for when a graph is computed: the graph, the model's inputs by name (batch first), products.

    ``dot(op, x, w)`` makes the i32 sums of (x - zero point) * w of a convolution.
    """

    graph: Graph
    inputs: Constants
    dot: Callable[[Any, Array, Array], Array]

    @property
    def constants(self) -> Constants:
        """The graph's constants."""
        return self.graph.constants


_Hook = TypeVar("_Hook", bound=Callable[..., Any])


def required(hook: _Hook) -> _Hook:
    """Mark a method that every op must have one of its own of."""
    hook.__dict__["required"] = True
    return hook


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(constant, limit, optional, scale, zero_point)
)
class _Declared:
    """Makes subclasses frozen dataclasses; apart from `Op` because type checkers do not see fields of this class."""

    kind: ClassVar[str]
    since: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init_subclass__(cls, *, op: str = "", since: str = "") -> None:
        """Make the subclass a frozen dataclass and enter it in the table of ops; without ``op`` it is abstract.

        ``since`` names the stage from which on it may stand in a graph (none: all). Raises TypeError.
        """
        dataclass(frozen=True, kw_only=True)(cls)
        if not op:
            return
        cls.kind, cls.since = op, since
        missing = [name for name in dir(cls) if getattr(getattr(cls, name, None), "required", False) is True]
        if missing:
            raise TypeError(f"op {op} ({cls.__name__}) does not say its {', '.join(missing)}")
        if op in OPS:
            raise TypeError(f"op {op} declared twice")
        OPS[op] = cls  # type: ignore[assignment]  # every class with a name derives from Op


class Op(_Declared):
    """Base of all operations. ``name`` is also the name of the value it makes; ``node`` names the ONNX node.

    ``reads`` and ``makes``: element types of its inputs and of its result. Decisions of passes are fields that are
    ``None`` until a pass has made them; ``decides`` names those it gets. ``is_virtual``: only a matter of where senders
    put their channels. ``is_table``: can be applied where its input is made. ``is_host``: runs on the host.
    ``takes_tables``: its tiles make row after row in one loop, where a table can be applied.
    """

    name: str
    inputs: tuple[str, ...]
    type: TensorType | None
    node: str = ""
    views: tuple[View, ...] = ()
    mapping: Cut | None = None
    placement: tuple[Part, ...] | None = None
    schedule: Schedule | None = None

    reads: ClassVar[tuple[str, ...]] = (U8.name,)
    makes: ClassVar[str] = U8.name
    decides: ClassVar[frozenset[str]] = TILED
    is_virtual: ClassVar[bool] = False
    is_table: ClassVar[bool] = False
    is_host: ClassVar[bool] = False
    takes_tables: ClassVar[bool] = True

    @property
    def shape(self) -> Shape:
        """Rows, columns, channels of the result."""
        if self.type is None:
            raise TypeError(f"{self.name} has no result")
        return self.type.shape

    @property
    def element(self) -> Element:
        """Type of the result's elements. Raises ProgramError for one that nobody has declared."""
        if self.type is None:
            raise TypeError(f"{self.name} has no result")
        return element(self.type.dtype)

    @required
    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """Return the result's shape, from the inputs' alone. Raises InferError for inputs that it cannot take."""
        raise NotImplementedError

    @required
    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """Return what tiles need of inputs of these shapes."""
        raise NotImplementedError

    def parts(self, channels: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
        """Of a virtual op: the ranges (input, first, behind the last) of the inputs' channels that it puts in a row."""
        raise TypeError(f"{self.kind} is not virtual")

    def problems(self, graph: Graph) -> Iterator[str]:
        """Yield what else is wrong with the op in a graph, one line each; most have nothing to say."""
        yield from ()

    @required
    def results(self, x: list[Array], run: Evaluation) -> Mapping[str, Array]:
        """Return what the op makes of inputs [images, rows, columns, channels], by place: its name or ``$PORT``."""
        raise NotImplementedError


class TensorOp(Op):
    """An op with one result that depends on its inputs and constants only."""

    @required
    def evaluate(self, x: list[Array], run: Evaluation) -> Array:
        """Return the result u8 [images, rows, columns, channels] of inputs of that form."""
        raise NotImplementedError

    def results(self, x: list[Array], run: Evaluation) -> Mapping[str, Array]:
        """Return the one result."""
        return {self.name: np.asarray(self.evaluate(x, run))}


def single(shapes: Sequence[Shape]) -> Shape:
    """Return the only input's shape. Raises InferError."""
    if len(shapes) != 1:
        raise InferError(f"takes one input, has {len(shapes)}")
    return shapes[0]
