"""One clock for all machines that work in one place: that of the storage which they share.

The clocks of two machines may be hours apart. What one of them writes down and another one compares, such as when a
trial ended or a driver gave its last sign of life, is told by the clock that both can read: the time that the storage
gives to a file as it is written.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

SLACK = 2.0
"""Seconds; file systems round, so what is closer is the same."""

_ahead = 0.0


def now() -> float:
    """Seconds since 1970, by the clock of the storage that this process follows; by its own before."""
    return time.time() + _ahead


def follow(folder: Path) -> None:
    """From now on the clock is that of the file system that a folder lies on, where it may be written to."""

    def written() -> float:
        file = folder / f".clock.{os.getpid()}.tmp"
        try:
            file.write_bytes(b"")
            return file.stat().st_mtime
        finally:
            file.unlink(missing_ok=True)

    with contextlib.suppress(OSError):
        compare(written)


def compare(written: Callable[[], float]) -> None:
    """From now on the clock is the one that `written` reads at the storage."""
    global _ahead
    before = time.time()
    there = written()
    after = time.time()
    ahead = there - (before + after) / 2
    _ahead = ahead if abs(ahead) > SLACK + (after - before) / 2 else 0.0
