"""The trials of a sweep and what several of its figures need of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.comparison.measures import Measure
from cl_forget.comparison.observations import COST_MEASURES, headline_measures, trial_values
from cl_forget.comparison.records import Result
from cl_forget.comparison.selection import spread
from cl_forget.comparison.settings import setting_key, settings_of, written
from cl_forget.comparison.varied import Value, field_values
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import inside

if TYPE_CHECKING:
    from cl_forget.comparison.analysis import SweepSummary
    from cl_forget.comparison.settings import Setting
    from cl_forget.comparison.trials import Trial

SECONDS = Measure(
    "seconds", "Trial time", "seconds", "wall-clock seconds of the trial, sharing included", "lower"
)


SHOWN = 5000
"""Trials that figures show one by one, about; a page with more is slow to open and shows no more."""


Key = tuple[str, str]
"""A method and the key of one of its settings."""


def _fitting(sizes: Counter[Key], room: int, kept: set[Key], lines: Sequence[Sequence[Key]]) -> set[Key]:
    """The kept settings and as many of every line as have room together, evenly along it.

    Args:
        sizes: trials of each setting.
        room: for trials.
        kept: whether there is room or not.
        lines: settings in their order.
    """

    def some(count: int) -> set[Key]:
        return kept.union(*(spread(line, count) for line in lines))

    counts = range(1, 1 + max(map(len, lines), default=0))
    most = bisect_right(counts, room, key=lambda count: sum(sizes[key] for key in some(count)))
    return some(most) if most else kept


class SweepView:
    """The trials of a sweep with their values, settings and the chosen ones among them.

    Attributes:
        trials: the records.
        summary: selection and final numbers.
        values: trial id -> its scalars on test data.
    """

    def __init__(self, trials: Sequence[Trial], summary: SweepSummary) -> None:
        self.trials, self.summary = trials, summary
        self.values = {trial.id: trial_values(trial) for trial in trials}
        self._fields: dict[str, Mapping[str, Value]] = {}

    @property
    def names(self) -> list[str]:
        """The methods in the order shown."""
        return [method.method for method in self.summary.methods]

    @cached_property
    def keys(self) -> dict[str, str]:
        """Trial -> the key of its setting."""
        return {trial.id: setting_key(trial) for trial in self.trials}

    def fields(self, trial: Trial) -> Mapping[str, Value]:
        """As `field_values`, once for each setting."""
        key = self.keys[trial.id]
        if key not in self._fields:
            self._fields[key] = field_values(trial)
        return self._fields[key]

    @cached_property
    def settings(self) -> dict[str, list[Setting]]:
        """Method -> its settings among the tuning trials, in the order of the knob."""
        return settings_of([trial for trial in self.trials if trial.role == "tune"])

    @cached_property
    def shown(self) -> list[Trial]:
        """The trials that figures show one by one: all, or of more than `SHOWN` those of some settings.

        Of a setting all trials are shown or none, so that what is drawn as its mean is its mean: of every chosen
        one, then of those on the front, then of as many of each method as there is room for, evenly along its knob.
        """
        if len(self.trials) <= SHOWN:
            return list(self.trials)
        of = {
            t.id: (s.method, s.key)
            for found in self.settings.values()
            for s in found
            for t in s.trials.values()
        }
        keys = [of.get(trial.id) or (trial.method, self.keys[trial.id]) for trial in self.trials]
        sizes = Counter(keys)
        methods = self.summary.methods
        chosen = {(m.method, m.choice.key) for m in methods if m.choice is not None}
        front = [(m.method, point.key) for m in methods for point in m.curve if point.on_front]
        every = [[(s.method, s.key) for s in found] for found in self.settings.values()]
        chosen = _fitting(sizes, SHOWN // 2, chosen, [front])
        chosen = _fitting(sizes, SHOWN, chosen, every)
        return [trial for trial, key in zip(self.trials, keys, strict=True) if key in chosen]

    @cached_property
    def shown_ids(self) -> frozenset[str]:
        """Their ids."""
        return frozenset(trial.id for trial in self.shown)

    @cached_property
    def unordered(self) -> tuple[str, ...]:
        """Methods whose settings differ in more than one knob: no line joins them."""
        return tuple(
            method
            for method, found in self.settings.items()
            if len(found) > 1
            and (None in {s.value for s in found} or len({s.value for s in found}) < len(found))
        )

    @cached_property
    def places(self) -> dict[str, tuple[str | None, float | None]]:
        """Trial -> (knob, setting) as figures place it: the knob's value, or a number where there is no order."""
        found: dict[str, tuple[str | None, float | None]] = {}
        for method, settings in self.settings.items():
            for index, setting in enumerate(settings, start=1):
                place = (
                    ("setting", float(index)) if method in self.unordered else (setting.knob, setting.value)
                )
                found |= {trial.id: place for trial in setting.trials.values()}
        return found

    @cached_property
    def selected(self) -> dict[str, float]:
        """Method -> where selection put its knob."""
        chosen = {}
        for method in self.summary.methods:
            for index, setting in enumerate(self.settings.get(method.method, ()), start=1):
                if method.choice is not None and setting.key == method.choice.key:
                    place = float(index) if method.method in self.unordered else setting.value
                    if place is not None:
                        chosen[method.method] = place
        return chosen

    @cached_property
    def reported(self) -> dict[str, list[Trial]]:
        """Method -> the trials whose test numbers stand in the table, as `sweep_summary` takes them.

        Once one method has runs to report, one whose own are still to come has none: those that it was tuned by
        may be of another stream.
        """
        role = "report" if any(trial.role == "report" for trial in self.trials) else "tune"
        found = {}
        for method in self.summary.methods:
            if method.choice is None:
                continue
            found[method.method] = [
                trial
                for trial in self.trials
                if trial.method == method.method
                and trial.role == role
                and self.keys[trial.id] == method.choice.key
            ]
        return found

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        """What the trials measured, in the order of the table's columns."""
        known = {
            name for values in self.values.values() for name, value in values.items() if value is not None
        }
        names = [name for values in self.values.values() for name in values]
        tasks, suites = (
            list(dict.fromkeys(n.removeprefix(p) for n in names if n.startswith(p)))
            for p in ("task:", "suite:")
        )
        headlines = (*headline_measures(tasks, suites), *COST_MEASURES[2:], SECONDS)
        return tuple(measure for measure in headlines if measure.name in known)

    def chosen_results(self, folders: Mapping[str, Path]) -> list[Result]:
        """The results behind the table, as far as they are on disk."""
        return [
            Result.load(place).model_copy(update={"method": trial.method, "seed": trial.seed})
            for trial, place in self._chosen(folders)
        ]

    def chosen_folders(self, folders: Mapping[str, Path]) -> dict[tuple[str, int], Path]:
        """(method, seed) -> where that result lies."""
        return {(trial.method, trial.seed): place for trial, place in self._chosen(folders)}

    def _chosen(self, folders: Mapping[str, Path]) -> Iterator[tuple[Trial, Path]]:
        for trial in (trial for trials in self.reported.values() for trial in trials):
            place = trial_folder(trial, folders)
            if trial.status == "finished" and place is not None and (place / "result.json").exists():
                yield trial, place


def trial_folder(trial: Trial, folders: Mapping[str, Path]) -> Path | None:
    """Where the trial's run lies; None if its sweep's folder is not known."""
    folder = folders.get(trial.sweep)
    if folder is None:
        return None
    return inside(folder, trial.folder or f"trials/{trial.id}", f"a trial of {folder}")


def check_trials(trials: Sequence[Trial]) -> None:
    """Refuse what must not stand in one table.

    Raises:
        UserError: no trials; or trials on other tasks or suites, or of another pre-trained model.
    """
    if not trials:
        raise UserError(
            "no trials to report: the sweep has not planned any yet; start it with `cl-forget sweep`."
        )
    measured = [trial for trial in trials if trial.test]
    noted = [(trial, trial.fingerprints) for trial in measured if trial.fingerprints is not None]
    for first, known in noted[:1]:
        for other, now in noted[1:]:
            if changed := known.changes(now):
                raise UserError(
                    f"{first.id} of {first.sweep} and {other.id} of {other.sweep} cannot stand in one report: "
                    f"{' and '.join(changed)} are not the same in both. Report the sweeps separately."
                )
    for what, read in _IDENTITY.items():
        for other in measured[1:]:
            if read(other) != read(measured[0]) and other.role == measured[0].role:
                raise UserError(
                    f"trials with different {what} cannot stand in one report: {measured[0].id} of "
                    f"{measured[0].sweep} has {written(read(measured[0]))}, {other.id} of {other.sweep} has "
                    f"{written(read(other))}. "
                    "Report the sweeps separately."
                )


_IDENTITY = {
    "tasks": lambda trial: list(trial.test.get("speciality_by_task") or {}),
    "suites": lambda trial: list(trial.test.get("generality_by_suite") or {}),
    "pre-trained models or test data (generality before any training)": lambda trial: trial.test.get(
        "generality_pretrained"
    ),
}
