"""What is being done now, said from deep inside (a pass, an analysis) to whoever runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["heard_by", "tell"]

_HEARER: ContextVar[Callable[[str], None] | None] = ContextVar("pimc progress", default=None)


def tell(text: str) -> None:
    """Say what is done now, with counts: 'layer 3 of 21'. Nobody may listen."""
    hearer = _HEARER.get()
    if hearer is not None:
        hearer(text)


@contextmanager
def heard_by(hearer: Callable[[str], None] | None, about: str = "") -> Iterator[None]:
    """While the block runs, ``hearer`` is told, with ``about`` in front; None leaves it to who listens now."""
    if hearer is None:
        yield
        return
    token = _HEARER.set(lambda text: hearer(f"{about}{text}"))
    try:
        yield
    finally:
        _HEARER.reset(token)
