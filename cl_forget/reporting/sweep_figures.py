"""The figures and tables of a sweep's report as pure data; None where nothing was measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.comparison.comparison import compare
from cl_forget.comparison.measures import PRETRAINED, Frame, Measure
from cl_forget.comparison.observations import check_comparable, collect, fold
from cl_forget.comparison.records import Result
from cl_forget.comparison.settings import mitigation_numbers, setting_label
from cl_forget.comparison.table import SEARCH
from cl_forget.comparison.trials_view import SECONDS, SweepView
from cl_forget.reporting import run_figures as _figures
from cl_forget.reporting.numbers import listed
from cl_forget.reporting.specification import Bars, Figure, Knobs, Listing, Parallel, Table, Tradeoff
from cl_forget.reporting.training_curves import training_curves

if TYPE_CHECKING:
    from cl_forget.comparison.trials import Trial

SEARCH_COST = (
    Measure(
        "seconds",
        "Time of all trials",
        "seconds",
        "wall-clock seconds of the method's trials, sharing included",
        "lower",
    ),
    *SEARCH,
    Measure("trials", "Trials", "count", "settings times seeds"),
)
POSITION = "position"
NUMBER = re.compile(r"(?<!\w)[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?(?!\w)")


def _observations(
    view: SweepView, measures: Sequence[Measure], wanted: Callable[[Trial], bool] = lambda trial: True
) -> Frame:
    def entries() -> Iterable[tuple[dict[str, Any], float | None]]:
        for trial in view.shown:
            if not wanted(trial):
                continue
            knob, setting = view.places.get(trial.id, (None, None)) if trial.role == "tune" else (None, None)
            values = view.values[trial.id]
            keys = {"method": trial.method, "seed": trial.seed, "run": trial.id}
            for measure in measures:
                yield (
                    {**keys, "measure": measure.name, "knob": knob, "setting": setting},
                    values.get(measure.name),
                )

    return collect(entries())


def tradeoff(view: SweepView) -> Figure | None:
    """Every setting of every method, mean over seeds, with each method's curve."""
    names = {measure.name for measure in view.measures}
    y = next((name for name in ("generality", "delta_lp", "bwt") if name in names), None)
    if y is None or "speciality" not in names:
        return None
    reported = {trial.method for trial in view.trials if trial.role == "report"}
    elsewhere = _tuned_elsewhere(view.trials)

    def wanted(trial: Trial) -> bool:
        if trial.role == "report":
            return True
        # What has no place on a curve would be averaged with the trials of the report.
        knobless = view.places.get(trial.id, (None, None))[1] is None
        return not elsewhere and not (trial.method in reported and knobless)

    data = _observations(view, view.measures, wanted)
    folded = fold(data)
    _add_pretrained(view, data, folded)
    most = max(len({t.seed for t in s.trials.values()}) for found in view.settings.values() for s in found)
    spread = "95 % interval over seeds" if most > 2 else "range of two seeds"
    shading = f" The shading is the {spread}." if most > 1 else ""
    return Tradeoff(
        name="tradeoff",
        title="What generality does the speciality cost?",
        how_to_read=(
            "Each marker is a method at the setting chosen on validation data of another stream, mean over seeds; "
            "the curves that it was chosen from are of that stream, and not shown here. "
            if elsewhere
            else "Each line is a method with its knob turned from weak to strong, a point per setting, mean over "
            "seeds; the large marker is the setting chosen on validation data. "
        )
        + f"Up and to the right is better, and on the grey stair no other point is better on both.{shading}",
        measures=view.measures,
        data=data,
        folded=folded,
        x="speciality",
        y=y,
        unordered=view.unordered,
        trained=True,
        selected={name: value for name, value in view.selected.items() if name not in reported},
        notes=("Numbers along a line are settings of its method's knob.",)
        if view.settings and not elsewhere
        else (),
    )


def _tuned_elsewhere(trials: Sequence[Trial]) -> bool:
    """Whether settings were chosen on other tasks than those of the report: these never stand in one picture."""
    tasks = {
        role: {tuple(t.test.get("speciality_by_task") or ()) for t in trials if t.role == role and t.test}
        for role in ("tune", "report")
    }
    return bool(tasks["report"]) and not tasks["tune"] <= tasks["report"]


def _add_pretrained(view: SweepView, data: Frame, folded: Frame) -> None:
    corners = view.summary.pretrained
    for name, value in zip(("speciality", "generality"), corners or (), strict=False):
        row = {
            "method": PRETRAINED,
            "seed": None,
            "run": None,
            "measure": name,
            "knob": None,
            "setting": None,
        }
        for key, entry in {**row, "value": value}.items():
            data[key].append(entry)
        for key, entry in {**row, "mean": value, "low": None, "high": None, "count": 1}.items():
            if key in folded:
                folded[key].append(entry)


def knobs(view: SweepView) -> Figure | None:
    """Two measures along the knob of each method."""
    wanted = ("speciality", "generality", "retention", "bwt", "kl_to_base", "delta_lp", "train_seconds")
    measures = tuple(m for m in view.measures if m.name in wanted)
    data = _observations(view, measures, lambda trial: trial.role == "tune")
    if not data:
        return None
    turned = [
        s is not None and m not in view.unordered
        for m, s in zip(data["method"], data["setting"], strict=True)
    ]
    data = {
        name: [v for v, keep in zip(column, turned, strict=True) if keep] for name, column in data.items()
    }
    if not data["method"] or len(measures) < 2:
        return None
    return Knobs(
        name="knobs",
        title="How sensitive is each method to its knob?",
        how_to_read="One plot per method, its knob from left to right. A flat line is a knob that does not matter, a "
        "steep one must be tuned. The dotted line marks the setting chosen on validation data.",
        measures=measures,
        data=data,
        folded=fold(data),
        x=measures[0].name,
        y=next((m.name for m in measures if m.name == "generality"), measures[1].name),
        selected=view.selected,
    )


def parallel(view: SweepView) -> Figure | None:
    """A line per trial through its settings and what came of them."""
    finished = [trial for trial in view.shown if view.values[trial.id].get("speciality") is not None]
    wanted = ("speciality", "generality", "bwt", "delta_lp", "kl_to_base", "train_seconds")
    outcomes = [m for m in view.measures if m.name in wanted]
    knobs = _knob_axes(view, finished)
    if len(finished) < 2 or not knobs:
        return None
    data: Frame = {
        "run": [trial.id for trial in finished],
        "method": [trial.method for trial in finished],
        "seed": [trial.seed for trial in finished],
        "setting": [setting_label(trial) or None for trial in finished],
    }
    for measure, values in knobs:
        data[measure.name] = values
    for measure in outcomes:
        data[measure.name] = [view.values[trial.id].get(measure.name) for trial in finished]
    axes = [measure.name for measure, _ in knobs] + [measure.name for measure in outcomes]
    return Parallel(
        name="parallel",
        title="Which settings lead where?",
        how_to_read="One line per setting, or per trial with 'single seeds', from its knob on the left to what "
        "came of it on the right. Draw a box "
        "over an axis to keep only the trials that pass through it, also in the list below; a double click lets go. "
        "What a trial did not measure runs below the axis.",
        measures=(*(measure for measure, _ in knobs), *outcomes),
        data=data,
        axes=tuple(axes),
        logarithmic=tuple(name for name in axes if _spans_decades(data[name])),
    )


def _knob_axes(view: SweepView, trials: Sequence[Trial]) -> list[tuple[Measure, list[float | None]]]:
    """The numbers in which trials differ; the knobs of many methods share one axis, each from low to high."""
    fields = [dict(_numbers(trial)) for trial in trials]
    names = [
        name for name in dict.fromkeys(n for f in fields for n in f) if len({f.get(name) for f in fields}) > 1
    ]
    names.sort(key=lambda name: -sum(name in f for f in fields))
    axes = []
    if len(names) > 4:
        ranks = dict(_ranks(view))
        axes.append((Measure(POSITION, "Knob, low to high", "number", "rank of the setting in its method, 0 to 1"),
                     [ranks.get(trial.id) for trial in trials]))  # fmt: skip
        names = [name for name in names if sum(name in f for f in fields) > 0.5 * len(fields)][:4]
    return axes + [
        (Measure(name, name, "number", f"the setting {name}"), [f.get(name) for f in fields])
        for name in names
    ]


def _numbers(trial: Trial) -> Iterable[tuple[str, float]]:
    for name, value in [*mitigation_numbers(trial.mitigations), *trial.config.items()]:
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "seed":
            yield name, float(value)


def _ranks(view: SweepView) -> Iterable[tuple[str, float]]:
    """Of each tuning trial of a method with several settings the place of its own, 0 to 1."""
    for settings in view.settings.values():
        for index, setting in enumerate(settings if len(settings) > 1 else ()):
            for trial in setting.trials.values():
                yield trial.id, index / (len(settings) - 1)


def _spans_decades(values: Sequence[float | None]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and min(known) > 0 and log10(max(known)) - log10(min(known)) > 1.3


def along(
    results: Sequence[Result], folders: Mapping[tuple[str, int], Path]
) -> dict[str, list[Figure | Table | None]]:
    """The figures along the stream and inside the model, of the chosen settings.

    Args:
        results: the runs of the chosen settings.
        folders: (method, seed) -> where each lies.
    """
    if not results:
        return {}
    check_comparable(results)
    comparison = compare(results)
    return {
        "Along the sequence": [
            _figures.retention(comparison),
            _figures.accuracy_matrix(comparison),
            _figures.transfer(comparison),
        ],
        "Training": [training_curves(comparison, folders)],
        "Inside the model": [
            _figures.probes(comparison),
            _figures.drift(comparison),
            _figures.reliability(comparison),
        ],
    }


def cost(view: SweepView) -> Figure | None:
    """What each method's tuning trials cost together."""
    data = collect(
        ({"method": m.method, "seed": None, "measure": name}, getattr(m.spent, name))
        for m in view.summary.methods
        for name in (measure.name for measure in SEARCH_COST)
    )
    if not data:
        return None
    return Bars(
        name="cost",
        title="What did the search cost?",
        how_to_read="Per method, all its tuning trials together. Trials that share a fine-tune count it once, so a "
        "method whose knob is turned after training is cheap to tune.",
        measures=tuple(measure for measure in SEARCH_COST if measure.name in data["measure"]),
        data=data,
        folded=fold(data),
    )


def listing(view: SweepView) -> Figure:
    """One line per trial."""
    measures = tuple(m for m in view.measures if not m.name.startswith(("task:", "suite:")))[:10]
    return _trial_list(
        view,
        view.shown,
        "trials",
        "Every trial" if len(view.shown) == len(view.trials) else "Trials",
        "One line per trial. Press a name for the command that makes it again, its settings and where it lies.",
        ("run", "setting", "status"),
        measures,
    )


def failures(view: SweepView) -> Figure | None:
    """The trials that did not finish, with their reasons; None if all did."""
    broken = {failure.id for failure in view.summary.failures}
    trials = [trial for trial in view.trials if trial.id in broken]
    if not trials:
        return None
    shown = [trial for trial in trials if trial.id in view.shown_ids]
    more = [f"{len(shown):,} of these {len(trials):,} are listed."] if len(shown) < len(trials) else []
    return _trial_list(
        view,
        shown,
        "failures",
        "What did not finish, and why",
        "A sweep goes on when a trial fails: it is recorded with its reason, and counts in no mean. "
        "Pruned trials were stopped early because others did better.",
        ("run", "setting", "status", "reason"),
        (SECONDS,),
        (*_reasons(trials), *more),
    )


def _reasons(trials: Sequence[Trial], most: int = 5) -> Iterable[str]:
    """What stopped trials, the most frequent first; numbers aside, so that one cause is one line."""
    found: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        cause = NUMBER.sub("…", trial.reason or "no reason is known")
        found.setdefault((trial.status.replace("_", " "), cause), []).append(trial)
    ordered = sorted(found.items(), key=lambda entry: -len(entry[1]))
    for (status, cause), own in ordered[:most]:
        methods = listed(list(dict.fromkeys(trial.method for trial in own)))
        yield f"{len(own):,} {status}: {cause if len(own) > 1 else own[0].reason or cause} ({methods})"
    if len(ordered) > most:
        yield f"{len(ordered) - most} more reasons are in the list."


def _trial_list(
    view: SweepView,
    trials: Sequence[Trial],
    name: str,
    title: str,
    how_to_read: str,
    texts: tuple[str, ...],
    measures: tuple[Measure, ...],
    notes: tuple[str, ...] = (),
) -> Figure:
    data: Frame = {
        "run": [trial.id for trial in trials],
        "method": [trial.method for trial in trials],
        "seed": [trial.seed for trial in trials],
        "setting": [setting_label(trial) or None for trial in trials],
        "status": [trial.status.replace("_", " ") for trial in trials],
        "reason": [trial.reason for trial in trials],
    }
    for measure in measures:
        data[measure.name] = [view.values[trial.id].get(measure.name) for trial in trials]
    errors = _figures.error_columns([trial.errors for trial in trials], measures)
    how_to_read += _figures.ERRORS if errors else ""
    return Listing(
        name=name,
        title=title,
        how_to_read=how_to_read,
        measures=measures,
        data=data | errors,
        texts=texts,
        notes=notes,
    )
