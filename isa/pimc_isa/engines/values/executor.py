"""The values engine: what comes out of a program, for a batch of images at once.

It looks at streams, buffers and channels; never at timing, ring slots or the target's name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from pimc_isa.engines.memory import need
from pimc_isa.engines.noise import Noise
from pimc_isa.engines.values.calls import make_plan
from pimc_isa.engines.values.content import Content, unite
from pimc_isa.engines.values.lift import Lifted, lift
from pimc_isa.engines.values.plan import Frame, ValuePlan, ValuePlanner
from pimc_isa.engines.values.share import Shared, share
from pimc_isa.engines.values.tallies import add_tally
from pimc_isa.engines.values.tensors import Partial
from pimc_isa.engines.values.trace import StepId
from pimc_isa.errors import RunError
from pimc_isa.flow.use import Tally
from pimc_isa.operands import Buffer, View
from pimc_isa.program import Program
from pimc_isa.threads import limited_blas

__all__ = ["Executor", "Result", "run"]

Array = np.ndarray
CHUNK_BYTES = 256 << 20  # live arrays of the images that are run together


@dataclass(frozen=True)
class Result:
    """Outputs by port, and the kept ONNX tensors by name (batch first, ONNX layout and type).

    Of tensors in ``partial`` buffers hold only a part; the rest is 0. ``tallies``: what the data decided of actions, by
    tile and position in its code, where it was counted.
    """

    outputs: dict[str, Array]
    tensors: dict[str, Array] = field(default_factory=dict)
    partial: frozenset[str] = frozenset()
    tallies: dict[StepId, Tally] = field(default_factory=dict)


def run(program: Program, inputs: Mapping[str, Array], keep: bool | Collection[str] = False) -> Result:
    """Run a program once; ``Executor`` is cheaper for repeated runs.

    ``inputs``: an array [images, ...] for each input port. ``keep``: also return the ONNX tensors that buffers hold:
    True for all, or their names. Raises RunError for inputs that do not fit, ProgramError for impossible programs.
    """
    return Executor(program).run(inputs, keep)


@dataclass(frozen=True)
class _Kept:
    """One ONNX tensor: contents of buffers with the same shape that together hold it."""

    view: View
    buffer: Buffer
    content: Content


class Executor:
    """A program lifted once.

    ``rowwise`` runs every tile row by row; without ``merge`` tiles share nothing; without ``prove`` every slice is
    computed with every conversion. The values are the same. With ``noise`` it is one noisy chip.
    """

    def __init__(
        self,
        program: Program,
        rowwise: bool = False,
        merge: bool = True,
        prove: bool = True,
        noise: Noise | None = None,
    ) -> None:
        self.program, self._prove, self._noise = program, prove, noise
        self.lifted: Lifted = lift(program, rowwise)
        self.shared: Shared = share(self.lifted, merge)
        self._plans: dict[frozenset[str], tuple[ValuePlan, tuple[_Kept, ...], ValuePlanner]] = {}

    def tensor_names(self) -> set[str]:
        """ONNX tensors that can be kept."""
        return {v.tensor for t in self.program.tiles for b in t.buffers for v in b.views}

    @limited_blas()
    def run(
        self, inputs: Mapping[str, Array], keep: bool | Collection[str] = False, first: int = 0, counts: bool = False
    ) -> Result:
        """Values for a batch. See ``run``. ``first`` is the number of the first image: noise depends on it.

        With ``counts`` it tells what the data decided of actions.
        """
        arrays, images = self._checked(inputs)
        plan, kept, planner = self._plan(keep)
        chunk = max(1, min(images, CHUNK_BYTES // max(1, plan.bytes_per_image)))
        held = sum(images * prod(k.view.shape) for k in {k.view.tensor: k for k in kept}.values())
        need(held + chunk * plan.bytes_per_image, f"the values of {images} images")
        partials: dict[str, Partial] = {}
        for k in kept:
            partials.setdefault(k.view.tensor, Partial(k.view, images, k.buffer.dtype))
        parts: dict[str, list[Array]] = {}
        tallies: dict[StepId, Tally] = {}
        for begin in range(0, images, chunk):
            some = slice(begin, min(images, begin + chunk))
            ports = {n: a[some] for n, a in arrays.items()}
            frame = Frame(plan.values, some.stop - some.start, ports, first + some.start, counts)
            _execute(plan, frame)
            for step, tally in frame.tallies.items():
                add_tally(tallies, step, tally)
            for name, value in frame.outputs.items():
                parts.setdefault(name, []).append(value)
            for k in kept:
                _paste(planner, frame, k, partials[k.view.tensor], some)
        partial = frozenset(name for name, p in partials.items() if not p.is_whole)
        outputs = {n: p[0] if len(p) == 1 else np.concatenate(p) for n, p in parts.items()}
        return Result(outputs, {name: p.finished() for name, p in partials.items()}, partial, tallies)

    @property
    def lossy(self) -> bool:
        """Whether some conversion was not proved exact, or hardware is not ideal, in the runs so far."""
        return any(planner.lossy for _, _, planner in self._plans.values())

    def plan(self, keep: bool | Collection[str] = False) -> ValuePlan:
        """The calls of a run (for benchmarks and tests)."""
        return self._plan(keep)[0]

    def _plan(self, keep: bool | Collection[str]) -> tuple[ValuePlan, tuple[_Kept, ...], ValuePlanner]:
        names = frozenset(self.tensor_names() if keep is True else keep or ())
        unknown = sorted(names - self.tensor_names()) if names else []
        if unknown:
            raise RunError(f"no buffer of the program holds tensor '{unknown[0]}'")
        if names not in self._plans:
            kept = self._kept(names)
            plan, planner = make_plan(self.program, self.shared, [k.content for k in kept], self._prove, self._noise)
            self._plans[names] = plan, kept, planner
        return self._plans[names]

    def _kept(self, names: frozenset[str]) -> tuple[_Kept, ...]:
        found: dict[tuple[View, int, int, int], tuple[Buffer, list[Content]]] = {}
        for tile in self.program.tiles:
            for b in tile.buffers:
                for v in b.views:
                    if v.tensor in names:
                        content = self.shared.holdings.final(tile, b)
                        found.setdefault((v, b.rows, b.width, b.channels), (b, []))[1].append(content)
        result = []
        for (view, *_), (buffer, contents) in found.items():
            pieces = [p for c in contents for p in c]
            result.append(_Kept(view, buffer, unite(pieces) or tuple(pieces)))
        return tuple(result)

    def _checked(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], int]:
        ports = {p.name: p for p in self.program.inputs}
        missing = sorted(set(ports) - set(inputs))
        if missing:
            raise RunError(f"input '{missing[0]}' is missing; the program has inputs {', '.join(sorted(ports))}")
        unknown = sorted(set(inputs) - set(ports))
        if unknown:
            raise RunError(f"the program has no input '{unknown[0]}'; it has {', '.join(sorted(ports))}")
        arrays = {}
        for name, port in ports.items():
            array = np.asarray(inputs[name])
            if array.ndim == 0 or array.shape[1:] != port.shape or str(array.dtype) != port.dtype:
                raise RunError(
                    f"input '{name}' must be {port.dtype} of shape images x {'x'.join(map(str, port.shape))}, "
                    f"but is {array.dtype} of shape {'x'.join(map(str, array.shape))}"
                )
            arrays[name] = array
        counts = {len(a) for a in arrays.values()} if arrays else {1}  # a program without inputs runs once
        if len(counts) != 1 or 0 in counts:
            raise RunError(f"inputs must all hold the same number of images, at least one; they hold {sorted(counts)}")
        return arrays, counts.pop()


def _execute(plan: ValuePlan, frame: Frame) -> None:
    arrays = frame.arrays
    for item in plan.items:
        item.call(frame)
        for value in item.frees:
            arrays[value] = None


def _paste(planner: ValuePlanner, frame: Frame, kept: _Kept, partial: Partial, images: slice) -> None:
    """Copy the pieces of a kept tensor to their places."""
    b, shift = kept.buffer, kept.view.channel
    channels = partial.channels(b.rows, b.width)
    for piece in kept.content:
        value, held, index = planner.cut(piece)
        cols, chans = slice(*piece.cols), slice(piece.chans[0] + shift, piece.chans[1] + shift)
        partial.add(images, frame.get(value)[index], (held, cols, chans), b.width, channels)
