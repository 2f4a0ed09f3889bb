"""The sizes that a program may have: far above real networks, so that any file is judged in seconds.

Declared once; the static check, the assembler and the manual read this table. Networks that the limits were set for:
inputs up to 4096 x 4096, VGG-19 and ResNet-152, thousands of tiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LIMITS", "Limit", "beyond", "digits", "names_limit"]


@dataclass(frozen=True)
class Limit:
    """The largest value of something, and what it counts."""

    most: int
    what: str


LIMITS: Mapping[str, Limit] = {
    "parts": Limit(1 << 18, "lines of a program's text that say something, receivers of channels counted one by one"),
    "line": Limit(1 << 16, "characters of a line of a program's text, a tensor's numbers apart"),
    "words": Limit(1 << 20, "blanks and commas within the lines of a text, those of tensors apart"),
    "code": Limit(1 << 12, "instructions of a tile"),
    "rows": Limit(1 << 16, "rows of a buffer's tensor, and its columns"),
    "channels": Limit(1 << 24, "channels of a buffer's tensor, and each dimension of an ONNX tensor"),
    "row elements": Limit(1 << 28, "columns x channels of a buffer's tensor"),
    "slots": Limit(1 << 17, "slots of a ring"),
    "port elements": Limit(1 << 31, "elements of an input or output of the program"),
    "window": Limit(1 << 16, "each number of a window: kernel, stride, dilation, padding"),
    "taps": Limit(1 << 24, "kernel rows x kernel columns"),
    "weights": Limit(1 << 31, "groups x k x n of a layer's weights, and each of them"),
    "rounds": Limit(1 << 16, "rounds of a position"),
    "patches": Limit(1 << 26, "patches x rows x crossbars side by side of a group with rounds, and patches x outputs"),
    "copies": Limit(1 << 20, "copies of a group"),
    "depth": Limit(1 << 16, "messages a channel holds"),
    "loop": Limit(1 << 16, "iterations of a loop"),
    "executed": Limit(1 << 26, "instructions that all tiles execute for one image"),
    "row accesses": Limit(
        1 << 23,
        "rows that a tile's instructions read and write in an image, and 64 for each of them that does, all this "
        "for each part of a row that is written on its own",
    ),
    "all row accesses": Limit(1 << 24, "the same of all tiles together, equal streams counted once"),
    "flows": Limit(64, "flows of a program"),
    "micro-ops": Limit(256, "micro-operations of a flow"),
    "all micro-ops": Limit(1 << 10, "micro-operations of all flows"),
    "steps": Limit(1 << 12, "steps of a flow: its latency, its interval, those its micro-operations take in sum"),
    "step cycles": Limit(1 << 20, "clock cycles of a step, and of a hop"),
    "bits": Limit(32, "bits of a cell, a converter, a buffer cell; bits of a shift"),
    "array": Limit(1 << 16, "word lines and columns of an array, and its copies of registers"),
    "arrays": Limit(1 << 20, "arrays of a tile"),
    "memory": Limit(1 << 40, "bytes of a tile's memory"),
    "rate": Limit(1 << 24, "bytes, elements or conversions per cycle or step"),
    "queue": Limit(1 << 16, "places of a unit's queue"),
    "mesh": Limit(256, "columns and rows of a chip's mesh"),
    "chips": Limit(1 << 12, "chips"),
    "operations": Limit(1 << 48, "operations of a host call"),
    "hops": Limit(1 << 23, "links on the ways of all channels to all their receivers"),
}


_LIMIT = "the ISA's limit is"


def beyond(name: str, what: str, value: float) -> str:
    """'' or, if ``value`` is more than the limit ``name``, a sentence that says so; ``what`` is its subject."""
    most = LIMITS[name].most
    return f"{what} is {digits(value)}; {_LIMIT} {most} (see Limits in the manual)" if value > most else ""


def names_limit(problem: str) -> bool:
    """Whether a problem that a check found is one of size alone."""
    return _LIMIT in problem


def digits(value: float) -> str:
    """A number for messages; one too long to read is described."""
    if isinstance(value, float) or abs(value) < 10**18:
        return str(value)
    return "a number below -10^18" if value < 0 else "a number above 10^18"
