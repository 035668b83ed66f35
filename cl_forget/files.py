"""Files and folders that are written whole or not at all: under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

StrPath = str | os.PathLike[str]
"""A path as callers may give it."""


def as_paths(given: StrPath | Iterable[StrPath]) -> list[Path]:
    """One path or several, as a list of them."""
    return [Path(given)] if isinstance(given, (str, os.PathLike)) else [Path(path) for path in given]


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write a file or folder at; renamed at the end, removed on failure.

    A folder that is there already must be out of the way by the end.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole, flushed to disk before it gets its name."""
    with whole(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) whole, flushed to disk before it gets its name."""
    write_bytes(path, text.encode())
