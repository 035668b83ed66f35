"""One group of trials, worked through in one process; no Ray in here."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cl_forget.comparison.trials import Trial, load_trial
from cl_forget.config.run import Run
from cl_forget.ground.documents import read_record
from cl_forget.ground.errors import TrainingDiverged, UserError
from cl_forget.ground.files import only_writer, write_text
from cl_forget.ground.records import Fingerprints
from cl_forget.ground.redact import redact
from cl_forget.run.shared import Setup, Setups
from cl_forget.run.simulate import simulate
from cl_forget.run.simulation import Watch
from cl_forget.sweeps.planning import Group, Planned

LOCK_SECONDS = 120
"""How long a trial waits for a dying process to let go of its folder."""


class Stopped(Exception):
    """The scheduler has seen enough of a trial."""


def work(
    group: Group, sweep: Path, setups: Setups, report: Callable[[Trial], None], watch: Watch | None = None
) -> list[Trial]:
    """Run the trials of a group in order; what is over already is read, not repeated.

    A trial that diverges or runs out of memory is recorded with its reason, and the next one goes on.

    Args:
        group: the trials; whoever gives its fine-tuning comes before whoever takes it.
        sweep: the sweep's folder.
        setups: models and data this process has loaded.
        report: told of each trial as it is over.
        watch: follows the first trial of the group.

    Raises:
        Stopped: from `watch` or `report`; what is not over is left as it stands.
    """
    done: dict[str, Trial] = {}
    for index, one in enumerate(group):
        done[one.trial.id] = _one(one, sweep, setups, done, watch if index == 0 else None)
        report(done[one.trial.id])
    return list(done.values())


def _one(one: Planned, sweep: Path, setups: Setups, done: dict[str, Trial], watch: Watch | None) -> Trial:
    known = load_trial(sweep, one.trial.id)
    if known is not None and known.status in ("finished", "diverged", "pruned"):
        return known
    giver = done.get(one.trial.shared_with or "") or load_trial(sweep, one.trial.shared_with or "")
    if giver is not None and giver.status in ("diverged", "out_of_memory") and _all_shared(one):
        return _end(one.trial, sweep, giver.status, f"its fine-tuning ({giver.id}): {giver.reason}")
    folder = sweep / "trials" / one.trial.id
    with only_writer(folder, wait=LOCK_SECONDS):
        trial = _record(one.trial, sweep, status="running", folder=f"trials/{one.trial.id}")
        started = time.monotonic()
        try:
            setup = setups.get(one.run)
            _check_world(sweep, setup, one.run)
            donor = _donor(one, sweep)
            result = simulate(one.run, folder, resume=True, donor=donor, setup=setup, watch=watch)
        except TrainingDiverged as error:
            return _end(trial, sweep, "diverged", str(error), started)
        except Stopped:
            raise
        except Exception as error:
            if out_of_memory(error):
                setups.clear()
                return _end(trial, sweep, "out_of_memory", _line(error), started)
            if not isinstance(error, UserError):
                write_text(folder / "error.txt", redact(traceback.format_exc()))
            return _end(trial, sweep, "failed", _line(error), started)
        return _record(
            trial,
            sweep,
            status="finished",
            validation=result.metrics["validation"],
            test=result.metrics["test"],
            cost=result.rows[-1].cost,
            fingerprints=result.fingerprints,
            seconds=time.monotonic() - started,
        )


def _all_shared(one: Planned) -> bool:
    return one.trial.shared_stages == len(one.run.specs())


def _donor(one: Planned, sweep: Path) -> Path | None:
    """The folder to take training over from; None where there is nothing in it (it failed before)."""
    from cl_forget.run.donor import Donor

    if one.trial.shared_with is None:
        return None
    path = sweep / "trials" / one.trial.shared_with
    try:
        Donor(path, one.run)
    except UserError:
        return None
    return path


def _record(trial: Trial, sweep: Path, **changes: Any) -> Trial:
    trial = trial.model_copy(update=changes)
    trial.save(sweep)
    return trial


def _end(trial: Trial, sweep: Path, status: str, reason: str, started: float | None = None) -> Trial:
    seconds = None if started is None else time.monotonic() - started
    return _record(trial, sweep, status=status, reason=reason, seconds=seconds)


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
