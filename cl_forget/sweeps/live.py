"""A sweep on one screen: how far it is, the best trade-offs so far, what failed, and the time that is left."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.comparison.settings import setting_label
from cl_forget.comparison.trials import Status, Trial, load_trials
from cl_forget.sweeps.folder import SweepState, load_state

if TYPE_CHECKING:
    from rich.console import RenderableType

ROWS = 8
"""Trade-offs shown at most, so that everything fits one screen."""

COLOURS: dict[Status, str] = {
    "finished": "green",
    "running": "cyan",
    "pruned": "yellow",
    "diverged": "red",
    "out_of_memory": "red",
    "failed": "red",
}


def screen(folder: Path) -> RenderableType:
    """A sweep's folder as it stands.

    Raises:
        UserError: it holds no sweep.
    """
    from rich.console import Group

    state, trials = load_state(folder), load_trials(folder)
    parts: list[Any] = [_progress(state, trials)]
    front = best(trials)
    if front:
        parts.append(_table(front[:ROWS], len(front)))
    parts.extend(_failures(trials))
    return Group(*parts)


def best(trials: Sequence[Trial]) -> list[Trial]:
    """The finished trials whose validation speciality and generality no other one beats, most special first."""
    points = [(trial, _point(trial)) for trial in trials if trial.status == "finished"]
    known = [(trial, point) for trial, point in points if point is not None]
    front = [
        (trial, point)
        for trial, point in known
        if not any(o[0] >= point[0] and o[1] >= point[1] and o != point for _, o in known)
    ]
    once = {point: trial for trial, point in reversed(front)}  # of those that are equal, the first
    return [once[point] for point in sorted(once, reverse=True)]


def time_left(state: SweepState, trials: Sequence[Trial], now: float) -> float | None:
    """Seconds, from the pace so far; None before the first trial is over or where nobody knows how many come."""
    over = sum(trial.over for trial in trials)
    if not over or state.planned <= over:
        return None
    return (state.seconds + now - state.resumed) / over * (state.planned - over)


def _point(trial: Trial) -> tuple[float, float] | None:
    speciality, generality = trial.validation.get("speciality"), trial.validation.get("generality")
    return None if speciality is None else (speciality, generality if generality is not None else 0.0)


def _progress(state: SweepState, trials: Sequence[Trial]) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    counts = Counter(trial.status for trial in trials)
    over = sum(trial.over for trial in trials)
    total = max(state.planned, len(trials))
    line = Text(f"{state.name} ({state.mode})  ", style="bold")
    line.append(f"{over} of {total} trials", style="default")
    for status, colour in COLOURS.items():
        if counts[status]:
            line.append(f"  {counts[status]} {status.replace('_', ' ')}", style=colour)
    left = None if state.finished else time_left(state, trials, time.time())
    if state.finished:
        line.append("  complete", style="green")
    elif left is not None:
        line.append(f"  about {_duration(left)} left", style="dim")
    lines = Table.grid()
    lines.add_row(line)
    lines.add_row(ProgressBar(total=max(total, 1), completed=over, width=60))
    if state.saved is not None:
        lines.add_row(Text(str(state.saved), style="dim"))
    return lines


def _table(trials: Sequence[Trial], total: int) -> RenderableType:
    from rich import box
    from rich.table import Table

    more = f", {len(trials)} of {total}" if total > len(trials) else ""
    table = Table(title=f"best trade-offs so far (validation{more})", box=box.SIMPLE, title_justify="left")
    for name in ("method", "setting", "seed", "speciality", "generality"):
        table.add_column(name, justify="right" if name in ("seed", "speciality", "generality") else "left")
    for trial in trials:
        speciality, generality = trial.validation.get("speciality"), trial.validation.get("generality")
        table.add_row(
            trial.method, setting_label(trial), str(trial.seed), _percent(speciality), _percent(generality)
        )
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _failures(trials: Sequence[Trial]) -> list[Any]:
    from rich.text import Text

    bad = [trial for trial in trials if trial.status in ("failed", "diverged", "out_of_memory")]
    lines = [Text(f"{t.id}: {t.status.replace('_', ' ')}: {t.reason}", "red", no_wrap=True) for t in bad[-3:]]
    for line in lines:
        line.overflow = "ellipsis"
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class LiveView:
    """Shows a sweep's folder on the terminal, again and again, until it is left."""

    def __init__(self, folder: Path, seconds: float = 1.0) -> None:
        self._folder, self._seconds = folder, seconds
        self._over = threading.Event()

    def __enter__(self) -> LiveView:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(screen(self._folder), console=Console(stderr=True), auto_refresh=False)
        self._live.start()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._live.update(screen(self._folder), refresh=True)
        self._live.stop()

    def _follow(self) -> None:
        while not self._over.wait(self._seconds):
            self._live.update(screen(self._folder), refresh=True)
