"""Files and folders that are written whole or not at all: under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cl_forget.ground.errors import UserError

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


def write_all(output: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a folder, made if need be; each appears whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(output / name, content)
    except OSError as error:
        raise UserError(
            f"nothing can be written to {output}: {error.strerror}. Choose another folder."
        ) from error
