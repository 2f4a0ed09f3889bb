"""The user's own model beside the program: what a plain onnxruntime session on the file gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pimc.verify.compare import Counter
from pimc.verify.reference import FLOAT, session
from pimc.verify.report import OwnReport
from pimc_isa.errors import RunError
from pimc_isa.meta import inexact_tensors, session_entries
from pimc_isa.program import Program

__all__ = ["OwnModel", "float_session", "renamed"]

Array = np.ndarray

#: Operators by which a model is known to be quantised.
_QUANTISED = ("QLinear", "QGemm", "QuantizeLinear", "ConvInteger", "MatMulInteger")


def float_session(model: str | Path | bytes, entries: Mapping[str, str] | None = None) -> Any:
    """A plain session on a model file."""
    found = _read(model)
    return session(found.SerializeToString(), entries or {}, "the model" if isinstance(model, bytes) else str(model))


def _read(model: str | Path | bytes) -> Any:
    from pimc.frontend.read import read_model

    return read_model(model)[0]


def renamed(piece: dict[str, Array], own: Any) -> dict[str, Array]:
    """Inputs under the model's names: the same names, or the same order."""
    names = [i.name for i in own.get_inputs()]
    if set(names) == set(piece):
        return piece
    if len(names) != len(piece):
        raise RunError(f"the model has inputs {names}, the program {list(piece)}")
    return dict(zip(names, piece.values(), strict=True))


class OwnModel:
    """The outputs of a model of the user's, in a session as users open it, compared with the program's.

    Nothing is exposed, so all optimisations happen; only the options without which 8-bit products saturate on some
    processors are set.
    """

    def __init__(self, program: Program, model: str | Path | bytes) -> None:
        self.name = "the model" if isinstance(model, bytes) else str(model)
        found = _read(model)
        self._quantised = any(node.op_type.startswith(_QUANTISED) for node in found.graph.node)
        self._inexact = bool(inexact_tensors(program))
        self._session = float_session(model, session_entries(program) if self._quantised else {})
        outputs = [o.name for o in self._session.get_outputs()]
        missing = [p.name for p in program.outputs if p.name not in outputs]
        if missing:
            raise RunError(
                f"{self.name} has no output {missing[0]!r}; the program was compiled from another model\n"
                f"its outputs are {', '.join(outputs)}"
            )
        self._counters = {p.name: Counter(p.name, FLOAT) for p in program.outputs}

    def add(self, piece: dict[str, Array], ours: Mapping[str, Array]) -> None:
        """Compare the outputs of one batch."""
        names = list(self._counters)
        for name, theirs in zip(names, self._outputs(piece, names), strict=True):
            self._counters[name].add(ours[name], theirs)

    def _outputs(self, piece: dict[str, Array], names: list[str]) -> list[Array]:
        feeds = renamed(piece, self._session)
        fixed = any(i.shape and i.shape[0] == 1 for i in self._session.get_inputs())
        images = len(next(iter(piece.values())))
        batches = [{k: v[n : n + 1] for k, v in feeds.items()} for n in range(images)] if fixed else [feeds]
        try:
            runs = [self._session.run(names, one) for one in batches]
        except Exception as error:  # onnxruntime raises classes of its own, without a common base
            raise RunError(f"onnxruntime cannot run {self.name}: {str(error).splitlines()[0][:300]}") from error
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]

    def report(self) -> OwnReport:
        """What was found. Equality is owed to a quantised model unless onnxruntime computes parts of it in float."""
        owed = self._quantised and not self._inexact
        return OwnReport(self.name, tuple(c.report() for c in self._counters.values()), self._quantised, owed)
