"""The names under which a run's numbers are logged, and the numbers themselves: pure functions of records.

Every name is `section/quantity`, in letters, digits and underscores (names of tasks and suites as they are).
`docs/tracking.md` lists them all. A number that is missing is left out, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cl_forget.comparison.records import Curve
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.evaluation.depths import depth_name
from cl_forget.evaluation.metrics import mean, summary
from cl_forget.ground.records import Cost, Row

STEP = "train/step"
"""The x axis of everything logged while training: optimiser steps since the start of the run."""

EXPERIENCE = "experience"
"""The x axis of everything logged after an evaluation: 0 is the pre-trained model, j the model after stage j."""

SECTIONS = (
    "accuracy",
    "validation_accuracy",
    "generality",
    "perplexity",
    "probe",
    "delta_lp",
    "kl_to_base",
    "feature_drift",
    "cka",
    "weight_distance",
    "metrics",
    "cost",
    "media",
)
"""The sections with `EXPERIENCE` as their x axis."""

METRICS = {
    "speciality": "speciality",
    "generality": "generality",
    "generality_drop": "generality_drop",
    "retention": "generality_retention",
    "generality_restored": "generality_restored",
    "speciality_restored": "speciality_restored",
    "statistics_share": "statistics_share",
    "forgetting_last": "forgetting_last",
    "forgetting_max": "forgetting_max",
    "bwt": "backward_transfer",
    "fwt": "forward_transfer",
    "delta_lp": "delta_lp",
    "delta_lp_before_tuning": "delta_lp_before_tuning",
    "delta_zs": "delta_zs",
    "perplexity_rise": "perplexity_rise",
    "mtil_transfer": "mtil_transfer",
    "mtil_avg": "mtil_avg",
    "ood_accuracy": "shifted_accuracy",
    "ece": "calibration_error",
    "hardest_decile_accuracy": "hardest_decile_accuracy",
    "kl_to_base": "kl_to_base",
    "weight_distance": "weight_distance",
}
"""Metric of `Result.metrics` -> its name below `metrics/`."""


def step_values(number: int, record: dict[str, Any]) -> dict[str, float]:
    """One optimiser step, from the training loop's record."""
    terms = dict(record["terms"])
    values: dict[str, float | None] = {
        STEP: number,
        "train/loss": record["loss"],
        "train/task_loss": terms.pop("task", None),
        **{f"train/penalty_{name}": value for name, value in terms.items()},
        "train/learning_rate": record["lr"],
        "train/gradient_norm": record["norm"],
        "train/samples_per_second": record["samples"] / record["seconds"] if record["seconds"] else None,
        "train/kl_to_base": record.get("kl_to_base"),
    }
    return _known(values)


def row_values(
    rows: Sequence[Row], tasks: Sequence[str], suites: Sequence[str], probes: Sequence[str]
) -> dict[str, float]:
    """The newest row: its line of the R matrix, and every metric of the stream as far as it has been trained.

    After the last stage `metrics/...` are the numbers of `Result.metrics["test"]`.

    Args:
        rows: all rows so far.
        tasks, suites, probes: names in order; `probes` without the stream's own tasks.
    """
    row = rows[-1]
    seen = _seen(row, tasks)
    values: dict[str, float | None] = {
        EXPERIENCE: len(rows) - 1,
        **{f"accuracy/{name}": scores.test.accuracy for name, scores in row.tasks.items()},
        **{f"validation_accuracy/{name}": scores.validation.accuracy for name, scores in row.tasks.items()},
        **{f"generality/{name}": scores.test.accuracy for name, scores in row.suites.items()},
        **{f"validation_accuracy/{name}": scores.validation.accuracy for name, scores in row.suites.items()},
        **{f"kl_to_base/{name}": s.test.kl_to_base for name, s in [*row.tasks.items(), *row.suites.items()]},
        **{f"perplexity/{name}": s.test.perplexity for name, s in row.suites.items()},
        **{f"probe/{name}": scores.accuracy for name, scores in row.probes.items()},
        **{f"delta_lp/{name}": _change(rows, name) for name in row.probes},
        **{
            f"{kind}/{depth_name(kind, depth)}": value
            for kind, by_depth in row.drift.model_dump().items()
            for depth, value in by_depth.items()
        },
        **{f"cost/{name}": value for name, value in row.cost.model_dump().items()},
    }
    found: dict[str, Any] = {**summary(rows, seen, suites, [*probes, *seen])}
    values |= {f"metrics/{name}": found[key] for key, name in METRICS.items()}
    return _known(values)


def _seen(row: Row, tasks: Sequence[str]) -> list[str]:
    """The tasks trained when the row was measured; a stage of another name trained all (joint training)."""
    if row.after is None:
        return []
    return list(tasks[: tasks.index(row.after) + 1]) if row.after in tasks else list(tasks)


def _change(rows: Sequence[Row], probe: str) -> float | None:
    """A_LP now minus A_LP of the pre-trained model."""
    now, before = (row.probes[probe].accuracy if probe in row.probes else None for row in (rows[-1], rows[0]))
    return None if now is None or before is None else now - before


def key_of(measure: str) -> str | None:
    """The logged name of a quantity that a report shows; None if it is not logged.

    Args:
        measure: as in a report's frames: "speciality", "task:digits", "suite:emoji", "train_seconds", ...
    """
    kind, colon, name = measure.partition(":")
    if colon:
        section = {"task": "accuracy", "suite": "generality", "probe": "delta_lp", "pending": "delta_lp"}
        return f"{section[kind]}/{name}" if kind in section else None
    if measure in METRICS:
        return f"metrics/{METRICS[measure]}"
    return f"cost/{measure}" if measure in Cost.model_fields else None


def step_key(measure: str) -> str | None:
    """The logged name of a quantity that a report's training curves show; None if it is not logged step by step.

    Args:
        measure: as in the curves' frame: "loss", "term:task", "term:ldifs", "lr", "norm", "kl_to_base".
    """
    term = measure.removeprefix("term:")
    if term != measure:
        return "train/task_loss" if term == "task" else f"train/penalty_{term}"
    return {
        "loss": "train/loss",
        "lr": "train/learning_rate",
        "norm": "train/gradient_norm",
        "kl_to_base": "train/kl_to_base",
    }.get(measure)


def metrics_table() -> str:
    """The names below `metrics/` with their definitions, as the Markdown table of `docs/tracking.md`."""
    lines = [f"| `metrics/{name}` | {DEFINITIONS[key]} |" for key, name in METRICS.items()]
    return "\n".join(["| name | definition |", "|---|---|", *lines]) + "\n"


def accuracy_table(rows: Sequence[Row], split: str) -> tuple[list[str], list[list[Any]]]:
    """The R matrix with the suites beside it: columns, and one line per row; None where missing."""
    tasks, suites = list(rows[0].tasks), list(rows[0].suites)
    lines: list[list[Any]] = []
    for row in rows:
        scores = {**row.tasks, **row.suites}
        lines.append(
            [
                row.after or "pre-trained",
                *(getattr(scores[name], split).accuracy for name in [*tasks, *suites]),
            ]
        )
    return ["after", *tasks, *suites], lines


def curve_table(
    curves: Iterable[Curve], tasks: Sequence[str], suites: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """Every post-hoc knob at every value: columns, and one line per value, accuracies on test data."""
    lines: list[list[Any]] = []
    for curve in curves:
        for point in curve.points:
            scores = {**point.row.tasks, **point.row.suites}
            accuracies = {name: scores[name].test.accuracy for name in [*tasks, *suites]}
            lines.append(
                [
                    curve.mitigation,
                    curve.knob,
                    point.value,
                    mean([accuracies[name] for name in tasks]),
                    mean([accuracies[name] for name in suites]),
                    *accuracies.values(),
                ]
            )
    return ["mitigation", "knob", "value", "speciality", "generality", *tasks, *suites], lines


def _known(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
