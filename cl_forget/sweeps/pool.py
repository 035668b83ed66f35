"""Groups of trials in processes of this machine alone; no Ray in here, so none needs to be installed.

Work comes in *waves*: the settings to choose among, then, once all of these are over, the chosen ones. What is over
is never done again, whoever did it.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from cl_forget.comparison.trial_files import Records
from cl_forget.comparison.trials import FOR_GOOD, load_trial
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.processes import Crew, WorkerDied, end_with_parent
from cl_forget.ground.progress import into, silence
from cl_forget.run.additions import register, registered
from cl_forget.sweeps.planning import Group

Wave = Callable[[], list[Group]]
"""Gives its groups when every earlier wave of its queue is over."""

_SETUPS: Any = None


class Queue:
    """The groups in one folder that are not over, wave by wave, the longest of a wave first.

    Args:
        folder: that of the sweep.
        waves: each is asked for its groups when the one before is over.
        order: what is largest by it comes first; the longest by default.
    """

    def __init__(
        self, folder: Path, waves: Iterable[Wave], order: Callable[[Group], Any] | None = None
    ) -> None:
        self.folder, self.running = folder, 0
        self._records = Records(folder)
        self._order = order or cost
        self.left: list[Group] = []
        self._waves = list(waves)

    def next(self) -> Group | None:
        """A group to begin; None where there is none, or none yet."""
        while not self.left and not self.running and self._waves:
            groups, done = self._waves.pop(0)(), ended_well(self._records)
            self.left = sorted((g for g in groups if not is_over(g, done)), key=self._order, reverse=True)
        return self.left.pop(0) if self.left else None

    def lost(self, group: Group, error: WorkerDied) -> str:
        """Record the trial that a process was at when it was ended, and queue those after it; a line about it."""
        known = [load_trial(self.folder, one.trial.id) or one.trial for one in group]
        at = next((position for position, trial in enumerate(known) if not trial.over), None)
        if at is None:
            return f"its trials are over: {error}"
        known[at].model_copy(update={"status": "failed", "reason": str(error)}).save(self.folder)
        if at + 1 < len(group):
            self.left.insert(0, group[at + 1 :])
        return f"{known[at].id}:failed ({error})"


def work_through(
    queues: Sequence[Queue],
    jobs: int,
    until: float = math.inf,
    tell: Callable[[str], None] = lambda line: None,
    end: float = math.inf,
) -> bool:
    """Every group of every queue, of the first queue first.

    A trial whose process is killed, as by a system that lacks memory, is recorded with the reason; the others go on.

    Args:
        queues: several folders are worked through side by side.
        jobs: processes.
        until: `time.time()` from which on nothing more is begun.
        tell: given a line as a group is over.
        end: `time.time()` at which what is under way ends, too, in the middle.

    Returns:
        Whether everything was begun.

    Raises:
        UserError: the processes cannot begin.
    """
    started, running = time.time(), dict[Future[str], tuple[Queue, Group]]()
    with crew(jobs) as workers:
        while True:
            for queue in queues:
                while workers.idle and time.time() < min(until, end) and (group := queue.next()) is not None:
                    queue.running += 1
                    running[workers.submit(work_on, group, queue.folder, end)] = queue, group
            if not running:
                break
            for future in workers.over():
                queue, group = running.pop(future)
                queue.running -= 1
                try:
                    line = workers.result(future)
                except WorkerDied as error:
                    line = queue.lost(group, error)
                left = ", ".join(str(len(queue.left)) for queue in queues)
                tell(f"{time.time() - started:6.0f} s  {left} left  {line}")
    return not any(queue.left or queue._waves for queue in queues)


def crew(jobs: int) -> Crew:
    """Fresh processes of one thread each; torch reads its number as it is loaded."""
    spawn = multiprocessing.get_context("spawn")
    return Crew(jobs, spawn, begin, (registered(),), {"OMP_NUM_THREADS": "1"})


def begin(additions: dict[str, dict[str, str]]) -> None:
    """In each process: what the first one knows, and nothing on the terminal."""
    end_with_parent()
    silence()
    quiet_libraries()
    register(additions)


def cost(group: Group) -> float:
    """Fine-tunes of a group, in plain ones, and a little for each evaluation."""
    tunes = {one.training_keys[-1]: one for one in group}.values()
    return sum(one.plain_steps for one in tunes) + 0.1 * len(group)


def ended_well(records: Records) -> set[str]:
    """The trials of which nothing is left to do; what has failed or ran out of memory is tried again."""
    return {one.id for one in records.standings() if one.status in FOR_GOOD}


def is_over(group: Group, done: Set[str]) -> bool:
    """Whether nothing of a group is left to do, where `done` are the trials that `ended_well`."""
    return all(one.trial.id in done for one in group)


def work_on(group: Group, folder: Path, end: float = math.inf) -> str:
    """One group, in a process of the pool; a line about it."""
    global _SETUPS
    import torch

    from cl_forget.run.shared import Setups
    from cl_forget.sweeps.work import Stopped, work

    torch.set_num_threads(1)
    into(folder)
    _SETUPS = _SETUPS or Setups(room=2)
    began = time.time()
    try:
        trials = work(group, folder, _SETUPS, lambda trial: None, until=end)
    except Stopped:
        return f"{time.time() - began:5.0f} s  ended in the middle: {group[0].trial.id}"
    states = ",".join(f"{t.id}:{t.status}" + (f" ({t.reason})" if t.reason else "") for t in trials)
    return f"{time.time() - began:5.0f} s  {states[:300]}"
