"""Whether a model may be released: conditions against paired intervals, with a null control beside them.

A model *fails* a condition where the interval of the measure lies wholly where the condition holds, *passes* where
the 95 % interval lies wholly where it does not, and otherwise it *cannot be told*. The gate fails by any condition
on any checkpoint that decides, so the interval to fail by is at level 1 - 0.05/m, m the number of these decisions
(Bonferroni); it passes only if all pass, which needs no correction (an intersection-union test; Berger 1982,
Technometrics 24:295-300).

A *null control* is a model in which nothing should have been lost: the base itself, or a second seed of it. Where its
own number meets the condition, meeting it means nothing, and the answer is "cannot be told". It is asked only where a
model without any change would pass: not of levels, and not where a gain is demanded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cl_forget.auditing.bench import (
    by_perplexity,
    inverse,
    log_ratio,
    range_of,
    range_of_difference,
    range_of_rise,
)
from cl_forget.auditing.conditions import MEANS, Answer, Condition, Unit
from cl_forget.auditing.records import Change, Gate, Judged
from cl_forget.comparison.measures import Unit as Shown
from cl_forget.evaluation.items import LEVEL, Interval, Items
from cl_forget.evaluation.metrics import mean
from cl_forget.reporting.numbers import number

EXIT_CODES: dict[Answer, int] = {"passes": 0, "fails": 3, "cannot be told": 4}
Decides = Literal["every", "last"]
UNSEEN = "samples are not seen one by one, so no interval is known"


@dataclass(frozen=True)
class Compared:
    """A model beside the base on test data.

    Attributes:
        name: of the model.
        base, tuned: quality by task and suite; None where there is none.
        base_items, tuned_items: what either did with each sample.
        groups: "speciality", "generality" and "fluency" -> the data sets they are means over.
    """

    name: str
    base: Mapping[str, float | None]
    tuned: Mapping[str, float | None]
    base_items: Mapping[str, Items]
    tuned_items: Mapping[str, Items]
    groups: Mapping[str, Sequence[str]]

    def names(self, measure: str) -> Sequence[str]:
        """The data sets that a measure is the mean over."""
        return self.groups[measure] if measure in MEANS else [measure]

    def value(self, condition: Condition) -> float | None:
        """What the condition is on: the change, or the level; None where it was not measured."""
        names = self.names(condition.measure)
        if condition.unit == "nats":
            return self._rise(names)
        before = mean([self.base[name] for name in names])
        after = mean([self.tuned[name] for name in names])
        if condition.unit == "perplexity":
            return 1 / after if after else None
        if condition.kind == "level" or after is None:
            return after
        return None if before is None else after - before

    def _rise(self, names: Sequence[str]) -> float | None:
        """Of the logarithm of the perplexity, the mean over data sets that are measured by it."""
        rises = [log_ratio(self.base[name], self.tuned[name]) for name in names]
        return None if None in rises else mean(rises)

    def interval(self, condition: Condition, level: float = LEVEL) -> Interval | None:
        """Of that value, paired where it is a change; None where samples are not seen one by one."""
        names = self.names(condition.measure)
        if condition.unit == "nats":
            return range_of_rise(self.base_items, self.tuned_items, names, level)
        if condition.unit == "perplexity":
            return inverse(range_of(self.tuned_items, names, level))
        if condition.kind == "level":
            return range_of(self.tuned_items, names, level)
        return range_of_difference(self.tuned_items, self.base_items, names, level)

    def changes(self) -> dict[str, Change]:
        """Of each mean that there is."""
        found = {}
        for measure, names in self.groups.items():
            before = mean([self.base[name] for name in names])
            after = mean([self.tuned[name] for name in names])
            if before is None or after is None:
                continue
            ranges = {
                "base": range_of(self.base_items, names),
                "tuned": range_of(self.tuned_items, names),
                "change": range_of_difference(self.tuned_items, self.base_items, names),
            }
            fluent = measure == "fluency" or by_perplexity(self.base_items, names)
            if fluent:
                ranges["perplexity_rise"] = range_of_rise(self.base_items, self.tuned_items, names)
            found[measure] = Change(
                base=before,
                tuned=after,
                change=after - before,
                perplexity_rise=self._rise(names) if fluent else None,
                ranges={key: one for key, one in ranges.items() if one is not None},
            )
        return found


def judge_gate(
    conditions: Sequence[Condition],
    checkpoints: Sequence[Compared],
    control: Compared | None = None,
    decides: Decides = "every",
) -> Gate:
    """The answer of a gate.

    Args:
        conditions: on data sets and means that there are (`conditions.expand`).
        checkpoints: the models, in order.
        control: the null control.
        decides: whether each of them decides, or the last one alone.
    """
    deciding = list(checkpoints) if decides == "every" else list(checkpoints[-1:])
    level = 1 - (1 - LEVEL) / max(1, len(conditions) * len(deciding))
    controls = [] if control is None else [_judge(c, control, level, None) for c in conditions]
    against: list[Judged | None] = [*controls] if control is not None else [None] * len(conditions)
    judged = [
        _judge(condition, checkpoint, level, beside if condition.spares_no_change else None)
        for checkpoint in checkpoints
        for condition, beside in zip(conditions, against, strict=True)
    ]
    names = {checkpoint.name for checkpoint in deciding}
    answers = [one.answer for one in judged if one.checkpoint in names]
    order: tuple[Answer, ...] = ("fails", "cannot be told")
    answer: Answer = next((a for a in order if a in answers), "passes")
    return Gate(
        answer=answer,
        exit_code=EXIT_CODES[answer],
        conditions=list(dict.fromkeys(condition.written for condition in conditions)),
        decides=decides,
        level=level,
        control=None if control is None else control.name,
        judged=judged,
        controls=controls,
    )


def _judge(condition: Condition, model: Compared, level: float, control: Judged | None) -> Judged:
    value, known = model.value(condition), model.interval(condition)
    corrected = model.interval(condition, level)
    if value is None or known is None or corrected is None:
        answer: Answer = "cannot be told"
        reason = "it was not measured" if value is None else UNSEEN
    else:
        answer = condition.answer(corrected, known)
        reason = _reason(condition, value, known, answer)
        if answer == "fails" and control is not None and _bad(condition, control):
            answer = "cannot be told"
            reason = f"the null control {control.checkpoint} is no better: {_shown(condition, control.value)}"
    return Judged(
        condition=condition.written,
        checkpoint=model.name,
        measure=condition.measure,
        unit=condition.unit,
        value=value,
        range=known,
        corrected=corrected,
        answer=answer,
        reason=reason,
    )


def _bad(condition: Condition, control: Judged) -> bool:
    """Whether the number of the control itself meets the condition, whatever its interval."""
    return control.value is not None and condition.holds(control.value)


def _reason(condition: Condition, value: float, known: Interval, answer: Answer) -> str:
    low, high = (in_unit(end, condition.unit) for end in (known.low, known.high))
    ends = f"{_shown(condition, value)}, 95 % interval {low} to {high}"
    if answer != "cannot be told":
        return ends
    gap = abs(value - condition.threshold)
    half = known.high - value if condition.threshold > value else value - known.low
    if half <= gap:
        return f"{ends}: too few samples to tell among so many decisions at once"
    if gap <= 0:
        return f"{ends}: at the bound itself, which no number of samples tells"
    return (
        f"{ends}: too few samples; about {_times((half / gap) ** 2)} as many would tell, if the number stays"
    )


def _times(factor: float) -> str:
    return f"{factor:.0f} times" if factor < 1000 else "a thousand times or more"


def in_unit(value: float | None, unit: Unit) -> str:
    """A value of a condition as it is shown, without the unit."""
    if unit == "nats":
        return ("+" if value is not None and value >= 0.0005 else "") + number(value, "nats")
    return number(value, _SHOWN[unit])


_SHOWN: dict[Unit, Shown] = {"points": "change", "%": "percent", "perplexity": "number"}


def _shown(condition: Condition, value: float | None) -> str:
    if value is None:
        return number(None, "change")
    shown = in_unit(value, condition.unit)
    return f"perplexity {shown}" if condition.unit == "perplexity" else f"{shown} {condition.unit}"
