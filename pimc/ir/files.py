"""A graph as two files: its text, and beside it (``.safetensors``) the constants and the reference model it names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pimc.ir._scan import IrTextError
from pimc.ir.graph import Graph
from pimc.ir.text import parse_graph, print_graph
from pimc_isa.binary.tensorfile import chunks, header_of, open_tensors, read_bytes
from pimc_isa.files import write_file, write_text

__all__ = ["read_graph", "write_graph"]

Array = np.ndarray
REFERENCE = "reference model"
_HASHED = re.compile(r'^@[^\n]*= "sha256:', re.MULTILINE)
_CONSTANT = re.compile(r"^@(\S+): (\w+)\[([0-9x]*)\]", re.MULTILINE)
_TYPES = {"u8": np.uint8, "s8": np.int8, "i16": np.int16, "i32": np.int32, "f32": np.float32}


def write_graph(graph: Graph, path: Path) -> int:
    """Write a graph's text, and its constants beside it; returns the text's bytes. Raises PimcError."""
    tensors = {**graph.constants, REFERENCE: np.frombuffer(graph.reference, np.uint8)}
    write_file(_beside(path), [header_of(tensors, {}), *chunks(tensors)])
    return write_text(path, print_graph(graph))


def read_graph(path: Path) -> Graph:
    """Read a graph's text with the constants beside it.

    Without that file constants whose hash is not given are made up, of their type and shape: enough for passes that
    look at shapes. Raises IrTextError, ProgramError for a damaged file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise IrTextError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise IrTextError(f"{path} is not the text of a graph") from None
    beside = _beside(path)
    if beside.exists():
        tensors, _ = open_tensors(read_bytes(beside), str(beside))
        reference = tensors.pop(REFERENCE, np.zeros(0, np.uint8)).tobytes()
        return parse_graph(text, tensors, reference)
    if _HASHED.search(text):
        raise IrTextError(f"{path} names constants by their hash, and {beside.name} with them is not beside it")
    return parse_graph(text, _made_up(text))


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.safetensors")


def _made_up(text: str) -> dict[str, Array]:
    """Constants of ones: any values do where shapes alone matter."""
    found = {}
    for name, kind, dims in _CONSTANT.findall(text):
        shape = tuple(int(n) for n in dims.split("x")) if dims else ()
        if kind in _TYPES:
            found[name] = np.ones(shape, _TYPES[kind])
    return found
