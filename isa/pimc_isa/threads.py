"""How many threads numpy's matrix products use while pimc computes: one, unless asked otherwise.

The products are many and small; on several threads they wait for each other longer than they compute. The caller's own
setting is back when pimc is done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from pimc_isa.errors import PimcError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

__all__ = ["OPTION", "blas_threads", "limited_blas"]

#: The environment variable that asks for a number of threads.
OPTION = "PIMC_BLAS_THREADS"

#: Whoever sets one of these has asked for something else already.
_OTHERS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "GOTO_NUM_THREADS")


def blas_threads() -> int | None:
    """Threads for products: what ``PIMC_BLAS_THREADS`` says; else None (as it is) if the user set another; else 1.

    Raises PimcError for what is no number of threads.
    """
    text = os.environ.get(OPTION, "")
    if text:
        if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) < 10**6):
            raise PimcError(f"{OPTION} is {text!r}, not a number of threads\nwrite {OPTION}=1, or more")
        return int(text)
    return None if any(os.environ.get(name) for name in _OTHERS) else 1


@contextmanager
def limited_blas() -> Iterator[None]:
    """Use `blas_threads` in the block. May be nested, and stand before a function as ``@limited_blas()``."""
    wanted = blas_threads()
    if wanted is None:
        yield
        return
    with _controller().limit(limits=wanted, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    """The BLAS libraries of this process; looked for once, after numpy has brought its own."""
    import numpy  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
