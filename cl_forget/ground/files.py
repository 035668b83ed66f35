"""Files and folders that are written whole or not at all, and folders that one process at a time writes to."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cl_forget.ground.errors import UserError

try:
    import fcntl
except ImportError:  # this system has no such locks: then nobody is kept out
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""Held, in a run's folder, by the process that writes to it."""

NO_LOCK = -1
"""What `acquire` gives where there are no locks to be had."""

_TEMPORARY = re.compile(r"^\..+\.(\d+)\.tmp$", re.DOTALL)
_CLOCK_SLACK = 2.0
_held: set[tuple[str, int]] = set()  # (folder, thread) of every `only_writer` under way

StrPath = str | os.PathLike[str]
"""A path as callers may give it."""


def as_paths(given: StrPath | Iterable[StrPath]) -> list[Path]:
    """One path or several, as a list of them."""
    return [Path(given)] if isinstance(given, (str, os.PathLike)) else [Path(path) for path in given]


_STRANGE = re.compile(r"[\x00-\x1f\x7f\\\\]|^[A-Za-z]:")
"""What no name of a file that we read or write has: control characters, backslashes, drive letters."""


def inside(folder: Path, name: object, where: object) -> Path:
    """The path of `name` in `folder`: for every name that was read from a file, which may be anybody's.

    Args:
        folder: what the name must not leave, neither by its own words nor through a link. Only the hub's cache may
            link out of a folder: from `snapshots/<revision>` to the `blobs` beside it.
        name: relative, with forward slashes.
        where: the file that it was read from, for the message.

    Raises:
        UserError: it is no such name.
    """
    path = below(folder, name, where)
    if not stays_inside(folder, path):
        raise UserError(
            f"{path} is a link that leaves {folder}; put the file itself there, if you trust where it leads."
        )
    return path


def below(folder: Path, name: object, where: object) -> Path:
    """As `inside`, where links are the user's own: the folder of results that a file gives a name."""
    parts = name.split("/") if isinstance(name, str) else []
    long = any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts)
    if not isinstance(name, str) or long or _STRANGE.search(name) or {"", ".", ".."} & set(parts):
        shown = repr(name) if len(repr(name)) < 100 else f"{repr(name)[:97]}..."
        raise UserError(
            f"{where} names {shown}, which is no name inside {folder}; give a plain one, or get the files from "
            "their source again."
        )
    return folder / name


def stays_inside(folder: Path, path: Path) -> bool:
    """Whether a path below `folder` stays there when links are followed (the hub's cache: in its `blobs`)."""
    root, real = folder.resolve(), path.resolve()
    blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    return real.is_relative_to(root) or real.is_relative_to(blobs)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write a file or folder at; renamed at the end, removed on failure.

    What was written is on the disk before it gets its name, and the name is before this returns. A folder that
    is there already must be out of the way by the end.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole, flushed to disk before it gets its name."""
    with whole(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) whole, flushed to disk before it gets its name."""
    write_bytes(path, text.encode())


def write_all(output: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a folder, made if need be; each appears whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output)
        for name, content in contents.items():
            write_bytes(output / name, content)
    except OSError as error:
        raise UserError(
            f"nothing can be written to {output}: {error.strerror}. Choose another folder."
        ) from error


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk; where that can be asked for."""
    with contextlib.suppress(OSError):  # some file systems, and Windows, open no folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _flush(path: Path) -> None:
    """`sync` for a file, or for a folder with everything in it."""
    for below in path.rglob("*") if path.is_dir() else ():
        sync(below)
    sync(path)


def remove_leftovers(*folders: Path) -> None:
    """Delete the temporary files that killed processes left in these folders; those of live writers stay.

    A process that is alive but began after the file was written only has the number of the one that died.
    """
    for folder in folders:
        for path in folder.glob(".*.tmp") if folder.is_dir() else ():
            match = _TEMPORARY.match(path.name)
            if match is None or _is_written(path, int(match[1])):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_written(path: Path, process: int) -> bool:
    """Whether the process that has this number may be the one that writes the file."""
    import psutil

    try:
        return psutil.Process(process).create_time() <= path.lstat().st_mtime + _CLOCK_SLACK
    except (psutil.NoSuchProcess, FileNotFoundError, ValueError, OverflowError):
        return False
    except (psutil.Error, OSError):
        return True


# Locks


def acquire(path: Path, wait: float = 0.0) -> int | None:
    """Take the lock that a file stands for; the system lets go of it when the process dies, however it dies.

    Args:
        path: the lock file; made if missing.
        wait: seconds to wait for another process.

    Returns:
        What `release` takes, `NO_LOCK` where the file system has no locks, or None: another process has it.

    Raises:
        OSError: the file cannot be made.
    """
    if fcntl is None:
        return NO_LOCK
    until = time.monotonic() + wait
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had the lock may have removed its file meanwhile: then this one guards nothing.
            if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
            os.close(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() >= until:
                return None
            time.sleep(0.05)
        except OSError:
            os.close(descriptor)
            return NO_LOCK


def release(descriptor: int | None) -> None:
    """Let go of a lock that `acquire` gave."""
    if descriptor is not None and descriptor != NO_LOCK:
        os.close(descriptor)


@contextlib.contextmanager
def only_writer(
    folder: Path, wait: float = 0.0, name: str = LOCK, cure: str = "", nested: bool = True
) -> Iterator[None]:
    """Nobody else writes to the folder meanwhile; it is made if missing.

    Args:
        folder: whose lock is taken.
        wait: seconds to wait for another process, such as one that was killed and needs a moment to die.
        name: of the lock file.
        cure: what to do when another process has it, as the end of a sentence.
        nested: whether the thread that has the lock may take it once more.

    Raises:
        UserError: another process has it, or the folder cannot be written to.
    """
    key = (str(folder.resolve() / name), threading.get_ident())
    if nested and key in _held:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = acquire(folder / name, wait)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --output.") from None
    if lock is None:
        by = _owner(folder / name)
        raise UserError(
            f"{folder} is being worked on by another process{by}; "
            f"{cure or 'wait for it to end, end it, or choose another --output'}."
        )
    _held.add(key)
    try:
        if lock != NO_LOCK:
            os.truncate(lock, 0)
            os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        _held.discard(key)
        if lock != NO_LOCK:
            (folder / name).unlink(missing_ok=True)
        release(lock)


def _owner(path: Path) -> str:
    """Who has a lock, as far as its file says."""
    try:
        said = path.read_text(errors="replace")[:200].strip()
    except OSError:
        return ""
    return f" ({said})" if said else ""
