"""A compiled network and files around it, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pimc_models import fashion


@dataclass(frozen=True)
class Files:
    """Paths the tests of the commands need."""

    model: Path
    program: Path
    images: Path
    labels: Path
    folder: Path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    from pimc import driver

    folder = tmp_path_factory.mktemp("cli")
    images, labels = fashion.load_test()
    paths = Files(fashion.int8_path(), folder / "net.pim", folder / "images.npz", folder / "labels.npy", folder)
    driver.compile(paths.model).save(paths.program)
    np.savez(paths.images, image=images[:5])
    np.save(paths.labels, labels[:5])
    return paths
