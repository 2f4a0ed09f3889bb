"""Build the wheel and the source distribution and use each as a stranger would, away from the checkout.

Run with the development environment: ``.venv/bin/python .ci/packages.py [--only wheel:newest] [--keep FOLDER]``.

Every case is an artifact in a fresh environment, in a folder that knows nothing of the checkout: the wheel and the
source distribution, each at the lowest versions that ``pyproject.toml`` allows and at the newest, and the wheel at the
newest under every other Python found here. Each runs the demo, compiles for every target, runs the README's Python, and
has a strict type checker read a user's program, which must find the one error in it. Prints a line for each case; exit
code 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = [Path(p) for p in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]

#: What a user writes. The marked line is wrong: mypy must want the mark, and refuses it where types do not reach users.
PROGRAM = """\
import numpy as np

import pimc
from pimc_models import fashion

program: pimc.CompiledProgram = pimc.compile(fashion.int8_path(), target="isaac")
result: pimc.RunResult = program.run(np.zeros((1, 1, 28, 28), np.float32))
cycles: int = result.cycles
wrong: str = result.cycles  # type: ignore[assignment]
print(cycles, wrong, program.verify(images=1).passed)
"""


class CaseError(Exception):
    """A step of a case failed."""


def run(*command: str | Path, cwd: Path, minutes: float = 10) -> str:
    """Run a command without the checkout in its environment; returns what it printed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, text=True, capture_output=True, timeout=60 * minutes
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise CaseError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{tail}")
    return done.stdout


def floors() -> list[str]:
    """The lowest versions of the direct dependencies, as pip wants them."""
    extras = PROJECT["project"]["optional-dependencies"]
    return [line.replace(">=", "==") for line in PROJECT["project"]["dependencies"] + extras["fast"]]


def forgotten(wheel: Path) -> list[str]:
    """Files of the packages' folders that the wheel lacks."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    wanted = (path for path in files if "__pycache__" not in path.parts)
    names = {_inside(path.relative_to(ROOT)) for path in wanted}
    return sorted(names - packed)


def _inside(path: Path) -> str:
    package = next(p for p in PACKAGES if p in path.parents)
    return path.relative_to(package.parent).as_posix()


def pythons() -> Iterator[Path]:
    """Other Pythons of this machine that the project names as supported."""
    lowest = sys.version_info[1]
    for minor in range(11, 20):
        if minor == lowest:
            continue
        name = f"python3.{minor}"
        candidates = [shutil.which(name), *_under_pyenv(minor)]
        for candidate in filter(None, candidates):
            probe = [str(candidate), "-c", "import ensurepip, venv"]
            if subprocess.run(probe, capture_output=True).returncode == 0:
                yield Path(candidate)
                break


def _under_pyenv(minor: int) -> list[Path]:
    """Pythons of pyenv, if there is one that we may look into."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    try:
        return sorted(home.glob(f"versions/3.{minor}.*/bin/python3"))
    except OSError:
        return []


def use(artifact: Path, versions: str, python: Path, folder: Path) -> str:
    """Install an artifact in a fresh environment and use it; returns a line about it."""
    folder.mkdir()
    run(python, "-m", "venv", "env", cwd=folder)
    inside = folder / "env" / "bin"
    pip = [inside / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    extra, pins = ("[fast]", floors()) if versions == "floors" else ("" if artifact.suffix == ".gz" else "[fast]", [])
    run(*pip, f"{artifact}{extra}", *pins, cwd=folder)
    work = folder / "work"
    work.mkdir()
    demo = run(inside / "pimc", "demo", cwd=work)
    verdict = next((line for line in demo.splitlines() if line.startswith("PASS")), "")
    if not verdict:
        raise CaseError("the demo does not end with PASS")
    targets = _compile_all(inside, work)
    _readme(inside, work)
    _types(inside / "python", work)
    version = run(inside / "python", "-c", "import sys; print(sys.version.split()[0])", cwd=work).strip()
    numba = "with" if extra else "without"
    where = f"{artifact.name}, {versions}, Python {version}, {numba} numba"
    return f"{where}: demo {verdict}; {', '.join(targets)}; README; types"


def _compile_all(inside: Path, work: Path) -> list[str]:
    """A program for every target, which runs."""
    named = (
        "from pimc_models import fashion as f; import numpy as np; np.savez('x.npz', image=f.load_calibration()[:8])"
    )
    run(inside / "python", "-c", named, cwd=work)
    model = run(inside / "python", "-c", "from pimc_models import fashion as f; print(f.int8_path())", cwd=work).strip()
    targets = [t["name"] for t in json.loads(run(inside / "pimc", "targets", "--json", cwd=work))["targets"]]
    for target in targets:
        out = f"{target}.pim"
        run(inside / "pimc", "compile", model, "--target", target, "--calibration", "x.npz", "-o", out, cwd=work)
        run(inside / "pimc", "run", out, "--input", "x.npz", cwd=work)
    return targets


def _readme(inside: Path, work: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        (work / "readme.py").write_text(block, encoding="utf-8")
        run(inside / "python", "readme.py", cwd=work)


def _types(python: Path, work: Path) -> None:
    (work / "user.py").write_text(PROGRAM, encoding="utf-8")
    run(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "user.py", cwd=work)
    run(python, "user.py", cwd=work)


def main() -> int:
    """Run all cases, or those that ``--only`` names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--keep", type=Path, help="a folder for the environments, which are left there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = args.keep or Path(scratch)
        base.mkdir(exist_ok=True)
        run(sys.executable, "-m", "build", "--outdir", base / "dist", ROOT, cwd=base)
        (wheel,), (sdist,) = (base / "dist").glob("*.whl"), (base / "dist").glob("*.tar.gz")
        if missing := forgotten(wheel):
            print(f"FAIL the wheel lacks {', '.join(missing)}")
            return 1
        _types_of_checkout(base)
        here = Path(sys.executable)
        both = (("wheel", wheel), ("sdist", sdist))
        cases = [(f"{kind}:{v}", artifact, v, here) for kind, artifact in both for v in ("floors", "newest")]
        cases += [(f"wheel:newest:{p.name}", wheel, "newest", p) for p in pythons()]
        failed = 0
        for n, (name, artifact, versions, python) in enumerate(cases):
            if args.only in name:
                failed += not _report(name, artifact, versions, python, base / f"case{n}")
    return 1 if failed else 0


def _types_of_checkout(base: Path) -> None:
    """The editable install shows its types too."""
    (base / "user.py").write_text(PROGRAM, encoding="utf-8")
    run(sys.executable, "-m", "mypy", "--strict", "user.py", cwd=base)


def _report(name: str, artifact: Path, versions: str, python: Path, folder: Path) -> bool:
    try:
        print(f"ok   {name}: {use(artifact, versions, python, folder)}", flush=True)
    except (CaseError, subprocess.TimeoutExpired) as error:
        print(f"FAIL {name}: {error}", flush=True)
        return False
    finally:
        shutil.rmtree(folder / "env", ignore_errors=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
