"""Workers that give no sign of life any more: they are ended, and Tune starts their trials anew in another process.

A worker says every few seconds where its work is (`ground.progress`), as long as its process runs. Ray itself
notices a process that died and a machine that is gone, but not a process that stands still: stopped by the system,
or waiting for a file server or a device in a call that never returns. How long it has been silent is told by the
clock of whoever listens, from one new line to the next, so that no other clock matters.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from cl_forget.ground.followed import by_process
from cl_forget.ground.progress import duration
from cl_forget.sweeps.trainable import Source

SILENT = 300.0
"""Seconds without a sign of life after which a worker is ended; also the time that it has to start."""
LOOK = 5.0
"""Seconds between two looks."""


class Signs:
    """When each trial has last given a sign of life, by a clock of the listener's own.

    Args:
        folder: of the sweep, where processes put their lines.
        clock: seconds; any that never goes back.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._said: dict[str, dict[str, Any]] = {}
        self.at: dict[str, float] = {}

    def look(self) -> None:
        """Read what has been said; a line that was there before is no sign."""
        for process, line in by_process(self._folder).items():
            if self._said.get(process) != line:
                self._said[process] = line
                if "trial" in line:
                    self.at[line["trial"]] = self._clock()


class Hanging(tune.Callback):
    """Ends the workers of trials that are silent for too long.

    Args:
        source: which trials a Tune trial consists of.
        folder: of the sweep.
        silent: seconds.
        tell: given a line about each worker that is ended.
        clock: seconds; any that never goes back.
    """

    def __init__(
        self,
        source: Source,
        folder: Path,
        tell: Callable[[str], None],
        silent: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._tell, self._clock = source, tell, clock
        self._silent = SILENT if silent is None else silent
        self._signs, self._looked = Signs(folder, clock), clock()
        self._began: dict[str, tuple[Any, float]] = {}  # Tune trial -> its actor, and since when
        self._names: dict[str, list[str]] = {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look every few seconds."""
        now = self._clock()
        if now - self._looked < min(LOOK, self._silent / 4):
            return
        self._looked = now
        self._signs.look()
        for trial in trials:
            actor = trial.temporary_state.ray_actor if trial.status == "RUNNING" else None
            if actor is None:
                self._began.pop(trial.trial_id, None)
                continue
            known, began = self._began.get(trial.trial_id, (None, now))
            if known is not actor:
                known, began = self._began[trial.trial_id] = actor, now
            last = max([began, *(self._signs.at.get(name, began) for name in self._trials(trial))])
            if now - last >= self._silent:
                self._end(trial, now - last)

    def _trials(self, trial: Any) -> list[str]:
        if trial.trial_id not in self._names:
            self._names[trial.trial_id] = [one.trial.id for one in self._source.group(trial.config)]
        return self._names[trial.trial_id]

    def _end(self, trial: Any, seconds: float) -> None:
        import ray

        names = ", ".join(self._trials(trial)[:3])
        self._tell(f"a worker has given no sign of life for {duration(seconds)} and is ended: {names}")
        ray.kill(trial.temporary_state.ray_actor)
        self._began.pop(trial.trial_id, None)
