"""Every number a report shows, as pure functions of accuracy matrices, per-sample arrays and points.

Convention: `R` is (T + 1, tasks), T = number of tasks. Row 0 is the pre-trained model, row j the model after
stage j, column i - 1 belongs to task i (the papers count tasks from 1). NaN is "not measured": joint
training, for one, has only row 0 and row T. A metric that needs a missing value is itself missing (NaN inside
arrays, None as a number), never 0.0, and a mean with a missing part is missing. Nothing here changes its
arguments. Accuracies are fractions in [0, 1]; losses and divergences are in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cl_forget.ground.records import Metrics, Row, Scores, TaskScores

Array = NDArray[np.float64]


Split = Literal["validation", "test"]


ECE_BINS = 15


def stages(rows: Sequence[Row], tasks: Sequence[str]) -> list[Row | None]:
    """The rows by position: T + 1 entries, None where nothing was measured.

    A row belongs to the task it was trained on last. A stage that bears no task's name covered several
    tasks at once (joint training) and belongs to position T.

    Raises:
        ValueError: two rows claim the same position.
    """
    placed: list[Row | None] = [None] * (len(tasks) + 1)
    for row in rows:
        if row.after is None:
            position = 0
        elif row.after in tasks:
            position = list(tasks).index(row.after) + 1
        else:
            position = len(tasks)
        if placed[position] is not None:
            raise ValueError(f"two rows for stage {position} (after {row.after!r})")
        placed[position] = row
    return placed


def matrix(
    rows: Sequence[Row], tasks: Sequence[str], split: Split = "test", field: str = "accuracy"
) -> Array:
    """R: (T + 1, T) of one field of `Scores` on every task after every stage, NaN where missing."""
    return _table(stages(rows, tasks), tasks, lambda row, name: _field(row.tasks.get(name), split, field))


def suite_matrix(
    rows: Sequence[Row],
    tasks: Sequence[str],
    suites: Sequence[str],
    split: Split = "test",
    field: str = "accuracy",
) -> Array:
    """G: (T + 1, suites), like `matrix` for the generality suites."""
    return _table(stages(rows, tasks), suites, lambda row, name: _field(row.suites.get(name), split, field))


def probe_matrix(rows: Sequence[Row], tasks: Sequence[str], probes: Sequence[str]) -> Array:
    """A_LP: (T + 1, probes) test accuracy of the linear probes, NaN where missing."""

    def accuracy(row: Row, name: str) -> float | None:
        return row.probes[name].accuracy if name in row.probes else None

    return _table(stages(rows, tasks), probes, accuracy)


def shifted_matrix(rows: Sequence[Row], tasks: Sequence[str]) -> Array:
    """(T + 1, T) mean accuracy over each task's shifted test sets, NaN where it has none."""

    def accuracy(row: Row, name: str) -> float | None:
        scores = row.tasks.get(name)
        return mean(s.accuracy for s in scores.shifted.values()) if scores is not None else None

    return _table(stages(rows, tasks), tasks, accuracy)


def _field(scores: TaskScores | None, split: Split, field: str) -> float | None:
    if scores is None:
        return None
    of_split: Scores = getattr(scores, split)
    return getattr(of_split, field)


def _table(
    rows: Sequence[Row | None], names: Sequence[str], value: Callable[[Row, str], float | None]
) -> Array:
    table = np.full((len(rows), len(names)), np.nan)
    for j, row in enumerate(rows):
        for i, name in enumerate(names):
            found = None if row is None else value(row, name)
            table[j, i] = np.nan if found is None else found
    return table


def mean(values: Iterable[float | None] | Array) -> float | None:
    """The mean, or None when there is no value or one of them is missing (None or NaN)."""
    array = _floats(values)
    return _number(array.mean()) if array.size else None


def _floats(values: Iterable[float | None] | Array) -> Array:
    """A new 1-D array, NaN for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _number(value: float | np.floating[Any]) -> float | None:
    """A plain float; None for NaN."""
    return None if np.isnan(value) else float(value)


def _accuracies(R: ArrayLike) -> Array:
    array = np.array(R, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1] + 1:
        raise ValueError(f"R must be (tasks + 1, tasks), row 0 = pre-trained, not {array.shape}")
    return array


def forgetting_last(R: ArrayLike) -> Array:
    """(T - 1,) `R[i,i] - R[T,i]` for the tasks i < T (Lopez-Paz & Ranzato 2017, as the negative of BWT)."""
    R = _accuracies(R)
    return (np.diagonal(R, offset=-1) - R[-1])[:-1]


def forgetting_max(R: ArrayLike) -> Array:
    """(T,) `max_{0<=t<=T} R[t,i] - R[T,i]`, row 0 included (Chaudhry et al. 2018 leave row 0 out).

    Needs every row: a maximum over some of them would be a lower bound only.
    """
    R = _accuracies(R)
    return R.max(axis=0) - R[-1]


def bwt(R: ArrayLike) -> float | None:
    """Backward transfer, mean over i < T of `R[T,i] - R[i,i]` (Lopez-Paz & Ranzato 2017)."""
    R = _accuracies(R)
    return mean((R[-1] - np.diagonal(R, offset=-1))[:-1])


def forward_transfer(R: ArrayLike) -> Array:
    """(T - 1,) `R[i-1,i] - R[0,i]` for i >= 2: what the earlier tasks did to one not yet trained on."""
    R = _accuracies(R)
    # The super-diagonal of rows 1... : element [i - 1, i] in the papers' count.
    return np.diagonal(R[1:], offset=1) - R[0, 1:]


def mtil_transfer(R: ArrayLike) -> float | None:
    """Mean over i >= 2 of mean_{1<=j<i} R[j,i] (MTIL, Zheng et al. 2303.06628)."""
    R = _accuracies(R)
    return mean(mean(R[1 : i + 1, i]) for i in range(1, R.shape[1]))


def mtil_avg(R: ArrayLike) -> float | None:
    """Mean over i of mean_{1<=j<=T} R[j,i] (MTIL, Zheng et al. 2303.06628)."""
    return mean(_accuracies(R)[1:].ravel())


def mtil_last(R: ArrayLike) -> float | None:
    """Mean over i of R[T,i] (MTIL, Zheng et al. 2303.06628); the same number as the speciality."""
    return mean(_accuracies(R)[-1])


def generality_drop(G: ArrayLike) -> Array:
    """(T + 1, suites) `G[0,k] - G[j,k]`, positive = lost."""
    G = np.array(G, dtype=np.float64)
    return G[0] - G


def delta(A: ArrayLike) -> Array:
    """(T + 1, columns) `A[j] - A[0]`: Δ_LP of a probe matrix (Mukhoti et al. 2308.13320), Δ_ZS of suites."""
    A = np.array(A, dtype=np.float64)
    return A - A[0]


def general_ability_delta(G: ArrayLike) -> Array:
    """(T + 1,) mean over suites of `G[j,k] - G[0,k]`: ΔR^G_j of TRACE (Wang et al. 2310.06762, eq. 3).

    The same number as the mean Δ_ZS, under the name it has for language models. TRACE counts only the last
    stage; NaN where a suite is missing.
    """
    return delta(G).mean(axis=1)


def retention(G: ArrayLike) -> float | None:
    """mean_k G[T,k] / mean_k G[0,k], a ratio of means; None when the pre-trained mean is 0."""
    G = np.array(G, dtype=np.float64)
    start, end = mean(G[0]), mean(G[-1])
    return None if start is None or end is None or start == 0 else end / start


def true_change(
    changed: float | None, before: float | None, after: float | None, choices: float | None
) -> float | None:
    """The share of samples that changed sides, beyond what guessing alone changes (2510.17776).

    `max(changed - (1 - before)(1 - after)/(k - 1), 0)`: with `changed` the share right before and wrong after it is
    F_true, with the share wrong before and right after BT_true. Averages hide that both happen at once.

    Args:
        changed: share of the samples.
        before, after: accuracies.
        choices: k; None for free answers, which are never guessed.
    """
    if changed is None or before is None or after is None:
        return None
    guessed = 0.0 if choices is None or choices <= 1 else (1 - before) * (1 - after) / (choices - 1)
    return max(changed - guessed, 0.0)


def chance_adjusted(accuracy: float | None, choices: float | None) -> float | None:
    """`max((k·a - 1)/(k - 1), 0)`: 0 for guessing among k choices; as it is for free answers (2510.17776)."""
    if accuracy is None or choices is None or choices <= 1:
        return accuracy
    return max((choices * accuracy - 1) / (choices - 1), 0.0)


def effective_robustness(
    id_accuracy: float | None,
    ood_accuracy: float | None,
    baseline_id: Sequence[float | None],
    baseline_ood: Sequence[float | None],
    floor: float = 0.005,
) -> float | None:
    """OOD accuracy beyond what a baseline line predicts at this ID accuracy (Taori et al. 2007.00644, eq. 1).

    The line is a least-squares fit through the baseline points with both axes on the logit scale. Taori et
    al. fit hundreds of independently trained models; here the baseline is few points (the pre-trained model
    and plain fine-tuning, say), so the number is only comparable between methods with the same baseline.

    Args:
        baseline_id, baseline_ood: accuracies of the baseline models; missing points are left out.
        floor: accuracies are clipped to [floor, 1 - floor] for the fit, the logit of 0 and 1 being infinite.

    Returns:
        A difference of accuracies; None without at least two baseline points of different ID accuracy.
    """

    def logit(accuracy: Array) -> Array:
        clipped = np.clip(accuracy, floor, 1 - floor)
        return np.log(clipped / (1 - clipped))

    x, y = _floats(baseline_id), _floats(baseline_ood)
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = logit(x[known]), logit(y[known])
    if id_accuracy is None or ood_accuracy is None or len(x) < 2 or np.ptp(x) == 0:
        return None
    slope = ((x - x.mean()) @ (y - y.mean())) / ((x - x.mean()) @ (x - x.mean()))
    predicted = y.mean() + slope * (logit(np.float64(id_accuracy)) - x.mean())  # type: ignore[arg-type]
    return _number(ood_accuracy - 1 / (1 + np.exp(-predicted)))


def expected_calibration_error(
    confidences: ArrayLike, correct: ArrayLike, bins: int = ECE_BINS
) -> float | None:
    """Σ_b (n_b / N) |accuracy_b - mean confidence_b| over equal-width bins (lower, upper] of [0, 1].

    Source: Guo et al. 1706.04599, eq. 3. The first bin holds 0 too.

    Args:
        confidences: (samples,) probability of the predicted class.
        correct: (samples,) bool or 0/1.
    """
    confidence, right = np.array(confidences, np.float64), np.array(correct, np.float64)
    if len(confidence) == 0 or np.isnan(confidence).any() or np.isnan(right).any():
        return None
    of_sample = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    # |Σ correct - Σ confidence| of a bin is already n_b times its gap.
    gaps = np.bincount(of_sample, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def hardest_decile_accuracy(base_losses: ArrayLike, correct: ArrayLike) -> float | None:
    """Accuracy on the tenth of the samples (rounded up) with the largest loss under the pre-trained model.

    Ties go to the sample that comes first. Source: Sanyal et al. 2502.02797, table 5.

    Args:
        base_losses: (samples,) nats.
        correct: (samples,) bool or 0/1, of the model under evaluation.
    """
    losses, right = np.array(base_losses, np.float64), np.array(correct, np.float64)
    if len(losses) == 0 or np.isnan(losses).any() or np.isnan(right).any():
        return None
    hardest = np.argsort(-losses, kind="stable")[: -(-len(losses) // 10)]
    return float(right[hardest].mean())


def kl_divergence(p_logits: ArrayLike, q_logits: ArrayLike) -> Array:
    """(samples,) KL(p ‖ q) in nats of the softmax distributions of two (samples, classes) logit arrays.

    Classes that p rules out (logit -inf) add nothing; one that only q rules out makes it infinite.
    """
    log_p, log_q = _log_softmax(p_logits), _log_softmax(q_logits)
    p = np.exp(log_p)
    with np.errstate(invalid="ignore"):  # -inf - -inf, in entries that do not count
        terms = np.where(p > 0, p * (log_p - log_q), 0.0)
    # Rounding can leave -1e-17 where p = q.
    return np.maximum(terms.sum(axis=1), 0.0)


def _log_softmax(logits: ArrayLike) -> Array:
    array = np.array(logits, np.float64)
    array -= array.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return array - np.log(np.exp(array).sum(axis=1, keepdims=True))


def pareto_front(points: ArrayLike) -> NDArray[np.int64]:
    """Positions of the points that no other dominates, by rising first coordinate; both are maximised.

    A point dominates another when it is at least as good on both axes and better on one. Equal points do not
    dominate each other; points with a missing coordinate are left out.

    Args:
        points: (points, 2), for example (speciality, generality).
    """
    array = np.array(points, np.float64).reshape(-1, 2)
    known = np.flatnonzero(~np.isnan(array).any(axis=1))
    front: list[int] = []
    best = -np.inf
    # From the largest x down, and from the largest y down within equal x: a point is on the front when its y
    # beats everything seen, or equals the best y at its own x (a duplicate).
    for i in sorted(known.tolist(), key=lambda i: (-array[i, 0], -array[i, 1], i)):
        if array[i, 1] > best or (front and tuple(array[i]) == tuple(array[front[-1]])):
            front.append(i)
            best = array[i, 1]
    return np.array(front[::-1], dtype=np.int64)


def hypervolume(points: ArrayLike, reference: tuple[float, float]) -> float | None:
    """Area that the points dominate above `reference`, both axes maximised; None without a known point.

    State the reference with the number. A natural one is (pre-trained speciality, 0); divided by the area up
    to (1, pre-trained generality) it is the share of the ideal trade-off.

    Args:
        points: (points, 2); a point that is not above the reference on both axes adds nothing.
    """
    array = np.array(points, np.float64).reshape(-1, 2)
    front = array[pareto_front(array)]
    if len(front) == 0:
        return None
    above = front[(front > np.array(reference, np.float64)).all(axis=1)]
    # Along the front x rises and y falls: slices of width x_i - x_{i-1} and height y_i.
    widths = np.diff(above[:, 0], prepend=reference[0])
    return float((widths * (above[:, 1] - reference[1])).sum())


def target_at_equal_retention(curve: ArrayLike, retention: float) -> float | None:
    """Speciality where a one-knob curve crosses `retention`; the best crossing.

    Args:
        curve: (points, 2) of (speciality, retention), in the order of the knob; linear in between. Nothing is
            extrapolated: a curve that does not reach the retention gives None.
    """
    return _best_crossing(np.array(curve, np.float64).reshape(-1, 2)[:, ::-1], retention)


def retention_at_equal_target(curve: ArrayLike, target: float) -> float | None:
    """Retention where a one-knob curve crosses the speciality `target`; as `target_at_equal_retention`."""
    return _best_crossing(np.array(curve, np.float64).reshape(-1, 2), target)


def _best_crossing(curve: Array, level: float) -> float | None:
    """Largest second coordinate where the polyline's first coordinate equals `level`."""
    curve = curve[~np.isnan(curve).any(axis=1)]
    found = [float(y) for x, y in curve if x == level]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if min(x0, x1) < level < max(x0, x1):
            found.append(float(y0 + (level - x0) / (x1 - x0) * (y1 - y0)))
    return max(found, default=None)


def summary(
    rows: Sequence[Row],
    tasks: Sequence[str],
    suites: Sequence[str] = (),
    probes: Sequence[str] = (),
    split: Split = "test",
) -> Metrics:
    """Every metric of one run by name, as in `DEFINITIONS`; what `Result.metrics` holds.

    Args:
        rows: row 0 and one row per stage; missing stages are allowed.
        tasks, suites, probes: names in order. A probe that is a task of the stream is read before the task is
            tuned on (Δ_LP asks for tasks other than the tuned one), the others at the end.
        split: "validation" reads nothing of the test data: what only test data has (probes, shifted sets) is
            then missing.

    Returns:
        name -> float or None; the names in `_by_task`, `_by_suite`, `_by_probe` -> dict of the same by name.
    """
    R = matrix(rows, tasks, split)
    G = suite_matrix(rows, tasks, suites, split)
    final = stages(rows, tasks)[-1]
    P = suite_matrix(rows, tasks, suites, split, "perplexity")
    result = _stream_metrics(R, tasks) | _generality_metrics(G, P, suites)
    result |= _probe_metrics(rows, tasks, probes if split == "test" else ())
    shifted = shifted_matrix(rows, tasks) if split == "test" else np.full_like(R, np.nan)
    result |= {
        "ood_accuracy": mean(shifted[-1]),
        "ood_accuracy_by_task": _named(tasks, shifted[-1]),
        "ood_accuracy_pretrained": mean(shifted[0]),
    }
    for field in ("ece", "hardest_decile_accuracy", "kl_to_base"):
        result[field] = mean(matrix(rows, tasks, split, field)[-1])
    result |= _item_metrics(rows, tasks, suites, split, R, G, P)
    result |= _restored_metrics(final, tasks, G, P, suites, split)
    result["weight_distance"] = None if final is None else final.drift.weight_distance.get("all")
    return cast(Metrics, result)


def _stream_metrics(R: Array, tasks: Sequence[str]) -> dict[str, Any]:
    last, largest, forward = forgetting_last(R), forgetting_max(R), forward_transfer(R)
    return {
        "speciality": mean(R[-1]),
        "speciality_by_task": _named(tasks, R[-1]),
        "speciality_pretrained": mean(R[0]),
        "forgetting_last": mean(last),
        "forgetting_last_by_task": _named(tasks[:-1], last),
        "forgetting_max": mean(largest[:-1]),
        "forgetting_max_by_task": _named(tasks, largest),
        "bwt": bwt(R),
        "fwt": mean(forward),
        "fwt_by_task": _named(tasks[1:], forward),
        "mtil_transfer": mtil_transfer(R),
        "mtil_avg": mtil_avg(R),
        "mtil_last": mtil_last(R),
    }


def _generality_metrics(G: Array, P: Array, suites: Sequence[str]) -> dict[str, Any]:
    """P: perplexities in the places of G."""
    fluent = _fluent(P)
    answered = [name for k, name in enumerate(suites) if not fluent[k]]
    read = [name for k, name in enumerate(suites) if fluent[k]]
    G, drop, gained = G[:, ~fluent], generality_drop(G)[-1, ~fluent], delta(G)[-1, ~fluent]
    P = P[:, fluent]
    rise = np.log(P[-1]) - np.log(P[0])
    return {
        "generality": mean(G[-1]),
        "generality_by_suite": _named(answered, G[-1]),
        "generality_pretrained": mean(G[0]),
        "retention": retention(G),
        "generality_drop": mean(drop),
        "generality_drop_by_suite": _named(answered, drop),
        "delta_zs": mean(gained),
        "delta_zs_by_suite": _named(answered, gained),
        "general_ability_delta": _number(general_ability_delta(G)[-1]) if G.size else None,
        "perplexity_by_suite": _named(read, P[-1]),
        "perplexity_rise_by_suite": _named(read, rise),
        "perplexity_rise": mean(rise),
    }


def _fluent(P: Array) -> NDArray[np.bool_]:
    """(suites,) whether a suite has a perplexity anywhere, so was not measured by accuracy."""
    return np.asarray(np.isfinite(P).any(axis=0))


def _item_metrics(
    rows: Sequence[Row],
    tasks: Sequence[str],
    suites: Sequence[str],
    split: Split,
    R: Array,
    G: Array,
    P: Array,
) -> dict[str, Any]:
    """What single samples lost and gained, and accuracies without the share of guessing."""

    def of_suites(field: str) -> dict[str, float | None]:
        return _named(suites, suite_matrix(rows, tasks, suites, split, field)[-1])

    lost, gained, choices = (of_suites(field) for field in ("lost", "gained", "choices"))
    classes = _named(tasks, matrix(rows, tasks, split, "choices")[-1])
    answered = [name for name, fluent in zip(suites, _fluent(P), strict=True) if not fluent]
    start, end = _named(suites, G[0]), _named(suites, G[-1])
    forgot = {name: true_change(lost[name], start[name], end[name], choices[name]) for name in answered}
    won = {name: true_change(gained[name], start[name], end[name], choices[name]) for name in answered}
    return {
        "f_true": mean(forgot.values()),
        "f_true_by_suite": forgot,
        "bt_true": mean(won.values()),
        "bt_true_by_suite": won,
        "generality_adjusted": mean(chance_adjusted(end[name], choices[name]) for name in answered),
        "speciality_adjusted": mean(
            chance_adjusted(value, classes[name]) for name, value in _named(tasks, R[-1]).items()
        ),
    }


def _restored_metrics(
    final: Row | None, tasks: Sequence[str], G: Array, P: Array, suites: Sequence[str], split: Split
) -> dict[str, Any]:
    """With BatchNorm's statistics put back; P as in `_generality_metrics`."""
    again = None if final is None else final.restored
    answered = np.flatnonzero(~_fluent(P)).tolist()
    if again is None:
        return dict.fromkeys(("generality_restored", "speciality_restored", "statistics_share"))
    general = mean(_field(again.suites.get(suites[k]), split, "accuracy") for k in answered)
    before, after = (mean(G[row, answered]) for row in (0, -1))
    share = None
    if general is not None and before is not None and after is not None and before > after:
        share = (general - after) / (before - after)
    return {
        "generality_restored": general,
        "speciality_restored": mean(_field(again.tasks.get(name), split, "accuracy") for name in tasks),
        "statistics_share": share,
    }


def _probe_metrics(rows: Sequence[Row], tasks: Sequence[str], probes: Sequence[str]) -> dict[str, Any]:
    changed = delta(probe_matrix(rows, tasks, probes))
    column = {name: k for k, name in enumerate(probes)}
    untouched = [name for name in probes if name not in tasks]
    # Task i (from 1) is read at row i - 1, its position in `tasks`; at row 0 nothing can have changed yet.
    pending = {name: changed[i, column[name]] for i, name in enumerate(tasks) if i > 0 and name in column}
    by_probe = _named(untouched, [changed[-1, column[name]] for name in untouched])
    by_task = _named(list(pending), list(pending.values()))
    return {
        "delta_lp": mean(by_probe.values()),
        "delta_lp_by_probe": by_probe,
        "delta_lp_before_tuning": mean(by_task.values()),
        "delta_lp_before_tuning_by_task": by_task,
    }


def _named(names: Sequence[str], values: Iterable[float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(names, values, strict=True)}
