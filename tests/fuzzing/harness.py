"""Runs one example: the product reads the files, and only two outcomes are allowed."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from cl_forget.ground.errors import UserError
from cl_forget.ground.failures import one_line

SECONDS = 20
"""The longest that one example may take: what takes longer hangs."""

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Format:
    """A kind of file that the product reads.

    Attributes:
        name: of the format.
        files: strategy for what lies in the folder: name -> content.
        read: reads the folder as the product does; what it writes goes into the folder it is given second.
        cost: how many times slower than a plain file one example is; fewer of them are tried by default.
    """

    name: str
    files: st.SearchStrategy[Files]
    read: Callable[[Path, Path], Any]
    cost: int = 1


@dataclass
class Outcomes:
    """What came of the examples of a format."""

    right: int = 0
    refused: int = 0
    slowest: float = 0.0
    messages: set[str] = field(default_factory=set)


class Hang(BaseException):
    """An example took too long; no `except Exception` of the product may hide it."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Ends what takes longer."""

    def stop(*_: object) -> None:
        raise Hang(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def attempt(format_: Format, files: Files, place: Path, outcomes: Outcomes) -> None:
    """Let the product read `files` below `place`.

    Raises:
        AssertionError: it wrote where it should not, or a refusal is not one clear line.
        Exception: the third outcome.
    """
    shutil.rmtree(place, ignore_errors=True)
    given, out, victim = place / "given", place / "out", place / "victim"
    for folder in (given, out, victim):
        folder.mkdir(parents=True)
    (victim / "model.safetensors").write_bytes(b"not yours")
    for name, content in files.items():
        (given / name).parent.mkdir(parents=True, exist_ok=True)
        (given / name).write_bytes(content)
    before, started = contents(given), time.perf_counter()
    try:
        with limited(SECONDS):
            format_.read(given, out)
    except UserError as error:
        outcomes.refused += 1
        message = one_line(str(error))
        assert message, "a refusal without a word"
        outcomes.messages.add(message.replace(str(place), ""))
        if not any(path.is_file() for path in given.rglob("*.lock")):
            assert not list(out.rglob("*")), f"half-written: {sorted(out.rglob('*'))}"
    else:
        outcomes.right += 1
    outcomes.slowest = max(outcomes.slowest, time.perf_counter() - started)
    assert contents(given) == before, "what was read was changed"
    assert contents(victim) == {"model.safetensors": b"not yours"}, "another folder was written to"
    assert {p.name for p in place.iterdir()} == {"given", "out", "victim"}, "something was written outside"
