"""One round of a sweep in Ray Tune."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from cl_forget.comparison.trials import Trial, load_trial
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.sweeps.budget import Meter, check_prices
from cl_forget.sweeps.cluster import Resources, node_types
from cl_forget.sweeps.hanging import Hanging
from cl_forget.sweeps.stopping import scheduler
from cl_forget.sweeps.trainable import Source, trainable
from cl_forget.sweeps.work import ended

RETRIES = 3
"""How often a Tune trial is started anew after its process died; it goes on from its run folders."""

MEMORY_SIGNS = ("OutOfMemoryError", "low on memory", "out of memory")
"""In what Ray says of a process that it, or the system, killed for want of memory."""
MEMORY_REASON = "its machine ran out of memory; set --max-concurrent lower or --memory-per-trial higher"


@dataclass(frozen=True)
class Round:
    """One round of a sweep.

    Attributes:
        source: what the configurations mean.
        asked: the sweep.
        folder: its folder.
        resources: per trial.
        count: how many groups a grid has.
        search: Tune's search algorithm; None for a grid.
        judged: whether trials are stopped early.
        before: records of trials that were judged in earlier sessions.
        own: the user's arguments of `TuneConfig`, and `callbacks`.
        address: storage that workers mirror the folder to; None where they see the folder itself.
        meter: counts what is spent; None where the whole sweep has no budget.
        tell: given a line about a worker that had to be ended.
    """

    source: Source
    asked: Sweep
    folder: Path
    resources: Resources
    count: int = 1
    search: Any = None
    judged: bool = False
    before: Sequence[Trial] = ()
    own: dict[str, Any] = field(default_factory=dict)
    address: str | None = None
    meter: Meter | None = None
    tell: Callable[[str], None] = lambda line: None

    def arguments(self) -> dict[str, Any]:
        """Of `TuneConfig`: the user's own, and what is not set there."""
        arguments = {key: value for key, value in self.own.items() if key != "callbacks"}
        if self.judged:
            arguments.setdefault("scheduler", scheduler(self.asked, self.before))
        if self.search is not None:
            arguments.setdefault("search_alg", self.search)
            arguments.setdefault("num_samples", -1)
        return arguments


def fit(this: Round) -> str | None:
    """Run a round's Tune trials to their end, and record what became of those that did not report it.

    Returns:
        The limit of the budget at which the trials were ended; None where they came to their end.

    Raises:
        UserError: Ray itself broke down, or a node joined that has no price.
    """
    resources = this.resources
    sharded = this.asked.train.strategy == "fsdp"
    devices = this.asked.train.workers if sharded and resources.gpus_per_trial else resources.gpus_per_trial
    limit = None if this.meter is None else Limit(this.meter, devices)
    ours: list[tune.Callback] = [
        Recorder(this.source, this.folder),
        Hanging(this.source, this.folder, this.tell),
    ]
    callbacks = [*ours, *([limit] if limit else []), *this.own.get("callbacks", [])]
    space = {"group": tune.grid_search(list(range(this.count)))} if this.search is None else {}
    per_trial, concurrent = resources.per_trial, resources.side_by_side
    if sharded:
        # The trial's own process only waits for its workers, for which Ray Train reserves what they need. A
        # byte of memory, because Tune wants to reserve something.
        per_trial, concurrent = {"memory": 1.0}, sharded_side_by_side(resources, this.asked.train.workers)
    if this.judged and this.asked.mode == "hyperband":
        concurrent = 0  # paused trials count as under way; what fits on the nodes limits those that run
    elif this.search is None and not sharded and resources.max_concurrent is None:
        # With no more trials at hand than can run, Tune ends the processes of two that come to their end together,
        # and starts them anew. What fits on the nodes is limit enough.
        concurrent = 0
    config = tune.TuneConfig(reuse_actors=True, max_concurrent_trials=concurrent or None, **this.arguments())
    tuner = tune.Tuner(
        tune.with_resources(
            trainable(
                this.source,
                this.folder,
                resources.threads,
                resources.device,
                this.address,
                resources.gpus_per_trial if resources.share_gpus else None,
            ),
            tune.PlacementGroupFactory([per_trial]),
        ),
        param_space=space,
        tune_config=config,
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(this.folder / ".ray"),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            # Tune's checkpoint serves trials that pause; at the end of each it would double what a short one costs.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=callbacks,
            stop=Ending(limit) if limit else None,
            verbose=0,
        ),
    )
    from ray.exceptions import RayError
    from ray.tune.error import TuneError

    try:
        with _quiet():
            tuner.fit()
    except (RayError, TuneError) as error:  # the runtime itself, not a trial
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"Ray broke down ({said}); the same command with --resume goes on from here."
        ) from error
    if limit and limit.unpriced:
        raise UserError(
            f"{limit.unpriced} What is done is kept; then the same command with --resume goes on from here."
        )
    return limit.reached if limit else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Tune prints the trace of every process that dies; the records and the report have the reason."""
    log = logging.getLogger("ray.tune")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def sharded_side_by_side(resources: Resources, workers: int) -> int:
    """Trials that run at the same time when each needs `workers` processors or devices, wherever they are."""
    import ray

    there = ray.cluster_resources()
    fit = int(there.get("GPU" if resources.gpus_per_trial else "CPU", 0) // workers)
    return max(1, min(fit, resources.max_concurrent or fit))


class Limit(tune.Callback):
    """Watches what the sweep spends while Tune runs it, and says when everything has to end.

    Attributes:
        reached: the limit of the budget that is reached; None while there is something left.
        unpriced: that a node has joined whose price nobody knows, and what to do about it; None while there is none.
    """

    def __init__(self, meter: Meter, devices: float) -> None:
        self._meter, self._devices = meter, devices
        self._looked = -math.inf
        self._between = 0  # passes between two reports of a judged trial, at most
        self.reached: str | None = None
        self.unpriced: UserError | None = None

    @property
    def over(self) -> bool:
        """Whether everything has to end."""
        return self.reached is not None or self.unpriced is not None

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Count the passes that a trial has made."""
        running = f"{trial.trial_id} under way"
        if "trial" in result:
            self._meter.forget(running)
            self._meter.count(result["trial"], result.get("own_passes", 0))
        elif "passes_so_far" in result:
            before = self._meter.counted(running)
            self._meter.count(running, result["passes_so_far"])
            self._between = max(self._between, result["passes_so_far"] - before)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look at the nodes and the trials, once a second."""
        now = time.monotonic()
        if now - self._looked < 1:
            return
        self._looked = now
        running = sum(trial.status == "RUNNING" for trial in trials)
        nodes = node_types()
        self._meter.advance(nodes, running * self._devices)
        try:
            check_prices(nodes, self._meter.budget)
        except UserError as error:
            self.unpriced = error
        self.reached = self.reached or self._meter.closing(running * self._devices, running * self._between)


class Ending(tune.Stopper):
    """Tells Tune that everything has to end."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is ended by the budget."""
        return False

    def stop_all(self) -> bool:
        """Whether all are."""
        return self._limit.over


def last_error(trial: Any) -> str:
    """What Ray said when the Tune trial's process died the last time; empty where it said nothing."""
    # Tune copies this file to the sweep's folder from time to time; `get_error` would look for the copy.
    file = trial.error_file
    said = Path(file).read_text() if file and Path(file).exists() else ""
    return said.rsplit("Failure # ", 1)[-1]


def cause(text: str) -> str:
    """The words of Ray's error that say why a process died: killed by others, or by an exception, with its trace."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if any(line.endswith("unexpectedly before finishing this task.") for line in lines):
        # Below that line stand fields, each after a tab, then the reason, then whether it was ever under way.
        last = max(n for n, line in enumerate(lines) if line.startswith("\t") or line.endswith("this task."))
        reason = [line for line in lines[last + 1 :] if not line.startswith("The actor never ran")]
        return " ".join(reason)[:400]
    return lines[-1][:200] if lines else ""


REPORTED = ("progress", "score", "speciality", "generality", "passes_so_far")
"""What a record keeps of each report of a trial that was judged while it trained."""


class Recorder(tune.Callback):
    """Records the trials of a group that was stopped early or whose process died too often, and what was judged."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._source, self._folder = source, folder
        self._reports: dict[str, list[dict[str, float]]] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep what a trial reports while it trains, once, also where it went on from an earlier checkpoint."""
        if "trial" in result or "progress" not in result:
            return
        reports = self._reports.setdefault(trial.trial_id, [])
        if not reports or result["progress"] > reports[-1]["progress"]:
            reports.append({name: result[name] for name in REPORTED if name in result})

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A group came to its end, or the scheduler stopped it."""
        last = trial.last_result or {}
        if not last.get("done") or "trial" not in last:
            at = f" at {last['progress']:.0f} % of its training" if "progress" in last else ""
            self._end(trial, "pruned", f"stopped{at}: others were better at this point")
        self._keep(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its process died more often than it is started anew."""
        text = last_error(trial)
        memory = any(sign in text for sign in MEMORY_SIGNS)
        why = MEMORY_REASON if memory else cause(text)
        times = "once" if trial.num_failures == 1 else f"{trial.num_failures} times"
        reason = f"its process died {times}{f': {why}' if why else ''}"
        self._end(trial, "out_of_memory" if memory else "failed", reason)
        self._keep(trial)

    def _end(self, trial: Any, status: Any, reason: str) -> None:
        for one in self._source.group(trial.config):
            known = load_trial(self._folder, one.trial.id) or one.trial
            if not known.over:
                # When a process died nobody knows.
                attempts = ended(known.attempts) if status == "pruned" else known.attempts
                changes = {"status": status, "reason": reason, "attempts": attempts}
                known.model_copy(update=changes).save(self._folder)

    def _keep(self, trial: Any) -> None:
        """The reports of a group are those of its first trial; one that is not over here is its worker's to write."""
        reports = self._reports.pop(trial.trial_id, None)
        if reports:
            known = load_trial(self._folder, self._source.group(trial.config)[0].trial.id)
            if known is not None and known.over:
                known.model_copy(update={"history": reports}).save(self._folder)
