"""Public names: what ``__all__`` promises exists, is documented, and importing the front door costs nothing."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import pimc

PACKAGES = ("pimc", "pimc_isa", "pimc_backends", "pimc_models")

#: Packages of extras; nothing of ours may fail to import for want of anything else.
OPTIONAL = {"torch", "matplotlib", "distributed", "dask"}


def modules() -> list[str]:
    """Names of all modules of ours."""
    found = []
    for package in PACKAGES:
        root = importlib.import_module(package)
        found += [package, *(m.name for m in pkgutil.walk_packages(root.__path__, f"{package}."))]
    return sorted(name for name in found if not name.endswith("__main__"))


@pytest.mark.parametrize("name", modules())
def test_public_names_exist_and_are_documented(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name not in OPTIONAL:
            raise
        pytest.skip(f"needs {missing.name}, which is an extra")
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"
    for public in getattr(module, "__all__", ()):
        item = getattr(module, public)
        if (inspect.isclass(item) or inspect.isfunction(item)) and item.__module__ == name:
            assert documented(item), f"{name}.{public} has no docstring of its own"


def documented(item: object) -> bool:
    """Whether a class or function has a docstring that somebody wrote (dataclasses invent one)."""
    text = (item.__doc__ or "").strip()
    return bool(text) and not text.startswith(f"{getattr(item, '__name__', '')}(")


def test_the_front_door() -> None:
    assert set(pimc.__all__) == {
        *("CompiledProgram", "PictureFolder", "QuantiserOptions", "RunResult"),
        *("__version__", "compare", "compile", "load"),
    }
    for name in pimc.__all__:
        assert getattr(pimc, name) is not None
    assert dir(pimc) == sorted(pimc.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(pimc, "nothing")  # noqa: B009


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, pimc; print('numpy' in sys.modules, 'pimc.driver' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert pimc.__version__ == version("pimc")


def test_modules_are_not_import_packages_of_their_folders() -> None:
    """`isa` and `backends` are folders; importing them by that name would load everything twice."""
    loaded = [name for name, module in sys.modules.items() if isinstance(module, ModuleType)]
    assert not [name for name in loaded if name.split(".")[0] in {"isa", "backends"}]
