"""The file beside an assembly text that holds its tensors: ``net.4f1d0c2ab7e3.safetensors`` for ``net.pimasm``.

Twelve digits of its SHA-256 are part of its name. A new text is renamed over an older one when its data are in place
under a name of their own, so at every moment the text that is there finds the data it was written with. Data that no
text in the folder names any more are removed afterwards, by this run or by the next one if this one is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pimc_isa.binary.tensorfile import chunks, header_of
from pimc_isa.files import place_of, unlocked, written
from pimc_isa.text.values import unquoted

__all__ = ["DataFile", "data_files", "found_beside"]

DIGITS = 12  # of the checksum in the name
STEM_BYTES = 200  # of the text's name in the data file's name, which may have 255
_DIRECTIVE = re.compile(r'^[ \t]*\.data[ \t]+("(?:[^"\\\n]|\\.)*"|[^\s";@]+)', re.MULTILINE)


class DataFile:
    """The tensors of a text at ``text``, as a file beside it."""

    def __init__(self, tensors: Mapping[str, np.ndarray], text: Path) -> None:
        self._tensors, self._text = tensors, text
        self._header = header_of(tensors, {})
        digest = hashlib.sha256(self._header)
        for chunk in chunks(tensors):
            digest.update(chunk)
        self.sha256 = digest.hexdigest()
        self.path = text.with_name(f"{_stem(text)}.{self.sha256[:DIGITS]}.safetensors")

    @contextmanager
    def written(self) -> Iterator[None]:
        """Write the file, let the block write the text, and remove data that no text needs any more.

        If the block fails, the folder is as before. Raises PimcError.
        """
        place = place_of(self.path)
        new = place.old is None
        try:
            with written(place, (part for part in (self._header, *chunks(self._tensors)))):
                yield
                new = False
        finally:
            if new:
                with contextlib.suppress(OSError):
                    os.unlink(self.path)
        _remove_unnamed(self._text)


def _stem(text: Path) -> str:
    """The text's name without its ending, as far as it fits."""
    return os.fsencode(text.stem)[:STEM_BYTES].decode(errors="ignore")


def _remove_unnamed(text: Path) -> None:
    """Remove older data files of a text: none that another text in the folder names, or that somebody else wrote."""
    pattern = re.compile(re.escape(_stem(text)) + rf"\.([0-9a-f]{{{DIGITS}}})\.safetensors")
    with contextlib.suppress(OSError):
        names = {name: match[1] for name in os.listdir(text.parent) if (match := pattern.fullmatch(name))}
        for name in names.keys() - (_named_by_texts(text.parent) if len(names) > 1 else set(names)):
            with unlocked(text.parent / name) as free:
                if free and _sha256(text.parent / name).startswith(names[name]):
                    os.unlink(text.parent / name)


def _named_by_texts(folder: Path) -> set[str]:
    """Names of all data files that assembly texts in a folder name."""
    return {path.name for text in folder.glob("*.pimasm") for path in data_files(text)}


def data_files(text: Path) -> list[Path]:
    """The data files that a text names; none for a file that is no text or cannot be read."""
    try:
        found = _DIRECTIVE.findall(text.read_text("utf-8", errors="replace"))
        return [found_beside(text, unquoted(name)) for name in found]
    except (OSError, ValueError):
        return []


def found_beside(text: Path, file: str) -> Path:
    """The path of a data file that a text names: beside the text or, if that is a link, beside what it leads to."""
    beside = text.parent / file
    real = Path(os.path.realpath(text)).parent / file
    return real if real.exists() and not beside.exists() else beside


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
