"""Runs commands and ends each at the calls of the operating system that its writing makes: ``killed.py COMMANDS.json``.

One process imports everything once. For every command it forks a child that leaves nothing to be compiled, one that
counts the calls, and then one for each point, which sends itself a signal before that call. What the folder holds
afterwards is printed, and judged elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pimc_isa.engines.values
import pimc_isa.files.writer  # noqa: F401
from pimc.cli.main import main as command_line

CALLS = ((os, "open"), (os, "write"), (os, "fsync"), (os, "fchmod"), (os, "replace"), (os, "unlink"), (fcntl, "flock"))
EDGE = 10  # points at the beginning and at the end that are all tried
FEWER = 4  # every so many of those points for signals that are heard, and for what the next run does


def forked(arguments: list[str], point: int = 0, number: int = 0) -> int:
    """The exit code of a child, negative for the signal that killed it; without a point, the number of calls."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 251
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        code = child(arguments, point, number)
    finally:
        os._exit(code)


def child(arguments: list[str], point: int, number: int) -> int:
    """Run a command and send the signal before call ``point``."""
    made = 0

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made == point:
                os.kill(os.getpid(), number)
            return call(*args, **options)

        return run

    for module, name in CALLS:
        setattr(module, name, watched(getattr(module, name)))
    sys.argv = ["pimc", *arguments]
    try:
        command_line()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    return code if point else min(made, 250)


def fresh(template: Path, work: Path) -> None:
    """The folder as it was before the command; always the same one, since the process stands in it."""
    work.mkdir(exist_ok=True)
    for name in os.listdir(work):
        (work / name).unlink()
    for file in template.iterdir():
        shutil.copy(file, work / file.name)


def contents(folder: Path) -> dict[str, str]:
    """Names and digests of all files."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def report(**values: Any) -> None:
    """Print one line."""
    print(json.dumps(values), flush=True)


def main() -> None:
    """Run all points of all commands, also where whoever started the tests ignores interrupts (nohup)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for entry in json.loads(Path(sys.argv[1]).read_text()):
        template, work, arguments = Path(entry["folder"]), Path(entry["work"]), entry["arguments"]
        fresh(template, work)
        os.chdir(work)
        forked(arguments)  # loops are compiled and kept, which takes calls of its own
        fresh(template, work)
        calls = forked(arguments)
        report(what=entry["what"], calls=calls, done=contents(work))
        points = sorted({n for n in range(1, calls + 1) if n <= EDGE or n > calls - EDGE})
        for name in ("SIGKILL", "SIGTERM", "SIGINT"):
            for point in points[:: 1 if name == "SIGKILL" else FEWER]:
                fresh(template, work)
                code = forked(arguments, point, signal.Signals[name])
                left = contents(work)
                again = forked(arguments, 10**6) if name == "SIGKILL" and not point % FEWER else None
                report(
                    what=entry["what"],
                    signal=name,
                    point=point,
                    code=code,
                    left=left,
                    again=again,
                    after=contents(work),
                )


if __name__ == "__main__":
    main()
