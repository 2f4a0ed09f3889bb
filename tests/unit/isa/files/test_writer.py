"""The one writer of files: what it replaces, writes through and refuses, and what is left when it fails."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pimc_isa.errors import PimcError
from pimc_isa.files import check_output, write_file, write_text
from pimc_isa.files.temporary import temporary

NOBODY = 65534


def outcome(action: Callable[[], object], user: int | None = None) -> str:
    """Run in a child (as another user), and return the error it met; files and limits of this process stay."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            if user is not None and os.getuid() == 0:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            action()
            os.write(writer, b"done")
        except PimcError as error:
            os.write(writer, str(error).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("old")
    return path


def test_a_link_stays_and_its_target_is_replaced(old: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    link, chain = inside / "link", tmp_path / "chain"
    link.symlink_to("../file")
    chain.symlink_to(link)
    write_text(chain, "new")
    assert (chain.is_symlink(), link.is_symlink(), old.is_symlink()) == (True, True, False)
    assert old.read_text() == "new"
    assert os.listdir(inside) == ["link"]


def test_a_link_to_nothing_makes_the_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("made")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "made").read_text() == "new"


def test_hard_links_keep_the_old_file(old: Path, tmp_path: Path) -> None:
    os.link(old, tmp_path / "second")
    write_text(old, "new")
    assert (tmp_path / "second").read_text() == "old"


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(PimcError, match="cannot write"):
        write_text(tmp_path / "a", "new")


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_permissions_are_kept(old: Path, mode: int) -> None:
    old.chmod(mode)
    write_text(old, "new")
    assert stat.S_IMODE(old.stat().st_mode) == mode


def test_new_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "new", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["folder", "link", "folder/", "."])
def test_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for action in (check_output, lambda path: write_text(path, "new")):
        with pytest.raises(PimcError, match="it is a folder"):
            action(tmp_path / name)
    assert os.listdir(tmp_path / "folder") == []


@pytest.mark.parametrize("name", ["no/such/file", "file/below"])
def test_a_folder_that_is_not_there_is_refused(old: Path, name: str) -> None:
    with pytest.raises(PimcError, match="cannot write"):
        check_output(old.parent / name)


def test_an_input_of_the_same_command_is_refused(old: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    os.link(old, tmp_path / "second")
    for output, source in (("file", "file"), ("link", "file"), ("file", "link"), ("second", "link")):
        with pytest.raises(PimcError, match="same file as the input"):
            check_output(tmp_path / output, [tmp_path / source])
    check_output(tmp_path / "other", [old])
    assert old.read_text() == "old"


def test_devices_are_written_through() -> None:
    assert write_text("/dev/null", "new") == 3
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(PimcError, match="No space left on device\nmake room"):
        write_text("/dev/full", "new")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_pipes_are_written_through(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, [b"one ", memoryview(b"two")])
    reader.join(10)
    assert got == [b"one two"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_is_written_through(tmp_path: Path) -> None:
    """Also where it is a regular file: it is not replaced under whoever opened it."""
    target = tmp_path / "captured"
    handle = os.open(target, os.O_WRONLY | os.O_CREAT)
    os.write(handle, b"before ")
    inode = target.stat().st_ino
    write_text(f"/dev/fd/{handle}", "new")
    os.close(handle)
    assert (target.read_text(), target.stat().st_ino) == ("before new", inode)


def test_a_full_disk_leaves_the_old_file(old: Path) -> None:
    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        write_file(old, [b"x" * 600, b"x" * 600])

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        said = outcome(full)
    finally:
        signal.signal(signal.SIGXFSZ, handler)
    assert said.startswith(f"cannot write {old}: File too large\n")
    assert os.listdir(old.parent) == ["file"]
    assert old.read_text() == "old"


@pytest.fixture
def open_to_all(tmp_path: Path) -> Path:
    """Return a folder that another user can reach."""
    for parent in tmp_path.parents:
        if "pytest" in str(parent):
            parent.chmod(parent.stat().st_mode | 0o111)
    return tmp_path


def test_a_folder_that_may_not_be_written(open_to_all: Path) -> None:
    folder = open_to_all / "locked"
    folder.mkdir()
    (folder / "file").write_text("old")
    (folder / "file").chmod(0o666)
    folder.chmod(0o555)
    for name in ("file", "new"):
        said = outcome(lambda: check_output(folder / name), NOBODY)  # noqa: B023
        assert said == f"cannot write {folder / name}: Permission denied\nchoose a folder and file that you may write"
    assert os.listdir(folder) == ["file"]
    folder.chmod(0o755)


def test_a_file_that_may_not_be_written(open_to_all: Path) -> None:
    folder = open_to_all / "open"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "file").write_text("old")
    (folder / "file").chmod(0o444)
    said = outcome(lambda: write_text(folder / "file", "new"), NOBODY)
    assert "Permission denied" in said
    assert (folder / "file").read_text() == "old"


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(PimcError, match="File name too long\nchoose a shorter name"):
        write_text(tmp_path / ("x" * 300), "new")
    write_text(tmp_path / ("x" * 250), "new")  # the file written beside it has a short name of its own


def test_what_a_killed_run_left_is_removed_and_what_is_at_work_is_not(tmp_path: Path) -> None:
    left = tmp_path / ".pimc-0123456789abcdef.part"
    left.write_text("left")
    other = tmp_path / ".pimc-notes.part"
    other.write_text("somebody's own")
    with temporary(tmp_path, 0o600) as (at_work, handle):
        write_text(tmp_path / "new", "new")
        assert at_work.exists()
        assert outcome(lambda: write_text(tmp_path / "newer", "newer")) == "done"
        assert at_work.exists()
        with pytest.raises(BlockingIOError), at_work.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(handle, b"still open")
    assert sorted(os.listdir(tmp_path)) == [".pimc-notes.part", "new", "newer"]


def test_parts_that_fail_leave_the_old_file(old: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"new"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_file(old, parts())
    assert os.listdir(old.parent) == ["file"]
    assert old.read_text() == "old"


def test_on_disk_before_the_name(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            calls.append(name)
            return real(*args, **options)

        return run

    for name in ("write", "fsync", "replace"):
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    write_text(old, "new")
    assert calls == ["write", "fsync", "replace", "fsync"]
