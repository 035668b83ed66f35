"""What processes that work for this one say of how far they are: files (`progress.into`) that are read here."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cl_forget.ground.progress import FOLDER, pass_on

TAIL = 2**16
"""Bytes that the last line of a process has at most; of more it says nothing."""


class Lines:
    """The lines of all processes below a folder, each given once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._read: dict[Path, int] = {}

    def new(self) -> list[dict[str, Any]]:
        """Those written since the last look, in the order of each file; what is no whole line yet is left."""
        found: list[dict[str, Any]] = []
        for file in sorted(self._folder.glob("*.jsonl")):
            with contextlib.suppress(OSError), file.open("rb") as opened:
                opened.seek(self._read.get(file, 0))
                whole = opened.read().rpartition(b"\n")[0]
                self._read[file] = self._read.get(file, 0) + (len(whole) + 1 if whole else 0)
                found += [record for line in whole.splitlines() if (record := _record(line)) is not None]
        return found


def _record(line: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError, RecursionError):
        record = json.loads(line)
        if isinstance(record, dict):
            return record
    return None


def latest(folder: Path) -> list[dict[str, Any]]:
    """The last line of each process below a folder, as far as it can be read."""
    return list(by_process(folder).values())


def by_process(folder: Path) -> dict[str, dict[str, Any]]:
    """The same by the name that each process has there."""
    found = {}
    for file in sorted((folder / FOLDER).glob("*.jsonl")):
        with contextlib.suppress(OSError), file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - TAIL))
            record = _record(opened.read().rstrip(b"\n").rpartition(b"\n")[2])
            if record is not None:
                found[file.stem] = record
    return found


def forget(folder: Path) -> None:
    """Remove the lines of processes that are gone."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


@contextlib.contextmanager
def passed_on(folder: Path, seconds: float = 1.0) -> Iterator[None]:
    """Meanwhile whatever processes below the folder say is said by this one."""
    lines, over = Lines(folder), threading.Event()

    def look() -> None:
        for record in lines.new():
            record.pop("time", None)
            pass_on(record.pop("event", "progress"), record)

    def follow() -> None:
        while not over.wait(seconds):
            look()

    forget(folder)
    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()
        forget(folder)
