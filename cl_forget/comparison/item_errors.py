"""How sure the numbers of one run are that were measured on items: standard errors over these.

They say what other test items would have given, and nothing of what another seed would: they stand beside a single
seed's numbers, where there is no interval over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt

from cl_forget.comparison.records import Result
from cl_forget.ground.records import Row, Scores, TaskScores

Errors = dict[str, float]


def item_errors(result: Result, row: int = -1) -> Errors:
    """The standard errors of a run's numbers on test items, as fractions: quantity of the table -> error.

    An accuracy a over n items has the error √(a(1 - a)/(n - 1)), a mean over data sets that of independent sets. A
    drop is taken item by item: with the shares l lost and g gained its error is √((l + g - (l - g)²)/(n - 1)).

    Args:
        result: of the run.
        row: which of its rows; row 0 is the pre-trained model.
    """
    found: Errors = {}
    now, first = result.rows[row], result.rows[0]
    for prefix, mean_name, names in (
        ("task", "speciality", result.tasks),
        ("suite", "generality", result.suites),
    ):
        scores = _test(now, prefix, names)
        each = {name: _variance(of.accuracy, of.samples) for name, of in scores.items()}
        found |= {f"{prefix}:{name}": sqrt(value) for name, value in each.items() if value is not None}
        _add(found, mean_name, each.values())
    shifted = [_shifted(now.tasks[name]) for name in result.tasks if name in now.tasks]
    if shifted and None not in shifted:
        _add(found, "ood_accuracy", shifted)
    suites = _test(now, "suite", result.suites)
    if suites and now is not first:
        _add(found, "generality_drop", [_paired(of) for of in suites.values()])
        _add_retention(found, suites, _test(first, "suite", result.suites))
    return found


def _test(row: Row, prefix: str, names: Iterable[str]) -> dict[str, Scores]:
    """The test scores of those data sets that have an accuracy."""
    known: Mapping[str, TaskScores] = row.tasks if prefix == "task" else row.suites
    scores = {name: known[name].test for name in names if name in known}
    return {name: of for name, of in scores.items() if of.accuracy is not None}


def _variance(accuracy: float | None, samples: int) -> float | None:
    return None if accuracy is None or samples < 2 else accuracy * (1 - accuracy) / (samples - 1)


def _paired(scores: Scores) -> float | None:
    """The variance of a drop since the pre-trained model."""
    if scores.lost is None or scores.gained is None or scores.samples < 2:
        return None
    change = scores.lost - scores.gained
    return max(0.0, scores.lost + scores.gained - change**2) / (scores.samples - 1)


def _shifted(task: TaskScores) -> float | None:
    """The variance of the mean accuracy over a task's shifted sets."""
    found = [_variance(of.accuracy, of.samples) for of in task.shifted.values()]
    known = [value for value in found if value is not None]
    return sum(known) / len(found) ** 2 if found and len(known) == len(found) else None


def _add(found: Errors, name: str, variances: Iterable[float | None]) -> None:
    """The error of a mean over independent data sets, if that of each is known."""
    values = list(variances)
    known = [value for value in values if value is not None]
    if values and len(known) == len(values):
        found[name] = sqrt(sum(known)) / len(known)


def _add_retention(found: Errors, now: Mapping[str, Scores], before: Mapping[str, Scores]) -> None:
    """The error of a ratio of two means over the same items, to first order."""
    if now.keys() != before.keys() or "generality_drop" not in found:
        return
    count = len(now)
    means = [sum(of.accuracy or 0.0 for of in scores.values()) / count for scores in (now, before)]
    variances = [
        sum(_variance(of.accuracy, of.samples) or 0.0 for of in scores.values()) / count**2
        for scores in (now, before)
    ]
    if means[1] == 0:
        return
    ratio, together = means[0] / means[1], (sum(variances) - found["generality_drop"] ** 2) / 2
    variance = variances[0] + ratio**2 * variances[1] - 2 * ratio * together
    found["retention"] = sqrt(max(0.0, variance)) / means[1]
