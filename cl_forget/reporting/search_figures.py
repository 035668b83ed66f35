"""The figures of a sweep that show the search itself; None where a sweep has nothing of the kind.

What records of earlier versions do not say is said to be missing, and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import TYPE_CHECKING, Any

from cl_forget.comparison.anytime import anytime, best_so_far, in_order, unrecorded
from cl_forget.comparison.importance import ALL, FEWEST, Importance, importances
from cl_forget.comparison.measures import Frame, Measure
from cl_forget.comparison.observations import trial_values
from cl_forget.comparison.profiles import Problem, problems_of, profiles
from cl_forget.comparison.settings import setting_label
from cl_forget.comparison.surface import surface
from cl_forget.comparison.timeline import Sharing, Timeline, sharing, timeline
from cl_forget.comparison.trials_view import SweepView
from cl_forget.comparison.varied import Field, field_of, tuned, value_in, varied_fields
from cl_forget.reporting.numbers import number
from cl_forget.reporting.panels import (
    Anytime,
    Choice,
    History,
    Lanes,
    Pairs,
    Profiles,
    Shares,
    Slices,
)

if TYPE_CHECKING:
    from cl_forget.comparison.trials import Trial

NOT_RECORDED = (
    "Not recorded: these trials were run by an earlier version, which did not keep when they ran and where."
)

SHARE = Measure(
    "share",
    "Importance",
    "percent",
    "the share of an objective's variance over the values that were tried which a setting explains alone, by fANOVA "
    "(Hutter et al. 2014, as in Optuna); what is left to 100 % are settings together, and chance",
)
HYPERVOLUME = Measure(
    "hypervolume",
    "Anytime hypervolume",
    "percent",
    "the share of the ideal trade-off that the method's trials so far dominate, mean over its seeds, a seed without "
    "a finished trial counted as 0; as the table's, but without plain fine-tuning as the end of the curve",
    "higher",
)
PROFILE = Measure(
    "profile",
    "Performance profile",
    "percent",
    "the share of problems, each one stream with one seed, in which the method is at most so far from the best of "
    "all methods there (Dolan and Moré 2002, with differences in the place of ratios)",
    "higher",
)


def objectives(view: SweepView) -> tuple[Measure, ...]:
    """What is traded: speciality, and generality or what stands for it; those that were measured."""
    known = {measure.name: measure for measure in view.measures}
    kept = next((name for name in ("generality", "delta_lp", "bwt") if name in known), None)
    return tuple(known[name] for name in ("speciality", kept) if name is not None and name in known)


# What mattered


def studies_of(view: SweepView) -> list[Importance]:
    """What each setting explains of both objectives, in every method and over all of them."""
    return importances(view.trials, [measure.name for measure in objectives(view)], view.fields)


def importance(view: SweepView, studies: Sequence[Importance]) -> Shares | None:
    """How much each setting explains of both objectives."""
    measures = objectives(view)
    if not studies or not measures:
        return None
    told = [study for study in studies if study.shares]
    data: Frame = {
        "study": [s.of for s in told for _ in s.shares],
        "measure": [s.objective for s in told for _ in s.shares],
        "field": [name for s in told for name in s.shares],
        "share": [share for s in told for share in s.shares.values()],
    }
    named = dict.fromkeys(study.of for study in told)
    order = [name for name in (ALL, *view.names) if name in named]
    trials = {study.of: study.trials for study in told}
    return Shares(
        name="importance",
        title="Which settings matter, and for what?",
        how_to_read="How much of the differences between trials each setting explains alone, for both objectives; "
        "the seed is one of them, and a setting that explains no more than it cannot be told from chance. A setting "
        "that matters for one objective only is free to be tuned for it.",
        measures=(SHARE, *measures),
        data=data,
        panels={name: f"{name}, {trials[name]} trials" for name in order},
        methods=tuple(name for name in order if name != ALL),
        notes=tuple(_silent(studies)),
    )


def _silent(studies: Sequence[Importance]) -> list[str]:
    """The studies of which nothing is said, by the reason."""
    reasons: dict[str, dict[str, None]] = {}
    for study in studies:
        if study.statement:
            reasons.setdefault(study.statement, {})[study.of] = None
    said = [f"{', '.join(names)}: {why}" for why, names in reasons.items()]
    if not said:
        return []
    return [
        f"Nothing is said of {'; '.join(said)}. It takes {FEWEST} finished trials and two settings that vary."
    ]


# Where it lies


def slices(view: SweepView, studies: Sequence[Importance]) -> Slices | None:
    """A method's trials along each field that it varied."""
    axes = _axes(view, studies)
    measures = objectives(view)
    if not axes or not measures:
        return None
    most = max(len(fields) for fields in axes.values())
    return Slices(
        name="slices",
        title="What does each setting do?",
        how_to_read="One method's trials along each of its settings, whatever the others were. The line joins the "
        "means; how far the points scatter around it is what the other settings do. Test data.",
        measures=measures,
        data=_trial_frame(view, axes, measures),
        panels={str(k): "" for k in range(most)},
        choices=_choices(axes, measures),
        axes={method: [asdict(one) for one in fields] for method, fields in axes.items()},
    )


def pairs(view: SweepView, studies: Sequence[Importance]) -> Pairs | None:
    """A method's trials over two fields: the surface through them, and how they rank."""
    axes = {method: fields for method, fields in _axes(view, studies).items() if len(fields) > 1}
    measures = objectives(view)
    if not axes or not measures:
        return None
    data = _trial_frame(view, axes, measures)
    for measure in measures:
        data[f"rank:{measure.name}"] = _ranks(data["method"], data[measure.name], measure)
    return Pairs(
        name="pairs",
        title="Which settings go together?",
        how_to_read="One method's trials over two of its settings. First the objective, linear between the trials "
        "and nothing beyond them; where the bands run along an axis, the other setting does not matter there. Then "
        "the same trials by their rank, the best in full colour. Where more than two settings vary, the surface goes "
        "through the mean over the others. Test data.",
        measures=measures,
        data=data,
        panels={"surface": "The objective", "rank": "The trials by rank"},
        choices=(*_choices(axes, measures), Choice("x", "across"), Choice("y", "up")),
        axes={method: [asdict(one) for one in fields] for method, fields in axes.items()},
        surfaces=list(_surfaces(data, axes, measures)),
    )


def _axes(view: SweepView, studies: Sequence[Importance]) -> dict[str, list[Field]]:
    """Method -> the fields that its tuning trials vary, what matters most first; methods with most fields first."""
    weight: dict[tuple[str, str], float] = {}
    for study in studies:
        for name, share in study.shares.items():
            weight[study.of, name] = weight.get((study.of, name), 0.0) + share
    found = {}
    for method, own in tuned(view.trials):
        fields = varied_fields(own, view.fields)
        if fields:
            names = sorted(fields, key=lambda name: -weight.get((method, name), 0.0))
            found[method] = [field_of(name, fields[name]) for name in names]
    order = [name for name in view.names if name in found]
    return {name: found[name] for name in sorted(order, key=lambda name: -len(found[name]))}


def _choices(axes: Mapping[str, Sequence[Field]], measures: Sequence[Measure]) -> tuple[Choice, ...]:
    return (
        Choice("method", "method", {name: name for name in axes}),
        Choice("measure", "of", {measure.name: measure.title for measure in measures}),
    )


def _trial_frame(view: SweepView, axes: Mapping[str, Sequence[Field]], measures: Sequence[Measure]) -> Frame:
    trials = [trial for method, own in tuned(view.shown) if method in axes for trial in own]
    names = list(dict.fromkeys(one.name for fields in axes.values() for one in fields))
    fields = [view.fields(trial) for trial in trials]
    data: Frame = {
        "run": [trial.id for trial in trials],
        "method": [trial.method for trial in trials],
        "seed": [trial.seed for trial in trials],
    }
    data |= {name: [value_in(own, name) for own in fields] for name in names}
    return data | {m.name: [view.values[trial.id].get(m.name) for trial in trials] for m in measures}


def _ranks(methods: Sequence[str], values: Sequence[float | None], measure: Measure) -> list[float | None]:
    """The rank of each value among those of its method, 1 for the best; those that are equal share the mean rank."""
    from scipy.stats import rankdata

    found: list[float | None] = [None] * len(values)
    sign = 1 if measure.better == "lower" else -1
    for method in dict.fromkeys(methods):
        own = [k for k, name in enumerate(methods) if name == method and values[k] is not None]
        for k, rank in zip(own, rankdata([sign * (values[k] or 0.0) for k in own]), strict=True):
            found[k] = float(rank)
    return found


def _surfaces(data: Frame, axes: Mapping[str, Sequence[Field]], measures: Sequence[Measure]) -> Any:
    for method, fields in axes.items():
        own = [k for k, name in enumerate(data["method"]) if name == method]
        for x, y in combinations(fields, 2):
            for measure in measures:
                points = [
                    (x.coordinate(data[x.name][k]), y.coordinate(data[y.name][k]), data[measure.name][k])
                    for k in own
                ]
                known = [point for point in points if None not in point]
                at_x, at_y, heights = zip(*known, strict=True) if known else ((), (), ())
                found = surface(at_x, at_y, heights)
                if found is not None:
                    yield {
                        "method": method,
                        "x": x.name,
                        "y": y.name,
                        "measure": measure.name,
                        "at_x": found.x,
                        "at_y": found.y,
                        "heights": [[None if z is None else round(z, 5) for z in row] for row in found.z],
                    }


# How it went


def _incomplete(view: SweepView) -> list[str]:
    """That some records do not say when their trials ran."""
    missing = unrecorded(view.trials)
    if not missing:
        return []
    over = sum(trial.over for trial in view.trials)
    if missing == over:
        return [NOT_RECORDED]
    return [f"{missing:,} of {over:,} trials do not say when they ran, and are left out."]


def history(view: SweepView) -> History | None:
    """What each trial found, in the order in which they ended."""
    measures = objectives(view)
    if not measures or not any(trial.over for trial in view.trials):
        return None
    every = [step for step in in_order(view.trials) if step.trial.role == "tune"]
    shown = [k for k, step in enumerate(every) if step.trial.id in view.shown_ids]
    steps = [every[k] for k in shown]
    data: Frame = {
        "run": [step.trial.id for step in steps],
        "method": [step.trial.method for step in steps],
        "seed": [step.trial.seed for step in steps],
        "setting": [setting_label(step.trial) or None for step in steps],
        "number": [step.number for step in steps],
        "seconds": [step.seconds for step in steps],
        "status": [step.trial.status.replace("_", " ") for step in steps],
    }
    for measure in measures:
        name = measure.name
        values = [step.trial.validation.get(name) for step in every]
        best = best_so_far(every, values)
        data[name], data[f"best:{name}"] = [values[k] for k in shown], [best[k] for k in shown]
    return History(
        name="history",
        title="How did the search go?",
        how_to_read="Every trial where it ended, by what it reached on validation data, which is what a search sees. "
        "The steps are the best that each method had found by then; a step that comes late is a search that was not "
        "over.",
        measures=measures,
        data=data,
        panels={"history": ""} if steps else {},
        choices=(
            Choice("measure", "of", {measure.name: measure.title for measure in measures}),
            Choice("along", "along", {"number": "trials", "seconds": "time"}),
        )
        if steps
        else (),
        notes=tuple(_incomplete(view)),
    )


def hypervolume(view: SweepView) -> Anytime | None:
    """What part of the ideal each method had covered, for how much compute."""
    if view.summary.ideal is None:
        return None
    reached = [one for one in anytime(in_order(view.trials)) if one.step.trial.id in view.shown_ids]
    data: Frame = {
        "run": [one.step.trial.id for one in reached],
        "method": [one.step.trial.method for one in reached],
        "passes": [one.passes for one in reached],
        "seconds": [one.seconds for one in reached],
        "hypervolume": [one.hypervolume for one in reached],
    }
    return Anytime(
        name="anytime",
        title="How much trade-off for how much compute?",
        how_to_read="The share of the ideal trade-off that a method's trials dominated, against what all of its "
        "trials had cost by then. Higher and further left is better: where two lines cross, the better method "
        "depends on the budget. A fine-tune that several trials share counts where it was done. Test data.",
        measures=(HYPERVOLUME,),
        data=data,
        panels={"passes": "Against passes, in samples", "seconds": "Against seconds of its trials"}
        if reached
        else {},
        notes=tuple(_incomplete(view)),
    )


def lanes(view: SweepView) -> Lanes | None:
    """Which worker was at what, and when."""
    if not any(trial.over for trial in view.trials):
        return None
    found = timeline(view.trials)
    spans = [span for span in found.spans if span.trial.id in view.shown_ids]
    data: Frame = {
        "run": [span.trial.id for span in spans],
        "method": [span.trial.method for span in spans],
        "seed": [span.trial.seed for span in spans],
        "setting": [setting_label(span.trial) or None for span in spans],
        "status": [_status(span.trial.status, span.last) for span in spans],
        "lane": [span.lane for span in spans],
        "start": [span.start for span in spans],
        "end": [span.end for span in spans],
    }
    return Lanes(
        name="timeline",
        title="Who worked when?",
        how_to_read="A line per worker, a bar per trial; what is blank is a worker that waits. Bars with a frame did "
        "not finish, and a cross is a process that died, of which nobody knows when.",
        measures=(),
        data=data,
        panels={"timeline": ""} if found.spans else {},
        lanes=found.lanes,
        sessions=tuple(found.sessions),
        notes=(*_incomplete(view), *_packed(found), *_saved(sharing(view.trials))),
    )


def _status(status: str, last: bool) -> str:
    return status.replace("_", " ") if last else "died"


def _packed(found: Timeline) -> list[str]:
    if found.packing is None:
        return []
    workers = "1 worker" if found.lanes == 1 else f"{found.lanes} workers at a time"
    processes = "" if found.workers == found.lanes else f" ({found.workers} processes)"
    pauses = len(found.sessions) - 1
    paused = f", in {pauses + 1} sessions whose pauses do not count" if pauses else ""
    return [
        f"{workers}{processes}, {_duration(found.seconds)}{paused}: at work "
        f"{100 * found.packing:.0f} % of the time, idle for {_duration(found.idle)} of all workers "
        "together."
    ]


def _saved(found: Sharing) -> list[str]:
    if not found.trials:
        return []
    trials = "1 trial took" if found.trials == 1 else f"{found.trials:,} trials took"
    if found.passes is None or found.seconds is None:
        return [f"{trials} fine-tuning over from others; what that saved is not recorded."]
    whole = found.passes + found.made
    share = f", {100 * found.passes / whole:.0f} % of what there would have been" if whole else ""
    return [
        f"{trials} fine-tuning over from others, which saved {number(found.passes, 'count')} passes{share}, "
        f"and {_duration(found.seconds)} of training as it was timed where it was done."
    ]


def _duration(seconds: float) -> str:
    """A length of time in the unit that it is told in."""
    size, unit = (1, "s") if seconds < 180 else (60, "min") if seconds < 10800 else (3600, "h")
    return f"{number(seconds / size, 'seconds')} {unit}"


# How it compares


def performance(view: SweepView) -> Profiles | None:
    """How often each method is how near to the best, over streams and seeds."""
    measures = objectives(view)
    chosen = {method.method: method.choice for method in view.summary.methods if method.choice is not None}
    if len(chosen) < 2 or not measures:
        return None
    own = {
        method: [
            trial
            for trial in view.trials
            if trial.method == method and trial.status == "finished" and view.keys[trial.id] == choice.key
        ]
        for method, choice in chosen.items()
    }
    data: Frame = {"method": [], "measure": [], "gap": [], "share": []}
    problems: set[Problem] = set()
    for measure in measures:
        values = {
            method: {_problem(trial): trial_values(trial).get(measure.name) for trial in trials}
            for method, trials in own.items()
        }
        problems |= set(problems_of(values))
        for profile in profiles(values):
            for gap, share in zip(profile.gaps, profile.shares, strict=True):
                for column, value in zip(data, (profile.method, measure.name, gap, share), strict=True):
                    data[column].append(value)
    streams, seeds = {stream for stream, _ in problems}, {seed for _, seed in problems}
    enough = len(problems) > 1
    told = f"{_counted(len(streams), 'stream')} with {_counted(len(seeds), 'seed')}"
    return Profiles(
        name="profiles",
        title="How often is each method near the best?",
        how_to_read="For every distance from the best method, in how many problems a method is at most so far behind "
        "it. A problem is one stream with one seed. At 0 how often it is the best, further on how seldom "
        "it fails badly; higher is better. Chosen settings, test data.",
        measures=(PROFILE, *measures),
        data=data if enough else {column: [] for column in data},
        panels={measure.name: measure.title for measure in measures} if enough else {},
        notes=(f"{len(problems)} problems: {told}.",)
        if enough
        else (f"Only {told} so far: a profile of a single problem is the table itself.",),
    )


def _problem(trial: Trial) -> Problem:
    return " → ".join(trial.test.get("speciality_by_task") or ()), trial.seed


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
