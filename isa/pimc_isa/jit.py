"""Lazy compilation of loop kernels with numba, cached on disk under the user's cache directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["cache_directory", "cached", "compiled", "numba_or_none"]


def cache_directory() -> Path:
    """Where compiled kernels are kept: ``$XDG_CACHE_HOME`` or ``~/.cache``, then ``pimc/numba``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pimc" / "numba"


def numba_or_none() -> Any:
    """The module, or None where it is missing or switched off (``PIMC_NUMBA=0``)."""
    if os.environ.get("PIMC_NUMBA") == "0":
        return None
    try:
        import numba
    except ImportError:
        return None
    return numba


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """``function`` compiled in nopython mode, or None without numba.

    No fast-math: floating-point operations keep the order and rounding they are written in.
    """
    return None if numba_or_none() is None else cached(function)


def cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with an on-disk cache, or without where no directory can be written. Needs numba."""
    numba = numba_or_none()
    before = numba.config.CACHE_DIR
    options = {"nogil": True, "fastmath": False, "boundscheck": False, "error_model": "numpy"}
    try:
        if not before:
            directory = cache_directory()
            directory.mkdir(parents=True, exist_ok=True)
            numba.config.CACHE_DIR = str(directory)
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except (OSError, RuntimeError):
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
    finally:
        numba.config.CACHE_DIR = before
