"""What other packages bring by entry points: loaded when asked for, named in one line where it is broken."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pimc_isa.errors import PimcError
from pimc_isa.extensions import load_extensions

__all__ = ["PluginError", "PluginWarning", "load_plugin", "plugin_names", "working_plugins"]


class PluginError(PimcError):
    """A plug-in that cannot be used; the message names it and the package's module."""


class PluginWarning(UserWarning):
    """A plug-in that cannot be used was left out."""


def plugin_names(group: str) -> list[str]:
    """Names of all plug-ins of a group, sorted."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load_plugin(group: str, name: str, wanted: Sequence[str]) -> Any:
    """The module of a plug-in that is known to exist, which must have the names ``wanted``. Raises PluginError."""
    load_extensions()  # first, so that what they declare is known to be theirs
    found = {entry.value: entry for entry in entry_points(group=group) if entry.name == name}
    kind = group.rsplit(".", maxsplit=1)[-1].removesuffix("s")
    if len(found) > 1:
        raise PluginError(f"{kind} {name!r} is installed twice: {' and '.join(sorted(found))}\nremove one of them")
    (entry,) = found.values()
    module = _imported(entry, kind)
    missing = [item for item in wanted if not hasattr(module, item)]
    if missing:
        raise PluginError(f"{kind} {name!r} is broken: {entry.value} has no {', '.join(missing)}\nmend or uninstall it")
    return module


def _imported(entry: EntryPoint, kind: str) -> Any:
    try:
        return entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a stranger's module does when it is imported, SystemExit included
        reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        where = f"{kind} {entry.name!r} cannot be imported from {entry.value}"
        raise PluginError(f"{where}: {reason}\nmend or uninstall it") from error


def working_plugins(group: str, wanted: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Name and module of every plug-in of a group; broken ones are left out with a PluginWarning."""
    for name in plugin_names(group):
        try:
            yield name, load_plugin(group, name, wanted)
        except PluginError as error:
            warnings.warn(str(error).replace("\n", "; "), PluginWarning, stacklevel=2)
