"""Lazy compilation of loop kernels with numba, cached on disk under the user's cache directory.

Nothing here stops a run: without numba the callers' numpy forms give the same bytes, a damaged cache is made anew, and
one that cannot be used is done without. Each of these is said once, as a warning.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["SlowerWarning", "cache_directory", "cached", "compiled", "numba_or_none"]


class SlowerWarning(UserWarning):
    """What is missing makes pimc slower; results are the same."""


def cache_directory() -> Path:
    """Where compiled kernels are kept: ``$XDG_CACHE_HOME`` or ``~/.cache``, then ``pimc/numba``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pimc" / "numba"


def numba_or_none() -> Any:
    """The module, or None where it is missing (a SlowerWarning says so) or switched off (``PIMC_NUMBA=0``)."""
    if os.environ.get("PIMC_NUMBA") == "0":
        return None
    try:
        import numba
    except ImportError:
        _say("numba is not installed: pimc works, but runs networks slower (pip install numba)")
        return None
    return numba


@cache
def _say(message: str) -> None:
    """Warn, once in a process."""
    warnings.warn(message, SlowerWarning, stacklevel=3)


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
        dispatcher: Any = numba.njit(cache=True, **options)(function)
    except (OSError, RuntimeError) as error:
        _say(
            f"compiled loops are not kept, each run makes them again: {_reason(error)}; XDG_CACHE_HOME names the folder"
        )
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
    finally:
        numba.config.CACHE_DIR = before
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = _ForgivingCache(dispatcher._cache)
    return dispatcher  # type: ignore[no-any-return]


def _reason(error: Exception) -> str:
    """The first line of an exception's message."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


class _ForgivingCache:
    """numba's cache of one function; whatever goes wrong in it costs a compilation and nothing else."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *args: Any) -> Any:
        """The compiled function, or None; a damaged cache is emptied, so that it is made anew."""
        try:
            return self._cache.load_overload(*args)
        except Exception as error:  # whatever reading damaged files gives
            _say(f"the cache of compiled loops is damaged and made anew: {cache_directory()}")
            self._forget(error)
            return None

    def save_overload(self, *args: Any) -> None:
        """Keep a compiled function, if that is possible."""
        try:
            self._cache.save_overload(*args)
        except Exception as error:
            if self._forget(error):
                try:
                    self._cache.save_overload(*args)
                    return
                except Exception as again:
                    error = again
            _say(f"compiled loops are not kept, each run makes them again: {_reason(error)}")

    def _forget(self, error: Exception) -> bool:
        """Empty the cache; False where not even that is possible."""
        try:
            self._cache.flush()
        except OSError:
            return False
        return not isinstance(error, OSError)
