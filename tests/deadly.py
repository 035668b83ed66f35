"""A stream whose reading kills a process that works for another one, as a system does that lacks memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from cl_forget.streams import STREAMS
from cl_forget.streams.base import Experience
from cl_forget.testing.worlds import squares

STREAMS.add("deadly-squares", "deadly:deadly_squares")
PLACE = "CL_FORGET_TEST_DEADLY"


def arm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next process that reads the stream for another one dies, and no later one."""
    (folder / "deadly").touch()
    monkeypatch.setenv(PLACE, str(folder / "deadly"))


def deadly_squares() -> list[Experience]:
    """The usual squares, for whoever lives to see them."""
    if multiprocessing.parent_process() is not None and PLACE in os.environ:
        try:
            Path(os.environ[PLACE]).unlink()
        except FileNotFoundError:
            return squares()
        os.kill(os.getpid(), signal.SIGKILL)
    return squares()
