"""Train all peripherals: ``python -m pimc_backends.neural_pim.peripherals.train --out FOLDER``.

Needs torch (the extra ``train``). One thread, seeded; the same version of torch on the same machine gives the same
bytes. Writes ``peripherals.safetensors`` and ``report.md``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from pimc_backends.neural_pim.peripherals import technology, train_nnadc, train_nnsa
from pimc_backends.neural_pim.peripherals.errors import fit_errors
from pimc_backends.neural_pim.peripherals.report import render
from pimc_backends.neural_pim.peripherals.store import PARAMETERS, Variants, save
from pimc_isa.files import write_text
from pimc_isa.peripherals import Peripherals
from pimc_isa.peripherals.design import RANGES

__all__ = ["main", "train"]

T = TypeVar("T")


def train(seed: int, quick: bool = False) -> tuple[Peripherals, Variants]:
    """Train both NNS+As, the three NNADCs on their outputs, and the NNS+As for comparison."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    effort = train_nnsa.QUICK if quick else train_nnsa.FULL
    once = replace(effort, starts=1)
    fold = _timed("NNS+A", partial(train_nnsa.train_nnsa, "lsb", seed, effort))
    amplifying = _timed("NNS+A, gain 4", partial(train_nnsa.train_nnsa, "gain", seed, effort))
    msb_first = _timed("NNS+A, high slice first", partial(train_nnsa.train_nnsa, "msb", seed, once))
    passive = partial(train_nnsa.train_nnsa, "lsb", seed, once, technology.FOLLOWER_GAIN)
    variants = Variants(msb_first, _timed("NNS+A, source follower", passive))
    adc_effort = train_nnadc.QUICK if quick else train_nnadc.FULL
    adcs = tuple(
        _timed(f"NNADC {v_max} V", partial(train_nnadc.train_nnadc, v_max, fold, seed, adc_effort))
        for v_max in technology.RANGES
    )
    folds = fold, amplifying
    errors = tuple(fit_errors(folds[a], adcs[b], seed) for a, b in RANGES)
    return Peripherals(folds, adcs, errors), variants


def _timed(what: str, work: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = work()
    print(f"{what}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PARAMETERS.parent, help="folder for parameters and report")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a short run to try the script; poor parameters")
    parser.add_argument("--devices", type=int, default=100, help="drawn devices per number of the report")
    options = parser.parse_args()
    peripherals, variants = train(options.seed, options.quick)
    options.out.mkdir(parents=True, exist_ok=True)
    save(options.out / PARAMETERS.name, peripherals, variants)
    report = _timed("measuring", lambda: render(peripherals, variants, options.devices))
    write_text(options.out / "report.md", report)


if __name__ == "__main__":
    main()
