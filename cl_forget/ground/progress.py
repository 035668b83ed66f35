"""How far the work is: bars on a terminal, and lines where nobody watches one.

`track` wraps an iterable, `bar` gives a bar that is advanced by hand, `stretch` is work that bars lie in. On a
terminal bars are drawn, on standard error. Elsewhere a line says where the work is: at once as it begins, every 30
seconds, and at every row of results (`row`). Lines go to the logger `cl_forget.progress`, each with its fields
(`record.fields`), which a log of JSON lines writes out; or, in a process that works for another, to a file that the
other one reads (`into`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cl_forget.ground import clock
from cl_forget.ground.redact import redact

Item = TypeVar("Item")
Fields = Mapping[str, Any]

LOG = "CL_FORGET_LOG"
"""The environment variable that says how lines are written, "text" or "json"; processes started here inherit it."""
SECONDS = 30.0
"""The longest silence of a process that works alone."""
FILE_SECONDS = 5.0
"""The same of one whose lines another process reads."""
FOLDER = ".progress"
"""Where below a folder its processes put their lines, one file each."""

logger = logging.getLogger("cl_forget.progress")


class Advance(Protocol):
    """Moves a bar."""

    def __call__(self, count: int, text: str = "", /, **numbers: float) -> None:
        """`count` steps further; the text is shown, the numbers (such as the loss) stand in the lines."""


@dataclass
class Stretch:
    """Work under way.

    Attributes:
        text: what is done; empty for what only holds other work together.
        total: how many parts it has; 0 if nobody knows.
        unit: of the parts, such as "steps".
        fields: what it is about, such as the arm and the seed.
        done, before: how many parts are done, and were when it began.
        numbers: given as it was advanced last.
        last: where the latest work inside it, with steps, has ended.
    """

    text: str = ""
    total: int = 0
    unit: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    done: int = 0
    before: int = 0
    began: float = 0.0
    numbers: dict[str, float] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)

    def reached(self) -> dict[str, Any]:
        """How far it is: "step" of "steps", or "done" of "total"; and its numbers."""
        names = ("step", "steps") if self.unit == "steps" else ("done", "total")
        return {**dict(zip(names, (self.done, self.total), strict=True)), **self.numbers}


class Reporter:
    """Where the work of a process is, and when a line about it is due.

    Args:
        write: given the name of the event ("start", "progress", "row") and the fields of each line.
        seconds: the longest silence.
        clock: seconds, from anywhere.
    """

    def __init__(
        self,
        write: Callable[[str, dict[str, Any]], None],
        seconds: Callable[[], float] = lambda: SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._seconds, self._clock = write, seconds, clock
        self._lock = threading.RLock()
        self._said = clock()
        self._held = 0
        self.open: list[Stretch] = []

    @contextlib.contextmanager
    def during(self, stretch: Stretch) -> Iterator[Stretch]:
        """A stretch of work, inside those that are open."""
        with self._lock:
            stretch.began, stretch.before = self._clock(), stretch.done
            self.open.append(stretch)
        try:
            yield stretch
        finally:
            with self._lock:
                self.open.remove(stretch)
                if self.open:
                    self.open[-1].last |= stretch.reached() if stretch.unit == "steps" else stretch.last

    def position(self) -> dict[str, Any]:
        """Where the work is: the fields of all that is open, what is done, how far it is, the time that is left."""
        with self._lock:
            found: dict[str, Any] = {}
            for stretch in self.open:
                found |= stretch.fields
            named = next((s for s in reversed(self.open) if s.text), None)
            if named is not None:
                found["doing"] = named.text
                found |= named.reached() if named.total else {"seconds": self._clock() - named.began}
            left = self._left()
        return found if left is None else {**found, "seconds_left": left}

    def _left(self) -> float | None:
        """Seconds, by the pace since the outermost work of known length began."""
        for place, stretch in enumerate(self.open):
            if stretch.total:
                before = stretch.before / stretch.total
                share = self._share(place)
                spent = self._clock() - stretch.began
                return spent * (1 - share) / (share - before) if share > before else None
        return None

    def _share(self, place: int) -> float:
        """How much of the work at this place is done, with what is done of the work inside it."""
        stretch = self.open[place]
        inside = self._share(place + 1) if place + 1 < len(self.open) else 0.0
        return min(1.0, (stretch.done + inside) / stretch.total) if stretch.total else inside

    def tell(self, event: str, **fields: Any) -> None:
        """A line now, about where the work is."""
        with self._lock:
            self._said = self._clock()
            position = self.position()
        self._write(event, {**position, **fields})

    def row(self, **fields: Any) -> None:
        """A line about a row of results, with where the training before it has ended."""
        with self._lock:
            latest: dict[str, Any] = {}
            for stretch in self.open:
                latest |= stretch.last
                stretch.last = {}
            known: dict[str, Any] = {
                name: latest[name] for name in ("step", "steps", "loss") if name in latest
            }
            position = {k: v for k, v in self.position().items() if k not in ("done", "total", "seconds")}
            self._said = self._clock()
        self._write("row", {**position, **known, **fields})

    def spoke(self) -> None:
        """Something was said: the silence begins anew."""
        self._said = self._clock()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile somebody else says where the work is."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self.spoke()

    def tick(self) -> None:
        """A line if the silence has been long enough."""
        if self.open and not self._held and self._clock() - self._said >= self._seconds():
            self.tell("progress")


def sentence(fields: Fields) -> str:
    """The fields of a line as people read them: `[3/8] SAM, seed 0 · training letters: step 2 of 6 · loss 0.53`."""
    head = f"[{fields['run']}/{fields['runs']}] " if "runs" in fields else ""
    names = [str(fields["arm"])] if "arm" in fields else []
    names += [f"seed {fields['seed']}"] if "seed" in fields else []
    doing = str(fields.get("doing", ""))
    # A row says first what it is about; what is done says how far it is.
    far = _far(fields)
    parts = [", ".join(names), f"{doing}: {far}" if doing and far and "scores" not in fields else doing]
    parts += [str(fields["scores"]), far] if "scores" in fields else []
    parts += [f"loss {fields['loss']:.3f}"] if "loss" in fields else []
    if "seconds" in fields and fields["seconds"] >= 1:
        parts.append(f"for {duration(fields['seconds'])}")
    parts += [f"about {duration(fields['seconds_left'])} left"] if "seconds_left" in fields else []
    return head + " · ".join(part for part in parts if part)


def _far(fields: Fields) -> str:
    if "steps" in fields:
        return f"step {fields['step']:,} of {fields['steps']:,}"
    return f"{fields['done']:,} of {fields['total']:,}" if fields.get("total") else ""


def duration(seconds: float) -> str:
    """A length of time for people: `40 s`, `12 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# -- of this process -----------------------------------------------------------------------------------

_bars = True
_muted = False
_file: Path | None = None


def in_json() -> bool:
    """Whether lines are JSON objects, as `--log json` asks for."""
    return os.environ.get(LOG) == "json"


def watched() -> bool:
    """Whether bars can be drawn: standard error is a terminal, and not for a program that reads lines."""
    return sys.stderr.isatty() and not in_json()


def silence() -> None:
    """No bars from this process: it is one of several that work for a parent with a bar of its own."""
    global _bars
    _bars = False


def mute() -> None:
    """Neither bars nor lines from this process: another one does the same work, and speaks."""
    global _bars, _muted
    _bars, _muted = False, True


def into(folder: Path | None) -> Path | None:
    """Lines of this process go to a file below the folder, where whoever watches it finds them; None: to the log.

    Returns:
        The file.
    """
    global _file
    _file = None if folder is None else folder / FOLDER / f"{socket.gethostname()}-{os.getpid()}.jsonl"
    return _file


def listening() -> bool:
    """Whether a line of this process would be read by anybody."""
    return not _muted and (_file is not None or (not watched() and logger.isEnabledFor(logging.INFO)))


def _write(event: str, fields: dict[str, Any]) -> None:
    if not listening():
        return
    if _file is None:
        emit(event, fields)
        return
    line = json.dumps(redact({"time": clock.now(), "event": event, **fields}))
    with contextlib.suppress(OSError):  # no reason to stop the work that it is about
        _file.parent.mkdir(parents=True, exist_ok=True)
        with _file.open("a") as file:
            file.write(line + "\n")


def pass_on(event: str, fields: dict[str, Any]) -> None:
    """A line of a process that works for this one, as one of its own."""
    _write(event, fields)


def emit(event: str, fields: Fields, text: str | None = None) -> None:
    """A line in the log, whoever has found out what it says."""
    said = sentence(fields) if text is None else text
    logger.info("%s", redact(said), extra={"fields": redact({"event": event, **fields})})


_reporter = Reporter(_write, lambda: SECONDS if _file is None else FILE_SECONDS)


@contextlib.contextmanager
def _during(stretch: Stretch) -> Iterator[Stretch]:
    """The stretch; while the outermost one is open, a thread says where the work is."""
    if _reporter.open or not listening():
        with _reporter.during(stretch):
            yield stretch
        return
    over = threading.Event()

    def follow() -> None:
        while not over.wait(1.0):
            _reporter.tick()

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    with _reporter.during(stretch):
        thread.start()
        try:
            yield stretch
        finally:
            over.set()


@contextlib.contextmanager
def stretch(total: int = 0, text: str = "", /, **fields: Any) -> Iterator[Advance]:
    """Work that bars lie in and that is not drawn itself; the function it yields is told of each part that is done.

    Args:
        total: how many parts it has; 0 if nobody knows.
        text: what is done where no work inside it says more.
        fields: what it is about: `arm`, `seed`, and whatever else the lines shall hold.
    """
    with _during(Stretch(text, total, fields=fields)) as own:
        yield _mover(own)


@contextlib.contextmanager
def begin(text: str, **fields: Any) -> Iterator[None]:
    """Work that may take long before there is anything to show: a line says so at once, on a terminal, too."""
    with _during(Stretch(text, fields=fields)):
        if not _muted and _file is None:
            _reporter.spoke()
            emit("start", {**fields, "doing": text}, f"{text} …")
        yield


def held() -> contextlib.AbstractContextManager[None]:
    """Meanwhile this process does not say by itself where its work is: whoever asks for this does."""
    return _reporter.held()


def say(text: str, **fields: Any) -> None:
    """A line of its own, on a terminal, too."""
    _reporter.spoke()
    emit("message", fields, text)


def row(**fields: Any) -> None:
    """A row of results has been measured; on a terminal the bars have shown it."""
    _reporter.row(**fields)


@contextlib.contextmanager
def bar(description: str, total: int, unit: str = "", done: int = 0) -> Iterator[Advance]:
    """A progress bar, and a stretch of work for the lines.

    Args:
        description: what is done.
        total: how many parts it has.
        unit: of the parts.
        done: how many are done already, as where a run is resumed.
    """
    with _during(Stretch(description, total, unit, done=done)) as own:
        move = _mover(own)
        if not _bars or not watched():
            yield move
            return
        with _drawn(description, total, unit, done) as shown:

            def both(count: int, text: str = "", /, **numbers: float) -> None:
                move(count, text, **numbers)
                shown(count, text)

            yield both


def _mover(own: Stretch) -> Advance:
    def move(count: int, text: str = "", /, **numbers: float) -> None:
        own.done += count
        if numbers:
            own.numbers = numbers

    return move


@contextlib.contextmanager
def _drawn(description: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", style="dim", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, completed=done, text="")

        def move(count: int, text: str = "", /, **numbers: float) -> None:
            progress.update(task, advance=count, text=text)

        yield move


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """The items, with a bar that moves as they are taken."""
    with bar(description, total) as advance:
        for item in items:
            yield item
            advance(1, "")
