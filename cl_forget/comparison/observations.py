"""From results to observations: which quantities a report shows, and their values for each run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from cl_forget.comparison.measures import PRETRAINED, Cell, Frame, Measure
from cl_forget.comparison.records import CurvePoint, Result
from cl_forget.comparison.settings import written
from cl_forget.comparison.statistics import mean_interval
from cl_forget.comparison.trials import Trial
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.evaluation.metrics import summary
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost, Row

Values = dict[str, float | None]


COST_MEASURES = (
    Measure(
        "train_seconds",
        "Training time",
        "seconds",
        "wall-clock seconds of training: the steps, and what a method does before and after them",
        "lower",
        "Cost",
    ),
    Measure(
        "relative_cost",
        "Relative time",
        "ratio",
        "training time over that of plain fine-tuning with the same seed",
        "lower",
        "Cost",
    ),
    Measure(
        "forward_samples",
        "Forward passes",
        "count",
        "samples through forward passes of the tuned model",
        "lower",
        "Cost",
    ),
    Measure(
        "backward_samples",
        "Backward passes",
        "count",
        "samples through backward passes of the tuned model",
        "lower",
        "Cost",
    ),
    Measure(
        "frozen_samples",
        "Frozen-model passes",
        "count",
        "samples through frozen models, as many whether or not the cache held their outputs",
        "lower",
        "Cost",
    ),
    Measure(
        "peak_memory_mb", "Peak memory", "megabytes", "largest memory use during training", "lower", "Cost"
    ),
    Measure(
        "trainable_parameters",
        "Trainable parameters",
        "count",
        "parameters that receive gradients",
        "lower",
        "Cost",
    ),
)


def headline_measures(tasks: Sequence[str], suites: Sequence[str]) -> tuple[Measure, ...]:
    """The scalar measures of a run in the order of the table's columns."""

    def metric(name: str, title: str, unit: Any, better: Any, group: str) -> Measure:
        return Measure(name, title, unit, DEFINITIONS[name], better, group)

    special, general, moved = "Speciality", "Generality", "Forgetting and transfer"
    each_task = [
        Measure(
            f"task:{name}",
            name,
            "percent",
            f"test accuracy on {name} after the last stage",
            "higher",
            special,
        )
        for name in tasks
    ]
    each_suite = [
        Measure(
            f"suite:{name}", name, "percent", f"accuracy on {name} after the last stage", "higher", general
        )
        for name in suites
    ]
    each_perplexity = [
        Measure(
            f"perplexity:{name}",
            f"{name} perplexity",
            "number",
            f"perplexity of {name} after the last stage",
            "lower",
            general,
        )
        for name in suites
    ]
    return (
        metric("speciality", "Speciality", "percent", "higher", special),
        *each_task,
        metric("ood_accuracy", "Shifted", "percent", "higher", special),
        metric("generality", "Generality", "percent", "higher", general),
        *each_suite,
        metric("retention", "Retention", "percent", "higher", general),
        metric("generality_drop", "Generality drop", "points", "lower", general),
        metric("generality_restored", "Generality, statistics put back", "percent", None, general),
        metric("statistics_share", "Lost with statistics", "percent", None, general),
        *each_perplexity,
        metric("perplexity_rise", "Perplexity rise", "nats", "lower", general),
        metric("bwt", "BWT", "change", "higher", moved),
        metric("fwt", "FWT", "change", "higher", moved),
        metric("delta_lp", "Δ_LP", "change", "higher", moved),
        metric("f_true", "F_true", "points", "lower", moved),
        metric("bt_true", "BT_true", "points", "higher", moved),
        metric("kl_to_base", "KL to base", "nats", "lower", moved),
        *COST_MEASURES[:2],
    )


def run_values(result: Result, control_seconds: Mapping[int, float]) -> Values:
    """Every scalar of one run: the metrics, `task:…` and `suite:…` for each, and the cost.

    Args:
        result: one run.
        control_seconds: seed -> training time of plain fine-tuning.
    """
    return _values(result, result.rows) | _cost_values(result.rows[-1].cost, control_seconds.get(result.seed))


def pretrained_values(result: Result) -> Values:
    """The same for the pre-trained model, which has trained nothing and so has no transfer and no cost."""
    return _final_values(result, result.rows[0])


def curve_values(result: Result, point: CurvePoint) -> Values:
    """The same for one point of a knob's curve; what needs every stage's row, or training, is missing."""
    return _final_values(result, point.row)


def _final_values(result: Result, final: Row) -> Values:
    # Two rows, the pre-trained one and `final` in the last position: a name that is no task's goes there.
    return _values(result, [result.rows[0], final.model_copy(update={"after": "last stage"})])


def _values(result: Result, rows: Sequence[Row]) -> Values:
    probes = list(dict.fromkeys([*result.probes, *result.tasks]))
    return metric_values(summary(rows, result.tasks, result.suites, probes))


def metric_values(metrics: Mapping[str, Any]) -> Values:
    """The scalars of `metrics` ("test" or "validation" of a result), and `task:…`, `suite:…` and so on for each."""
    values: Values = {name: value for name, value in metrics.items() if not isinstance(value, dict)}
    for prefix, name in (
        ("task", "speciality_by_task"),
        ("suite", "generality_by_suite"),
        ("perplexity", "perplexity_by_suite"),
        ("probe", "delta_lp_by_probe"),
        ("pending", "delta_lp_before_tuning_by_task"),
    ):
        values |= {f"{prefix}:{key}": value for key, value in (metrics.get(name) or {}).items()}
    return values


def trial_values(trial: Trial, control_seconds: float | None = None) -> Values:
    """The same for a trial of a sweep, on test data, and how long it took itself; empty but for that before its end.

    Args:
        trial: its record.
        control_seconds: training time of plain fine-tuning with the same seed.
    """
    cost = {} if trial.cost is None else _cost_values(trial.cost, control_seconds)
    return metric_values(trial.test) | cost | {"seconds": trial.seconds}


def _cost_values(cost: Cost, control_seconds: float | None) -> Values:
    values: Values = {m.name: getattr(cost, m.name) for m in COST_MEASURES if m.name != "relative_cost"}
    values["relative_cost"] = cost.train_seconds / control_seconds if control_seconds else None
    return values


def collect(entries: Iterable[tuple[Mapping[str, Any], float | None]]) -> Frame:
    """A frame from (keys, value) pairs; values that are missing or not finite have no line."""
    frame: Frame = {}
    for keys, value in entries:
        if value is None or not isfinite(value):
            continue
        for key, entry in {**keys, "value": value}.items():
            frame.setdefault(key, []).append(entry)
    return frame


def fold(data: Frame) -> Frame:
    """Seeds folded: one entry per combination of the other columns, with mean, 95 % interval and count.

    The interval of two seeds is not worth showing: their values stand in its place.
    """
    keys = [name for name in data if name not in ("seed", "run", "value")]
    groups: dict[tuple[Any, ...], list[float]] = {}
    for *key, value in zip(*(data[name] for name in keys), data.get("value", []), strict=True):
        groups.setdefault(tuple(key), []).append(value)
    folded: Frame = {name: [key[k] for key in groups] for k, name in enumerate(keys)}
    intervals = [mean_interval(values).shown() for values in groups.values()]
    for name in ("mean", "low", "high", "count"):
        folded[name] = [getattr(interval, name) for interval in intervals]
    return folded


def lookup(folded: Frame, *keys: str) -> dict[tuple[Any, ...], Cell]:
    """The folded entries by the values of `keys`."""
    columns = [folded.get(name, []) for name in (*keys, "mean", "low", "high", "count")]
    return {
        tuple(key): Cell(mean, low, high, count=count)
        for *key, mean, low, high, count in zip(*columns, strict=True)
    }


def run_name(result: Result) -> str:
    """How one run is called in lists."""
    return f"{result.method}, seed {result.seed}"


def check_comparable(results: Sequence[Result]) -> None:
    """Refuse what must not stand in one table.

    Raises:
        UserError: nothing given; different models, weights, streams, suites or data; a method's name used for
            two methods, or a method and seed given twice. The message says what differs.
    """
    if not results:
        raise UserError("no results to report: give at least one finished run.")
    first = results[0]
    for what, places in IDENTITY:
        known = _found(first, places)
        for other in results[1:]:
            if (own := _found(other, places)) != known:
                raise UserError(
                    f"results with different {what} cannot stand in one report: {_label(first)} has "
                    f"{written(known)}, {_label(other)} has {written(own)}. Report them separately."
                )
    _check_fingerprints(results)
    _check_names(results)


def _check_fingerprints(results: Sequence[Result]) -> None:
    noted = [(result, result.fingerprints) for result in results if result.fingerprints is not None]
    for first, known in noted[:1]:
        for other, now in noted[1:]:
            if changed := known.changes(now):
                raise UserError(
                    f"{_label(first)} and {_label(other)} cannot stand in one report: {' and '.join(changed)} are "
                    "not the same in both. Report them separately."
                )


IDENTITY = (
    ("versions of cl-forget", ("environment.packages.cl-forget",)),
    ("models", ("model",)),
    ("streams", ("tasks",)),
    ("stream settings", ("run.stream",)),
    ("suites", ("suites",)),
    ("test data (samples per set)", ("rows.0.tasks.*.test.samples", "rows.0.suites.*.test.samples")),
)
"""What the results of one report have in common: in words, and where it stands in `result.json`, `*` for every name.

The viewer, which compares results without Python, is given these as they are."""


def _found(result: Result, places: Sequence[str]) -> Any:
    """What stands at a place of a result; at several, all of it by name."""
    found = [_at(result, place.split(".")) for place in places]
    return found[0] if len(found) == 1 else {name: value for part in found for name, value in part.items()}


def _at(value: Any, path: Sequence[str]) -> Any:
    for k, part in enumerate(path):
        if part == "*":
            return {name: _at(one, path[k + 1 :]) for name, one in value.items()}
        if isinstance(value, Mapping):
            value = value.get(part)
        else:
            value = value[int(part)] if isinstance(value, list) else getattr(value, part, None)
    return value


def _check_names(results: Sequence[Result]) -> None:
    mitigations: dict[str, list[str]] = {}
    seen: set[tuple[str, int]] = set()
    for result in results:
        # Mitigations compose whatever the order they are listed in.
        listed = sorted(map(written, result.run.get("mitigations", [])))
        known = mitigations.setdefault(result.method, listed)
        if known != listed:
            raise UserError(
                f"the name '{result.method}' stands for two methods, {' + '.join(known) or 'none'} and "
                f"{' + '.join(listed) or 'none'}: name the arms differently, or report them separately."
            )
        if (result.method, result.seed) in seen:
            raise UserError(f"{_label(result)} is given twice: leave out one of the two folders.")
        if result.method == PRETRAINED:
            raise UserError(f"a method is called '{PRETRAINED}', which names the untouched model: rename it.")
        seen.add((result.method, result.seed))


def _label(result: Result) -> str:
    return f"'{result.method}' seed {result.seed}"
