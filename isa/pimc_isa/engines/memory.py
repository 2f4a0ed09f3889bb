"""Whether the machine has the memory that an engine is about to take: said in one line, before it is taken."""

from __future__ import annotations

from pathlib import Path

from pimc_isa.errors import RunError

__all__ = ["available_bytes", "need"]

_MEMINFO = Path("/proc/meminfo")


def available_bytes() -> int | None:
    """Bytes that can be had without swapping; ``None`` where the system does not say."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def need(nbytes: int, what: str) -> None:
    """Raise RunError if ``what`` takes more bytes than there are."""
    free = available_bytes()
    if free is not None and nbytes > free:
        raise RunError(
            f"{what} takes about {nbytes / 2**30:.1f} GiB of memory, this machine has {free / 2**30:.1f} GiB"
        )
