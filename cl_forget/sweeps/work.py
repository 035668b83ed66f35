"""One group of trials, worked through in one process; no Ray in here."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
import secrets
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cl_forget.comparison.item_errors import item_errors
from cl_forget.comparison.trials import FOR_GOOD, Attempt, Trial, load_trial
from cl_forget.config.run import Run
from cl_forget.ground import clock
from cl_forget.ground.documents import read_record
from cl_forget.ground.errors import TrainingDiverged, UserError
from cl_forget.ground.files import only_writer, write_text
from cl_forget.ground.progress import stretch
from cl_forget.ground.records import Cost, Fingerprints, Row
from cl_forget.ground.redact import redact
from cl_forget.run.donor import Donor
from cl_forget.run.shared import Setup, Setups
from cl_forget.run.simulate import simulate
from cl_forget.run.simulation import Simulation, Watch
from cl_forget.sweeps.planning import Group, Planned
from cl_forget.training.checkpoints import State

LOCK_SECONDS = 120
"""How long a trial waits for a dying process to let go of its folder."""


class Stopped(Exception):
    """The scheduler has seen enough of a trial."""


class Deadline(Watch):
    """Ends a run at its next step or row after an instant.

    Args:
        until: by `time.time()` of this machine.
        inner: what else follows the run.
    """

    def __init__(self, until: float, inner: Watch | None = None) -> None:
        self._until, self._inner = until, inner or Watch()

    def step(self, simulation: Simulation, record: dict[str, Any]) -> bool | None:
        """Raise `Stopped` when the time is over."""
        self._check()
        return self._inner.step(simulation, record)

    def row(self, simulation: Simulation, row: Row) -> None:
        """Raise `Stopped` when the time is over."""
        self._check()
        self._inner.row(simulation, row)

    def _check(self) -> None:
        if time.time() >= self._until:
            raise Stopped


class Bill(Watch):
    """What a run had cost by its last step or row, for a trial that does not come to its end.

    Args:
        inner: what else follows the run.
    """

    def __init__(self, inner: Watch | None = None) -> None:
        self._inner = inner or Watch()
        self._cost, self._rows = Cost(), list[Row]()

    def step(self, simulation: Simulation, record: dict[str, Any]) -> bool | None:
        """Look at the cost, which the step has raised."""
        self._cost = simulation.cost
        return self._inner.step(simulation, record)

    def row(self, simulation: Simulation, row: Row) -> None:
        """Look at the cost, which may have come from a giver."""
        self._cost, self._rows = simulation.cost, simulation.rows
        self._inner.row(simulation, row)

    def charged(self, stages: int) -> dict[str, Any]:
        """Fields of a record: the cost, and the part of it that came with the stages taken over."""
        if not self._cost.passes:
            return {}
        return {"cost": self._cost.model_copy(), "taken_over": _taken_over(self._rows, stages)}


def work(
    group: Group,
    sweep: Path,
    setups: Setups,
    report: Callable[[Trial], None],
    watch: Watch | None = None,
    until: float = math.inf,
) -> list[Trial]:
    """Run the trials of a group in order; what is over already is read, not repeated.

    A trial that diverges or runs out of memory is recorded with its reason, and the next one goes on.

    Args:
        group: the trials; whoever gives its fine-tuning comes before whoever takes it.
        sweep: the sweep's folder.
        setups: models and data this process has loaded.
        report: told of each trial as it is over.
        watch: follows the first trial of the group.
        until: `time.time()` at which to end in the middle.

    Raises:
        Stopped: from `watch` or `report`, or when the time is over; what is not over is left as it stands.
    """
    done: dict[str, Trial] = {}
    with stretch(len(group)) as advance:
        for index, one in enumerate(group):
            followed = watch if index == 0 else None
            if time.time() >= until:
                raise Stopped
            if until < math.inf:
                followed = Deadline(until, followed)
            done[one.trial.id] = _one(one, sweep, setups, done, followed)
            advance(1)
            report(done[one.trial.id])
    return list(done.values())


def _one(one: Planned, sweep: Path, setups: Setups, done: dict[str, Trial], watch: Watch | None) -> Trial:
    known = load_trial(sweep, one.trial.id)
    if known is not None and known.status in FOR_GOOD:
        return known
    giver = done.get(one.trial.shared_with or "") or load_trial(sweep, one.trial.shared_with or "")
    if giver is not None and giver.status in ("diverged", "out_of_memory") and _all_shared(one):
        return _end(one.trial, sweep, giver.status, f"its fine-tuning ({giver.id}): {giver.reason}")
    folder = sweep / "trials" / one.trial.id
    about = {"trial": one.trial.id, "arm": one.trial.method, "seed": one.trial.seed}
    with (
        only_writer(folder, wait=LOCK_SECONDS),
        stretch(0, "loading model and data", **about),
    ):
        # Who had the folder before may have ended the trial meanwhile.
        known = load_trial(sweep, one.trial.id)
        if known is not None and known.status in FOR_GOOD:
            return known
        attempts = [*(known.attempts if known else ()), Attempt(worker=worker(), started=clock.now())]
        redone = 0 if known is None else known.redone_steps
        begun = {"attempts": attempts, "redone_steps": redone, "folder": f"trials/{one.trial.id}"}
        trial = one.trial.model_copy(update=begun)
        started, bill, stages = time.monotonic(), Bill(watch), 0

        def end(status: str, reason: str) -> Trial:
            return _end(trial, sweep, status, reason, started, **bill.charged(stages))

        try:
            trial.redone_steps += lost_steps(folder)
            trial = _record(trial, sweep, status="running")
            setup = setups.get(one.run)
            _check_world(sweep, setup, one.run)
            donor = _donor(one, sweep)
            path, stages = (None, 0) if donor is None else (donor.folder.path, donor.stages)
            result = simulate(one.run, folder, resume=True, donor=path, setup=setup, watch=bill)
        except TrainingDiverged as error:
            return end("diverged", str(error))
        except Stopped:
            _leave(trial, sweep)
            raise
        except Exception as error:
            if out_of_memory(error):
                setups.clear()
                return end("out_of_memory", _line(error))
            if not isinstance(error, UserError):
                write_text(folder / "error.txt", redact(traceback.format_exc()))
            return end("failed", _line(error))
        return _record(
            trial,
            sweep,
            status="finished",
            validation=result.metrics["validation"],
            test=result.metrics["test"],
            errors=item_errors(result),
            cost=result.rows[-1].cost,
            taken_over=_taken_over(result.rows, stages),
            fingerprints=result.fingerprints,
            seconds=time.monotonic() - started,
            attempts=ended(trial.attempts),
        )


def lost_steps(folder: Path) -> int:
    """Training steps of a run that were logged after its last checkpoint: who goes on does them again.

    Raises:
        UserError: what the run says of its checkpoints is damaged.
    """
    events, state = folder / "events.jsonl", folder / "state.json"
    kept = (
        read_record(state, State, "delete the trial's folder to run it again.").events
        if state.exists()
        else 0
    )
    if not events.exists():
        return 0
    return sum(b'"run_step"' in line for line in events.read_bytes().split(b"\n")[kept:])


def _all_shared(one: Planned) -> bool:
    return one.trial.shared_stages == one.trial.stages


def worker() -> str:
    """A name for this process that no other one has, whichever machine it is on; it tells nothing else of them."""
    return _worker(os.getpid())


@functools.cache
def _worker(process: int) -> str:
    machine = hashlib.sha256(platform.node().encode()).hexdigest()[:4]
    return f"{machine}-{process}-{secrets.token_hex(2)}"


def ended(attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts, the last of them ended now."""
    return [*attempts[:-1], *(last.model_copy(update={"ended": clock.now()}) for last in attempts[-1:])]


def _leave(trial: Trial, sweep: Path) -> None:
    """A trial stands still, and who goes on with it begins another attempt; unless it was ended meanwhile."""
    known = load_trial(sweep, trial.id)
    if known is not None and not known.over:
        _record(known, sweep, attempts=ended(known.attempts))


def _taken_over(rows: Sequence[Row], stages: int) -> Cost | None:
    """What the stages that came from another run have cost there; None where there is no row of them."""
    if not 0 < stages < len(rows):
        return None
    # Every run evaluates for itself.
    return rows[stages].cost.model_copy(update={"evaluation_seconds": 0.0, "peak_memory_mb": None})


def _donor(one: Planned, sweep: Path) -> Donor | None:
    """What to take training over from; None where there is nothing in it (it failed before)."""
    if one.trial.shared_with is None:
        return None
    try:
        return Donor(sweep / "trials" / one.trial.shared_with, one.run)
    except UserError:
        return None


def _record(trial: Trial, sweep: Path, **changes: Any) -> Trial:
    trial = trial.model_copy(update=changes)
    trial.save(sweep)
    return trial


def _end(
    trial: Trial, sweep: Path, status: str, reason: str, started: float | None = None, **changes: Any
) -> Trial:
    seconds = None if started is None else time.monotonic() - started
    attempts = trial.attempts if started is None else ended(trial.attempts)
    return _record(trial, sweep, status=status, reason=reason, seconds=seconds, attempts=attempts, **changes)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device or the machine."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _line(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0]}" if first else type(error).__name__


def _check_world(sweep: Path, setup: Setup, run: Run) -> None:
    """Refuse a trial on other weights or data than those that the sweep's first trial of this kind has noted.

    Raises:
        UserError: they have changed since; says what.
    """
    digest = hashlib.sha256(Setup.key(run).encode()).hexdigest()[:16]
    file = sweep / "world" / f"{digest}.json"
    if file.exists():
        cure = "delete it if nothing of the model and the data has changed."
        read_record(file, Fingerprints, cure).check(setup.fingerprints, "the sweep")
    else:
        file.parent.mkdir(exist_ok=True)
        write_text(file, setup.fingerprints.model_dump_json(indent=1))
