"""Weights & Biases: everything a run measures, online or as offline files that `wandb sync` uploads.

All calls into W&B are made by a thread of their own, one after the other, because some of them wait for the
network in ways that no setting bounds. The run itself only puts records into a queue; it waits once, at its end,
for at most `track.timeout` seconds. W&B's process writes every record to disk before it sends it, and a run that
the server does not take at its start is kept offline from its first record, so nothing is lost.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.ground.records import Row
from cl_forget.ground.redact import redact
from cl_forget.tracking import _wandb, names
from cl_forget.tracking.item_media import lost_pictures
from cl_forget.tracking.login import entities, problem

log = logging.getLogger(__name__)

Call = Callable[[Any], None]

LOCAL_SECONDS = 60.0
"""How long at most W&B's process on this machine is waited for, which has no network to wait for."""


class WandbTracker:
    """One run in Weights & Biases.

    Args:
        run: the run.
        mode: "online" or "offline".
        folder: W&B's own files go into a folder `wandb` below it.
        identity: of the W&B run.
        tasks, suites, probes: names in order; `probes` without the stream's own tasks.
    """

    def __init__(
        self,
        run: Run,
        mode: Literal["online", "offline"],
        folder: Path,
        identity: str,
        tasks: Sequence[str],
        suites: Sequence[str],
        probes: Sequence[str],
        draw: Callable[[Result], bytes | None],
    ) -> None:
        self._asked, self._folder, self._identity, self._draw = run, folder, identity, draw
        self._names = (list(tasks), list(suites), list(probes))
        self._timeout = run.track.timeout
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._run: Any = None  # wandb's, once it has started
        self._tried_online = self._given_up = False
        self._said = False
        self._known: set[int] = set()  # records that W&B has already; it takes none twice
        self.url: str | None = None
        self._thread = self._start(mode)

    # -- what the simulation calls ---------------------------------------------------------------------
    def step(self, at: int, number: int, record: dict[str, Any]) -> None:
        """Loss, penalties by name, learning rate, throughput, and now and then the KL to base."""
        self._log(at, names.step_values(number, record))

    def row(self, at: int, rows: Sequence[Row]) -> None:
        """The line of the R matrix, forgetting, transfer, generality, Δ_LP and cost so far."""
        self._log(at, names.row_values(rows, *self._names))

    def finish(self, at: int, result: Result, folder: Path) -> None:
        """The summary, pictures of each experience, tables of matrix, curves and items, checkpoints if asked for."""
        self._calls.put(lambda run: run.summary.update(result.metrics))  # "test" and "validation"
        self._calls.put(lambda run: self._experiences(run, at, result, folder))
        media = at + 1 + len(result.rows)
        self._calls.put(
            lambda run: (
                None if media in self._known else _wandb.log_media(run, media, result, folder, self._draw)
            )
        )
        if self._asked.track.artifacts:
            self._calls.put(lambda run: self._upload(run, folder))
        self._close(exit_code=0)

    def _experiences(self, run: Any, at: int, result: Result, folder: Path) -> None:
        """A record of pictures for each experience, after all those of the run itself."""
        lost = lost_pictures(result, folder)
        for number in range(len(result.rows)):
            if at + 1 + number not in self._known:
                _wandb.log_experience(run, at + 1 + number, result, number, lost[number])

    def failed(self, error: BaseException) -> None:
        """The run is marked as failed, with the reason; resuming it goes on in the same W&B run."""
        reason = redact(_one_line(error))
        self._calls.put(lambda run: run.summary.update({"error": reason}))
        self._close(exit_code=1)

    def _log(self, at: int, values: dict[str, float]) -> None:
        stamped = {**values, "_timestamp": time.time()}
        self._calls.put(lambda run: None if at in self._known else run.log(stamped, step=at))

    def _upload(self, run: Any, folder: Path) -> None:
        # Adding an artifact to an online run asks the server first, and waits for it long.
        if run.offline or (why := problem(self._timeout)) is None:
            _wandb.log_artifact(run, folder)
        else:
            self._say(f"the checkpoints are not uploaded, {why} They are in {folder}.")

    # -- the thread ------------------------------------------------------------------------------------
    def _start(self, mode: Literal["online", "offline"]) -> threading.Thread:
        thread = threading.Thread(target=self._work, args=(mode,), name="wandb", daemon=True)
        thread.start()
        return thread

    def _work(self, mode: Literal["online", "offline"]) -> None:
        try:
            run = self._open(mode)
        except Exception as error:  # of whatever kind: wandb itself is broken
            self._say(f"it cannot be started ({_one_line(error)}), so this run is not followed.")
            return
        for call in iter(self._calls.get, None) if run is not None else ():
            try:
                call(run)
            except Exception as error:  # whatever W&B raises must not reach the run
                self._say(f"something of this run is missing there: {_one_line(error)}.")

    def _open(self, mode: Literal["online", "offline"]) -> Any:
        """W&B's run: online, or offline if it cannot be; None if the run has been taken over meanwhile."""
        run, why = self._online() if mode == "online" else (None, "")
        with self._lock:
            late = self._given_up and mode == "online"
            if not late:
                self._run = run or self._offline()
        if late:
            with contextlib.suppress(Exception):  # what it has to say comes too late
                if run is not None:
                    run.finish(exit_code=1)
            return None
        if why:
            self._say_offline(why)
        elif not self._given_up:
            self.url = self._run.url if run else None
            log.info("W&B: %s", self.url or f"offline, {_wandb.files(self._run)}")
        return self._run

    def _online(self) -> tuple[Any, str]:
        """W&B's run, or None and the reason."""
        if why := problem(self._timeout):
            return None, why
        self._tried_online = True
        try:
            return _wandb.start(self._asked, "online", self._folder, self._identity), ""
        except Exception as error:  # of whatever kind: wrong entity, no permission, no answer
            return None, self._why_refused() or f"{_one_line(error)}; check track.entity and track.project"

    def _why_refused(self) -> str | None:
        known, entity = entities(self._timeout), self._asked.track.entity
        if entity is None or isinstance(known, str) or entity in known:
            return None
        return f"entity '{entity}' is not one of yours ({', '.join(sorted(known))}): set track.entity"

    def _offline(self) -> Any:
        # After a start that failed, wandb goes on using the identity as long as the process lives.
        identity = f"{self._identity}-offline" if self._tried_online else self._identity
        self._known = _wandb.logged_steps(self._folder, self._identity)
        return _wandb.start(self._asked, "offline", self._folder, identity)

    # -- the end ---------------------------------------------------------------------------------------
    def _close(self, exit_code: int) -> None:
        self._calls.put(lambda run: self._finish(run, exit_code))
        self._calls.put(None)
        self._thread.join(self._timeout)
        if not self._thread.is_alive():
            return
        with self._lock:
            self._given_up = self._run is None
        if self._given_up:
            self._thread = self._start("offline")
            self._thread.join(LOCAL_SECONDS)
            self._say_offline(f"it did not answer within {self._timeout:g} s")
        elif self._run.offline:
            self._thread.join(LOCAL_SECONDS)
        else:
            self._say_unfinished()

    def _finish(self, run: Any, exit_code: int) -> None:
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            self._say_unfinished()
            return
        if not run.offline and (status := _wandb.refused(run)):
            cure = "run `wandb login --relogin`, then " if status in ("401", "403") else ""
            self._say(
                f"the server refused the rest of this run ({status}). Nothing is lost: {cure}"
                f"`wandb sync {_wandb.files(run)}`."
            )

    def _say_unfinished(self) -> None:
        self._say(
            f"not everything was taken within {self._timeout:g} s. Nothing is lost: `wandb sync "
            f"{_wandb.files(self._run)}` uploads the rest."
        )

    def _say_offline(self, why: str) -> None:
        where = _wandb.files(self._run) if self._run is not None else self._folder / "wandb"
        identity = f"--id {self._identity} " if self._tried_online else ""
        self._say(f"{why.rstrip('.')}. This run is kept offline; later: `wandb sync {identity}{where}`.")

    def _say(self, what: str) -> None:
        """Once a run, whatever else goes wrong."""
        if not self._said:
            self._said = True
            log.warning("W&B: %s The run itself is not affected.", redact(what))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
