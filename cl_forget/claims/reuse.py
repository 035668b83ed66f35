"""Runs that were made for something else and are, in everything but bookkeeping, what a claim asks for.

A sweep's records are known by the same ids and count as they stand. A run folder counts where its whole
configuration, its weights and its data are those of a planned trial; with any difference it is left out, and the
difference is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_forget.claims.planning import Needed, Plan
from cl_forget.comparison.records import Result
from cl_forget.comparison.trials import Trial, load_trials
from cl_forget.config.experiment import load_experiment
from cl_forget.config.run import Run, differences
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Fingerprints
from cl_forget.sweeps.planning import Planned, planned

KEPT = ("curves", "export", "keep_stages")
"""Fields of `evaluate` that say what is kept beside the numbers, and change none."""


class Reuse:
    """Places whose runs count as a plan's own.

    Args:
        plan: of the claims.
        places: sweeps' folders (with `trials/`); folders of runs, of which those without a result are passed over;
            and experiment files (`.yaml`), whose runs somebody else is making: they are not made here.
        tell: given a line for each run that is left out.

    Attributes:
        coming: ids of the trials that experiment files make.

    Raises:
        UserError: a place is not there.
    """

    def __init__(
        self, plan: Plan, places: Sequence[Path], tell: Callable[[str], None] = lambda line: None
    ) -> None:
        for place in places:
            if not place.exists():
                raise UserError(
                    f"no {place} to reuse; give a sweep's folder, a folder of runs, or an experiment."
                )
        self.coming: set[str] = set()
        self._folders = [place for place in places if place.is_dir()]
        self._plan, self._tell = plan, tell
        self._seen: set[Path] = set()
        self._began: dict[int, Fingerprints] = {}
        for place in places:
            if not place.is_dir():
                runs = load_experiment(place).runs()
                found = [self._planned(run) for run in runs]
                self.coming |= {one.trial.id for several in found for _, one in several}

    def look(self, known: Mapping[str, Trial]) -> dict[str, tuple[Trial, Path]]:
        """What is there now and was not at the last look: id -> record and the folder that holds its run.

        Args:
            known: records by id; new ones must have the weights and data of those of the report.

        Raises:
            UserError: a file is broken.
        """
        found: dict[str, tuple[Trial, Path]] = {}
        for place in self._folders:
            if (place / "trials").is_dir():
                for trial in load_trials(place) if place not in self._seen else []:
                    if trial.over and trial.id not in known and trial.id not in found:
                        found[trial.id] = trial, place / "trials" / trial.id
                self._seen.add(place)
                continue
            for file in sorted(place.glob("*/result.json")):
                if file.parent not in self._seen:
                    self._seen.add(file.parent)
                    before = {**known, **{name: trial for name, (trial, _) in found.items()}}
                    found |= {
                        trial.id: (trial, file.parent)
                        for trial in self._records(file, before)
                        if trial.id not in before  # of several places the first counts
                    }
        return found

    def _records(self, file: Path, known: Mapping[str, Trial]) -> Iterator[Trial]:
        result = Result.load(file)
        reasons: list[str] = []
        places = self._planned(Run.parse(result.run), reasons)
        for needed, one in places:
            if result.fingerprints is None:
                reasons.append("it does not say which weights and data it began with")
                continue
            reference = self._began.setdefault(
                id(needed), next(_reported(needed, known), result.fingerprints)
            )
            if changed := reference.changes(result.fingerprints):
                reasons.append(f"{' and '.join(changed)} are others")
                continue
            cost = result.rows[-1].cost
            yield one.trial.model_copy(
                update={
                    "status": "finished",
                    "folder": f"trials/{one.trial.id}",
                    "validation": result.metrics["validation"],
                    "test": result.metrics["test"],
                    "cost": cost,
                    "fingerprints": result.fingerprints,
                    "seconds": None if cost is None else cost.train_seconds + cost.evaluation_seconds,
                }
            )
            return
        # Of several worlds the one that it comes closest to says most, and another model is the furthest.
        closest = [reason for reason in reasons if not reason.startswith("model was")] or reasons
        self._tell(f"left out {file.parent}: {closest[0] if closest else 'no claim is planned'}")

    def _planned(self, run: Run, reasons: list[str] | None = None) -> list[tuple[Needed, Planned]]:
        """The worlds and trials that a run is one of, at most one for each world."""
        found = []
        for needed in self._plan.needed.values():
            one = trial_of(needed.sweep, run)
            if isinstance(one, Planned):
                found.append((needed, one))
            elif reasons is not None:
                reasons.append(one)
        return found


def trial_of(sweep: Sweep, run: Run) -> Planned | str:
    """The report trial of a sweep that a run is, or why it is none.

    Equal has to be everything that can change a number; what is kept, followed and exported may differ.
    """
    report = sweep.report_on
    assert report is not None
    if run.model != sweep.model:
        return f"model was {run.model} and is {sweep.model}"
    if run.method not in sweep.arms:
        return f"no arm is named '{run.method}'"
    if run.seed not in (report.seeds or sweep.seeds):
        return f"seed {run.seed} is not reported"
    config = {}
    for field, values in sweep.ranges(run.method).items():
        value = _value(run, field)
        same = [known for known in values.values or [] if known == value]
        if not same:
            return f"{field} = {value} is not on the grid"
        config[field] = same[0]
    one = planned(sweep, run.method, config, run.seed, "report")
    return next(differences(_compared(run), _compared(one.run)), one)


def _value(run: Run, field: str) -> Any:
    owner, _, name = field.partition(".")
    sections = {m.name: m for m in run.mitigations} | {"train": run.train, "text": run.text}
    return getattr(sections.get(owner), name, None)


def _compared(run: Run) -> dict[str, Any]:
    fields = run.model_dump(mode="json")
    for name in KEPT:
        del fields["evaluate"][name]
    return fields


def _reported(needed: Needed, known: Mapping[str, Trial]) -> Iterator[Fingerprints]:
    """Of the report of a world, as far as it is known.

    Tuning is not asked: nothing is averaged over it, and another machine may have rounded the weights otherwise.
    """
    for one in needed.reporting(known.values()):
        trial = known.get(one.trial.id)
        if trial is not None and trial.fingerprints is not None:
            yield trial.fingerprints
