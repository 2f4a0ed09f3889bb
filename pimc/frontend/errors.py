"""Errors of the front end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimc_isa.errors import PimcError

if TYPE_CHECKING:
    import onnx

__all__ = ["FrontendError", "NotOnChipError"]


class FrontendError(PimcError):
    """A model that cannot be compiled: not ONNX, of unknown shape, or with operators that no unit has."""


class NotOnChipError(Exception):
    """Why a node has no place on the chip; it then runs on the host, or the model is refused.

    ``node`` is the node to blame where that is not the one being lowered; ``blocked`` marks a node that is fine itself
    but reads what the host makes from results of the chip.
    """

    def __init__(self, reason: str, node: onnx.NodeProto | None = None, *, blocked: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.node = node
        self.blocked = blocked
