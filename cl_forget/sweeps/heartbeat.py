"""Whether the process that drives a sweep still lives: it says so every few seconds, and anybody may look."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from cl_forget.ground import clock
from cl_forget.ground.files import write_text
from cl_forget.ground.progress import duration

FILE = ".heartbeat.json"
SECONDS = 10.0
"""How often a driver gives a sign of life."""
SILENT = 60.0
"""After so long without one it is taken for dead."""

State = Literal["alive", "silent", "dead"]


class Heartbeat(BaseModel):
    """The latest sign of life.

    Attributes:
        host, process: of the driver.
        time: when, seconds since 1970 by the clock of the storage (`ground.clock`).
    """

    host: str
    process: int
    time: float

    def state(self, now: float) -> State:
        """ "dead" where the process is known to be gone, "silent" where it has said nothing for too long."""
        if self.host == socket.gethostname() and not _exists(self.process):
            return "dead"
        return "alive" if now - self.time < SILENT else "silent"

    def line(self, now: float) -> str:
        """For people, with what to do about it."""
        who, ago = f"process {self.process} on {self.host}", duration(max(0.0, now - self.time))
        resume = "the same command with --resume goes on from here"
        said = {
            "alive": f"driven by {who}, last sign of life {ago} ago",
            "silent": f"its driver ({who}) has given no sign of life for {ago}: look there, or end it; then {resume}",
            "dead": f"its driver ({who}) has died, last sign of life {ago} ago: {resume}",
        }
        return said[self.state(now)]


def heartbeat(folder: Path) -> Heartbeat | None:
    """The latest sign of life of whoever drives the sweep in a folder; None where nobody does."""
    try:
        return Heartbeat.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


class Beating:
    """Meanwhile this process gives signs of life in a folder; none is left there at the end."""

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        self._folder, self._seconds = folder, seconds
        self._over = threading.Event()

    def beat(self) -> None:
        """One sign of life; a disk that refuses it is no reason to stop the sweep."""
        sign = Heartbeat(host=socket.gethostname(), process=os.getpid(), time=clock.now())
        with contextlib.suppress(OSError):
            write_text(self._folder / FILE, sign.model_dump_json())

    def __enter__(self) -> Beating:
        self.beat()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            (self._folder / FILE).unlink(missing_ok=True)

    def _follow(self) -> None:
        while not self._over.wait(self._seconds):
            self.beat()


def _exists(process: int) -> bool:
    if os.name != "posix":  # where signal 0 is no question
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
