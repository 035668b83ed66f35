"""A sweep on one screen, or as lines: how far it is, the best trade-offs so far, what failed, the time left."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.comparison.overview import Overview, Standing, overview
from cl_forget.comparison.settings import setting_label
from cl_forget.comparison.trial_files import Records
from cl_forget.comparison.trials import Status, load_trial
from cl_forget.ground import clock
from cl_forget.ground.errors import UserError
from cl_forget.ground.followed import Lines, forget, latest
from cl_forget.ground.progress import SECONDS, duration, emit, held, listening, pass_on, sentence
from cl_forget.sweeps.folder import SweepState, load_state
from cl_forget.sweeps.heartbeat import heartbeat

if TYPE_CHECKING:
    from rich.console import RenderableType

ROWS = 8
"""Trade-offs shown at most, so that everything fits one screen."""

SHARE = 20
"""A view rests that many times as long as its last look took: of 100,000 trials it takes a quarter of a second."""

COLOURS: dict[Status, str] = {
    "finished": "green",
    "running": "cyan",
    "pruned": "yellow",
    "diverged": "red",
    "out_of_memory": "red",
    "failed": "red",
}


def screen(folder: Path, records: Records | None = None) -> RenderableType:
    """A sweep's folder as it stands.

    Args:
        folder: of the sweep.
        records: its trials, where it is looked at again and again.

    Raises:
        UserError: it holds no sweep.
    """
    from rich.console import Group

    state, found = load_state(folder), (records or Records(folder)).overview()
    parts: list[Any] = [_progress(folder, state, found), *_under_way(folder, state, found.open)]
    if found.front:
        parts.append(_table(folder, found.front[:ROWS], len(found.front)))
    parts.extend(_failures(folder, found.broken))
    return Group(*parts)


def time_left(state: SweepState, over: int, now: float) -> float | None:
    """Seconds, from the pace so far; None before the first trial is over or where nobody knows how many come."""
    if not over or state.planned <= over:
        return None
    return (state.seconds + now - state.resumed) / over * (state.planned - over)


def _under_way(folder: Path, state: SweepState, open_: Set[str]) -> list[Any]:
    """What each trial is doing, as far as the driver lives."""
    from rich.text import Text

    sign = heartbeat(folder)
    if state.finished or sign is None or sign.state(clock.now()) == "dead":
        return []
    lines = [Text(f"  {sentence(one)}", "cyan", no_wrap=True) for one in running(folder, open_)]
    for line in lines:
        line.overflow = "ellipsis"
    more = len(lines) - ROWS
    return [*lines[:ROWS], *([Text(f"  and {more} more", "cyan")] if more > 0 else [])]


STALE = 120.0
"""Seconds after which what a process has said last is no longer what it does."""


def running(folder: Path, open_: Set[str]) -> list[dict[str, Any]]:
    """Where each trial under way is, by what its process has said last; how long is left of it is not told.

    Args:
        folder: of the sweep.
        open_: the ids of its trials that are not over.
    """
    now = clock.now()
    said = [one for one in latest(folder) if now - float(one.get("time", 0.0)) < STALE]
    found = [one for one in said if one.get("doing") and ("trial" not in one or one["trial"] in open_)]
    return [{k: v for k, v in one.items() if k not in ("event", "time", "seconds_left")} for one in found]


def driver_line(folder: Path, state: SweepState, now: float) -> str:
    """Whether anybody drives the sweep, and what to do where nobody does; empty where it is complete."""
    if state.finished:
        return ""
    sign = heartbeat(folder)
    if sign is None and state.stopped is not None:
        return f"stopped by its budget: raise `budget.{state.stopped}` and add --resume"
    if sign is None:
        return "nobody drives it: the same command with --resume goes on from here"
    return sign.line(now)


def _progress(folder: Path, state: SweepState, found: Overview) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    over, total = found.over, max(state.planned, found.trials)
    line = Text(f"{state.name} ({state.mode})  ", style="bold")
    line.append(f"{over} of {total} trials", style="default")
    for status, colour in COLOURS.items():
        if count := found.counts.get(status):
            line.append(f"  {count} {status.replace('_', ' ')}", style=colour)
    now, sign = clock.now(), heartbeat(folder)
    alive = not state.finished and sign is not None and sign.state(now) == "alive"
    left = time_left(state, over, now) if alive else None
    if state.finished:
        line.append("  complete", style="green")
    elif left is not None:
        line.append(f"  about {duration(left)} left", style="dim")
    lines = Table.grid()
    lines.add_row(line)
    lines.add_row(ProgressBar(total=max(total, 1), completed=over, width=60))
    if driver := driver_line(folder, state, now):
        lines.add_row(Text(driver, style="dim" if alive else "red"))
    if state.saved is not None:
        lines.add_row(Text(str(state.saved), style="dim"))
    return lines


def _table(folder: Path, trials: Sequence[Standing], total: int) -> RenderableType:
    from rich import box
    from rich.table import Table

    more = f", {len(trials)} of {total}" if total > len(trials) else ""
    table = Table(title=f"best trade-offs so far (validation{more})", box=box.SIMPLE, title_justify="left")
    for name in ("method", "setting", "seed", "speciality", "generality"):
        table.add_column(name, justify="right" if name in ("seed", "speciality", "generality") else "left")
    for one in trials:
        trial = load_trial(folder, one.id)  # its setting
        label = "" if trial is None else setting_label(trial)
        table.add_row(one.method, label, str(one.seed), _percent(one.speciality), _percent(one.generality))
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _failures(folder: Path, broken: Sequence[str]) -> list[Any]:
    from rich.text import Text

    last = [trial for trial in (load_trial(folder, name) for name in broken) if trial is not None]
    lines = [Text(f"{t.id}: {t.status.replace('_', ' ')}: {t.reason}", "red", no_wrap=True) for t in last]
    for line in lines:
        line.overflow = "ellipsis"
    return lines


class LiveView:
    """Shows a sweep's folder on the terminal, again and again, until it is left."""

    def __init__(self, folder: Path, seconds: float = 1.0) -> None:
        self._folder, self._seconds = folder, seconds
        self._records = Records(folder)
        self._over = threading.Event()

    def __enter__(self) -> LiveView:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            screen(self._folder, self._records),
            console=Console(stderr=True, markup=False),
            auto_refresh=False,
        )
        self._live.start()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._live.update(screen(self._folder, self._records), refresh=True)
        self._live.stop()

    def _follow(self) -> None:
        took = 0.0
        while not self._over.wait(max(self._seconds, SHARE * took)):
            began = time.monotonic()
            self._live.update(screen(self._folder, self._records), refresh=True)
            took = time.monotonic() - began


class LogView:
    """Says in the log how far a sweep is, until it is left: each row that a trial has measured, and every 30 seconds
    all of it in one line. On a terminal it says nothing.

    Args:
        folder: of the sweep.
        seconds: between two lines about all of it.
        clock: seconds, from anywhere.
    """

    def __init__(
        self, folder: Path, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._seconds, self._clock = folder, seconds, clock
        self._lines, self._records = Lines(folder), Records(folder)
        self._said = clock()
        self._over, self._stack = threading.Event(), contextlib.ExitStack()

    def __enter__(self) -> LogView:
        forget(self._folder)
        self._stack.enter_context(held())
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.look()
        self._stack.close()
        forget(self._folder)

    def _follow(self) -> None:
        while not self._over.wait(1.0):
            self.look()

    def look(self) -> None:
        """Say what is due."""
        rows = [record for record in self._lines.new() if record.get("event") == "row"]
        if rows and listening():
            # The trial's process knows how long its own work takes; of all of it the records tell.
            left = self._left(self._overview())
            for record in rows:
                pass_on("row", {**{k: v for k, v in record.items() if k not in ("time", "event")}, **left})
        if self._clock() - self._said >= self._seconds and listening():
            self._said = self._clock()
            self.tell()

    def tell(self) -> None:
        """One line about all of it."""
        found = self._overview()
        fields: dict[str, Any] = {
            "over": found.over,
            "statuses": dict(found.counts),
            "running": running(self._folder, found.open),
            **self._left(found),
        }
        emit("progress", fields, _said(fields))

    def _overview(self) -> Overview:
        """How the trials stand; nothing where a record cannot be read, which whoever works on it will say."""
        with contextlib.suppress(UserError, OSError):
            return self._records.overview()
        return overview([])

    def _left(self, found: Overview) -> dict[str, Any]:
        """The sweep's name, how many trials it has and the seconds that are left of it, as far as they are known."""
        try:
            state = load_state(self._folder)
        except (UserError, OSError):  # claims have no plan of their own there
            return {}
        left = time_left(state, found.over, clock.now())
        known = {"sweep": state.name, "trials": max(state.planned, found.trials)}
        return known if left is None else {**known, "seconds_left": left}


def _said(fields: dict[str, Any]) -> str:
    """The line for people."""
    total = f" of {fields['trials']:,}" if "trials" in fields else ""
    parts = [f"{fields.get('sweep', 'trials')}: {fields['over']:,}{total} over"]
    parts += [
        f"{count:,} {status.replace('_', ' ')}"
        for status, count in fields["statuses"].items()
        if status in ("diverged", "out_of_memory", "failed")
    ]
    under_way = fields["running"]
    parts += ["; ".join(map(sentence, under_way[:3])) + (", ..." if len(under_way) > 3 else "")]
    parts += [f"about {duration(fields['seconds_left'])} left"] if "seconds_left" in fields else []
    return " · ".join(part for part in parts if part)
