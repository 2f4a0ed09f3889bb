"""Counts the fields of a serialised model before protobuf makes objects of them.

An empty node is two bytes in a file and two hundred in memory: 10 MB of them fill a gigabyte.
"""

from __future__ import annotations

from typing import Any

import onnx

from pimc.frontend.admit.limits import MAX_FIELDS
from pimc.frontend.errors import FrontendError

__all__ = ["admit_bytes"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def admit_bytes(data: bytes, where: str) -> None:
    """Raise FrontendError if a file has more fields than any network; damage is left to the parser."""
    try:
        fields = _count(data)
    except (IndexError, ValueError):
        return
    if fields > MAX_FIELDS:
        raise FrontendError(f"{where}: more than {MAX_FIELDS:,} fields; no network has so many. Is it an ONNX model?")


def _count(data: bytes) -> int:
    """Fields of all messages, as far as the limit. Raises IndexError or ValueError for damaged bytes."""
    inside = _messages(onnx.ModelProto.DESCRIPTOR)
    pending = [(0, len(data), inside)]
    fields = 0
    while pending and fields <= MAX_FIELDS:
        at, end, inside = pending.pop()
        while at < end and fields <= MAX_FIELDS:
            fields += 1
            tag, at = _varint(data, at)
            kind = tag & 7
            if kind == _BYTES:
                length, at = _varint(data, at)
                deeper = inside.get(tag >> 3)
                if deeper is not None and length:
                    pending.append((at, min(end, at + length), _messages(deeper)))
                at += length
            elif kind == _VARINT:
                _, at = _varint(data, at)
            elif kind in (_FIXED32, _FIXED64):
                at += 4 if kind == _FIXED32 else 8
            else:
                raise ValueError("a group")
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and the place behind it."""
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value = shift = 0
    while byte >= 128:
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        byte = data[at]
    return value | byte << shift, at + 1


_KNOWN: dict[str, dict[int, Any]] = {}


def _messages(descriptor: Any) -> dict[int, Any]:
    """Fields of a message that hold messages: number to descriptor."""
    found = _KNOWN.get(descriptor.full_name)
    if found is None:
        found = {f.number: f.message_type for f in descriptor.fields if f.message_type is not None}
        _KNOWN[descriptor.full_name] = found
    return found
