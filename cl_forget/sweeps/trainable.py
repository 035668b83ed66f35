"""The Ray Tune trainable: one Tune trial is one group of trials, in an actor that is used again.

A process keeps the models and data it has loaded, so that a trial costs what its own training and evaluation
cost. The truth of a sweep is its folder: whatever is over there is read and reported again at once, so a trial
that Ray starts anew (a worker died, the sweep was resumed) loses nothing and repeats nothing.

    tune.Tuner(trainable(source, folder), param_space={"train.lr": tune.loguniform(1e-4, 1e-2)}, ...)
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ray import tune

from cl_forget.comparison.trials import Trial
from cl_forget.ground import clock
from cl_forget.ground.files import StrPath, write_text
from cl_forget.ground.progress import into
from cl_forget.run.additions import register, registered
from cl_forget.run.shared import Setups
from cl_forget.run.simulation import Watch
from cl_forget.sweeps.devices import hold
from cl_forget.sweeps.planning import Group
from cl_forget.sweeps.storage import Mirror, is_local, local_folder, workers_folder
from cl_forget.sweeps.work import Stopped, work

Report = Callable[[dict[str, Any]], bool]
"""Given a result; a true answer asks for a pause."""

REACHED = "unit.txt"
"""In Tune's checkpoint of a paused trial: the last unit that it has reported."""


class Source(Protocol):
    """What turns a Tune trial's configuration into trials; pickled to every actor.

    Attributes:
        units: parts of a training that a trial reports as whole numbers, `unit`; 0 for none.
    """

    units: int

    def group(self, config: dict[str, Any]) -> Group:
        """The trials of one Tune trial."""

    def watch(self, report: Report) -> Watch | None:
        """What follows the first trial of a group; None for nothing."""

    def summary(self, trials: list[Trial]) -> dict[str, Any]:
        """What Tune's search and schedulers read of the trials that are over so far; metric name -> value.

        Every name is there each time, as Tune refuses a report without its metric: NaN is what is missing.
        """


@dataclass(frozen=True)
class Given:
    """What `trainable` was given, and where, once for every actor.

    One object, as the driver takes each of a trainable's parameters into its hands twice for every trial.
    """

    source: Source
    folder: str
    threads: int
    device: str
    address: str | None
    share: float | None
    started_in: str = field(default_factory=os.getcwd)
    registries: dict[str, dict[str, str]] = field(default_factory=registered)


class GroupTrainable(tune.Trainable):
    """Works through the group that its configuration names; each report is one `step`."""

    _background: Background

    def setup(self, config: dict[str, Any], given: Given) -> None:  # type: ignore[override]  # as `with_parameters` asks
        """Called once per actor."""
        register(given.registries)
        self.started_in = given.started_in
        self.source = given.source
        address = given.address
        self.folder = workers_folder(address) if address else Path(given.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.threads = given.threads
        self.setups = Setups(device=given.device)
        self.mirror = Mirror(address, self.folder) if address else None
        if self.mirror:
            self.mirror.follow_clock()
        else:
            clock.follow(self.folder)
        if given.share is not None:
            hold(given.share)
        self.signs = into(local_folder(address) if address else self.folder)
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial, in the same process."""
        self._background.stop()
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Until the next report."""
        if self._background.paused:  # saved, and to go on in the same process
            self._background = Background(self._target)
        return self._background.next()

    def cleanup(self) -> None:
        """The actor ends, or its trial was stopped."""
        self._background.stop()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The trial pauses: it saves itself in its run folder, as always; here is only how far it said it was."""
        self._background.pause()
        if self.mirror:
            self.mirror.push(self._parts)
        write_text(Path(checkpoint_dir) / REACHED, str(self._unit))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """How far the trial was; the training it finds itself."""
        file = Path(checkpoint) / REACHED
        self._unit = int(file.read_text()) if file.exists() else 0

    def _start(self, config: dict[str, Any]) -> None:
        if os.path.isdir(self.started_in):
            os.chdir(
                self.started_in
            )  # Tune moves to a folder of its own for each trial; data are named from here
        self._unit = 0
        self._parts: list[str] = []
        self._target = partial(self._work, config)
        self._background = Background(self._target)

    def _work(self, config: dict[str, Any], report: Report) -> None:
        import torch

        torch.set_num_threads(self.threads)  # a setting of this very thread
        group = self.source.group(config)
        with contextlib.ExitStack() as stack:
            if self.mirror:
                self._parts = ["world", *(f"trials/{one.trial.id}" for one in group)]
                givers = {one.trial.shared_with for one in group} - {None, *(one.trial.id for one in group)}
                self.mirror.pull(
                    [*self._parts, *(f"trials/{name}" for name in sorted(map(str, givers)))], theirs=True
                )
                stack.enter_context(self.mirror.pushing(self._parts, self.signs))
            self._work_through(group, report)

    def _work_through(self, group: Group, report: Report) -> None:
        done: list[Trial] = []

        def tell(result: dict[str, Any]) -> bool:
            # One unit at a time: a bracket of HyperBand that a report leaps over would wait for ever.
            if result.get("progress", 0) * self.source.units >= 100 * (self._unit + 1):
                self._unit += 1
            return report({**result, "unit": self._unit} if self.source.units else result)

        def over(trial: Trial) -> None:
            done.append(trial)
            if self.mirror:
                self.mirror.push(self._parts)
            last = len(done) == len(group)
            summary = self.source.summary(done)
            if not last:
                summary.pop("progress", None)  # schedulers end what is at 100 %
            said = {"trial": trial.id, "status": trial.status, "own_passes": trial.own_passes, "done": last}
            if tell({**summary, **said}):
                raise Stopped

        work(group, self.folder, self.setups, over, self.source.watch(tell))


class Background:
    """Runs a function in a thread that stands still between its reports.

    Tune asks a trainable for one result at a time; a simulation reports from deep inside. `next` lets the
    thread run on until its next report, `stop` makes the report it is in raise `Stopped`, and `pause` makes it
    answer true: the function saves what it has and ends.
    """

    def __init__(self, target: Callable[[Report], None]) -> None:
        self._reports: queue.Queue[dict[str, Any] | BaseException] = queue.Queue()
        self._go = threading.Semaphore(0)
        self._stopping = False
        self.paused = False
        self._thread = threading.Thread(target=self._run, args=(target,), daemon=True)
        self._thread.start()

    def next(self) -> dict[str, Any]:
        """The next report; raises what the function raised."""
        self._go.release()
        item = self._reports.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """End the function at its next report."""
        self._stopping = True
        self._go.release()
        self._thread.join()

    def pause(self) -> None:
        """Let the function save itself and end; raises what it raised."""
        self.paused = True
        self._go.release()
        self._thread.join()
        while not self._reports.empty():
            item = self._reports.get()
            if isinstance(item, BaseException):
                raise item

    def _run(self, target: Callable[[Report], None]) -> None:
        self._go.acquire()
        try:
            if not self._stopping and not self.paused:
                target(self._report)
        except Stopped:
            pass
        except BaseException as error:
            self._reports.put(error)

    def _report(self, result: dict[str, Any]) -> bool:
        if self.paused:  # told to end, it has come to another report
            raise Stopped
        self._reports.put(result)
        if result.get("done"):
            return False
        self._go.acquire()
        if self._stopping:
            raise Stopped
        return self.paused


def trainable(
    source: Source,
    folder: StrPath,
    threads: int = 1,
    device: str = "cpu",
    address: str | None = None,
    share: float | None = None,
) -> type[tune.Trainable]:
    """Our trainable, for `tune.Tuner`.

    Args:
        source: what the configurations of its Tune trials mean.
        folder: the sweep's, seen from every node unless there is an address; relative to where this is called. An
            fsspec address is mirrored from a folder of this machine's cache.
        threads: of the processor, per trial.
        device: where models lie.
        address: storage that every node mirrors its folder to, and brings what it lacks from.
        share: of a device's memory, which a trial is held to; None for all that is free.
    """
    place = os.fspath(folder)
    if not is_local(place):
        address = address or place
    given = Given(source, os.fspath(local_folder(place)), threads, device, address, share)
    return tune.with_parameters(GroupTrainable, given=given)
