"""Whether a repair has repaired anything: the answer, and why in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cl_forget.auditing.bench import (
    Measured,
    by_perplexity,
    log_ratio,
    range_of,
    range_of_difference,
    range_of_rise,
)
from cl_forget.auditing.conditions import Unit
from cl_forget.auditing.gate import in_unit
from cl_forget.auditing.records import Candidate, Verdict
from cl_forget.reporting.numbers import number

if TYPE_CHECKING:
    from cl_forget.evaluation.items import Interval, Items

NEGLIGIBLE = 0.01
"""A loss that is surely smaller than this is none: a point of accuracy, or 0.01 nats of loss per token."""


def judge(
    ends: tuple[Measured, Measured],
    edit: Measured,
    chosen: Candidate,
    keep: float | None,
    test: Mapping[str, Mapping[str, Items]],
) -> tuple[Verdict, str]:
    """The answer of a repair.

    Args:
        ends: base and tuned model on validation data, sample by sample.
        edit: likewise the edit that was chosen.
        chosen: that edit.
        keep: share of the tuned speciality that was asked for.
        test: the items of "base", "tuned" and "repaired" on test data.
    """
    base, tuned = ends
    tasks, kept = tuned.groups["speciality"], tuned.kept
    learnt, lost, back = _range(tuned, base, tasks), _range(base, tuned, kept), _range(edit, tuned, kept)
    of_tasks, of_kept = (_unit(tuned, names) for names in (tasks, kept))
    if learnt is None or lost is None or back is None:
        return _by_value(base, tuned, edit)
    if learnt.low <= 0:
        gain = _difference(tuned, base, tasks)
        if gain <= 0 or learnt.high < NEGLIGIBLE:
            return (
                "the tuned model has learnt nothing",
                f"speciality has {_moved(of_tasks, gain, learnt.low, learnt.high)}.",
            )
        return (
            "too few samples to tell",
            f"whether the tuned model has learnt anything: {_shown(of_tasks, gain, learnt)}.",
        )
    loss = _difference(base, tuned, kept)
    if lost.low <= 0:
        if loss <= 0 or lost.high < NEGLIGIBLE:
            moved = _moved(of_kept, -loss, -lost.high, -lost.low)
            return "nothing to repair", f"what should have stayed has {moved}."
        return "too few samples to tell", f"whether anything was lost: {_shown(of_kept, loss, lost)}."
    won = _difference(edit, tuned, kept)
    unchanged = bool(chosen.shares) and all(share == 1 for share in chosen.shares.values())
    if won <= 0 or unchanged:
        return "no edit brings it back", "none that keeps the speciality has more of what was lost."
    if back.low <= 0:
        doubt = f"whether the best edit brings anything back: {_shown(of_kept, won, back)}."
        return "too few samples to tell", doubt
    return _on_test(tuned, keep, test, won, back)


def _on_test(
    tuned: Measured, keep: float | None, test: Mapping[str, Mapping[str, Items]], won: float, back: Interval
) -> tuple[Verdict, str]:
    """Whether the choice holds on data that took no part in it."""
    tasks = tuned.groups["speciality"]
    whole, repaired = range_of(test["tuned"], tasks), range_of(test["repaired"], tasks)
    if whole is not None and repaired is not None:
        value = sum(test["repaired"][name].value for name in tasks) / len(tasks)
        reference = sum(test["tuned"][name].value for name in tasks) / len(tasks)
        failed = value < whole.low if keep is None else repaired.high < keep * reference
        if failed:
            told = f"{100 * value:.1f} of {100 * reference:.1f} %"
            if by_perplexity(tuned.items, tasks) and value and reference:
                told = f"perplexity {number(1 / value, 'number')}, and {number(1 / reference, 'number')} as tuned"
            return "no edit brings it back", f"the best one loses the speciality on test data: {told}."
    shown = _shown(_unit(tuned, tuned.kept), won, back)
    return "repaired", f"what should have stayed has come back by {shown}, on validation data."


def _by_value(base: Measured, tuned: Measured, edit: Measured) -> tuple[Verdict, str]:
    """Where samples are not seen one by one (tasks of lm-eval), nothing is known of intervals."""
    if _gap(tuned, base, "speciality") <= 0:
        return "the tuned model has learnt nothing", "its speciality is not above the base's."
    if (base.point.kept or 0.0) <= (tuned.point.kept or 0.0):
        return "nothing to repair", "what should have stayed is not below the base's."
    if (edit.point.kept or 0.0) <= (tuned.point.kept or 0.0):
        return "no edit brings it back", "none that keeps the speciality has more of what was lost."
    return "repaired", "without intervals, as the samples of a suite are not seen one by one."


def _range(one: Measured, other: Measured, names: Sequence[str]) -> Interval | None:
    """By how much `one` is better: points, or nats of loss per token where all is measured by perplexity."""
    if by_perplexity(one.items, names):
        return range_of_rise(one.items, other.items, names)
    return range_of_difference(one.items, other.items, names)


def _difference(one: Measured, other: Measured, names: Sequence[str]) -> float:
    """The number in that interval."""
    both = [(one.items[name].value, other.items[name].value) for name in names]
    fluent = by_perplexity(one.items, names)
    return sum((log_ratio(a, b) or 0.0) if fluent else a - b for a, b in both) / len(both)


def _unit(model: Measured, names: Sequence[str]) -> Unit:
    return "nats" if by_perplexity(model.items, names) else "points"


def _gap(one: Measured, other: Measured, what: str) -> float:
    return (getattr(one.point, what) or 0.0) - (getattr(other.point, what) or 0.0)


def _moved(unit: Unit, change: float, *interval: float) -> str:
    """`fallen by 0.3 points (…)`, in words that say which way, or that it has not changed."""
    size = number(abs(change), "points" if unit == "points" else "nats")
    ends = " to ".join(in_unit(end, unit) for end in interval)
    if not size.strip("0."):
        return f"not changed (95 % interval {ends} {unit})"
    return f"{'risen' if change > 0 else 'fallen'} by {size} {unit} (95 % interval {ends})"


def _shown(unit: Unit, value: float, interval: Interval) -> str:
    """With the interval."""
    middle, low, high = (in_unit(one, unit) for one in (value, interval.low, interval.high))
    return f"{middle} {unit} (95 % interval {low} to {high})"
