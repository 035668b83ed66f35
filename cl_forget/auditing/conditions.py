"""What a gate refuses, as users write it: `generality < -2 points`, `emoji < 90 %`, `any suite > 0.1 nats`.

condition = measure, sign, number, unit {"or" condition}
measure   = "generality" | "speciality" | "fluency" | "any suite" | "any task" | name of a task or suite
sign      = "<" | "<=" | ">" | ">="
unit      = "points" (the change from the base) | "%" (where the tuned model stands), of accuracies
          | "nats" (the rise of the loss per token from the base) | "perplexity" (where the tuned model stands)
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cl_forget.evaluation.items import Interval
from cl_forget.ground.errors import UserError
from cl_forget.ground.registry import closest
from cl_forget.reporting.numbers import listed

Answer = Literal["passes", "fails", "cannot be told"]
"""What a gate may say of a model."""
Kind = Literal["change", "level"]
Unit = Literal["points", "%", "nats", "perplexity"]
KINDS: dict[Unit, Kind] = {"points": "change", "%": "level", "nats": "change", "perplexity": "level"}
OF_PERPLEXITY: tuple[Unit, ...] = ("nats", "perplexity")
"""Units of data sets that are measured by perplexity; 1/perplexity in points says nothing (of 20 all is 5 points)."""

MEANS = ("speciality", "generality", "fluency")
EACH = {"any suite": "suite", "any task": "task"}
"""Measures that stand for every data set of one role."""
GRAMMAR = (
    "write MEASURE < NUMBER points (a change from the base) or MEASURE < NUMBER % (a level); of perplexities "
    "MEASURE > NUMBER nats (the rise of the loss per token) or MEASURE > NUMBER perplexity (a level)"
)
NATS = "> 0.1 nats"
"""An example; 0.1 nats are 10.5 % of the perplexity."""

_CONDITION = re.compile(
    r"\s*(?P<measure>[^<>=]*?)\s*(?P<sign><=|>=|<|>)\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))\s*(?P<unit>points?|%|nats?|perplexity)\s*",
    re.IGNORECASE,
)
_OR = re.compile(r"\s+or\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Condition:
    """One thing that may not be so.

    Attributes:
        written: as the user wrote it.
        measure: what is compared.
        sign: "<", "<=", ">" or ">=".
        threshold: as a fraction, -0.02 for -2 points; nats and perplexities as they are.
        kind: whether that is a change from the base or a level of the model itself.
        unit: what the number is in.
    """

    written: str
    measure: str
    sign: str
    threshold: float
    kind: Kind
    unit: Unit = "points"

    def holds(self, value: float) -> bool:
        """Whether it is so of a number."""
        below = value <= self.threshold if "=" in self.sign else value < self.threshold
        above = value >= self.threshold if "=" in self.sign else value > self.threshold
        return below if self.sign[0] == "<" else above

    def answer(self, surely_bad: Interval, surely_good: Interval) -> Answer:
        """The answer by intervals: the model fails where the condition holds at both ends.

        Args:
            surely_bad: it fails where all of this one meets the condition.
            surely_good: it passes where none of this one does.
        """
        if self.holds(surely_bad.low) and self.holds(surely_bad.high):
            return "fails"
        if not self.holds(surely_good.low) and not self.holds(surely_good.high):
            return "passes"
        return "cannot be told"

    @property
    def spares_no_change(self) -> bool:
        """Whether a model in which nothing has changed must pass, which a null control can be held to."""
        return self.kind == "change" and not self.holds(0.0)

    @property
    def of_perplexity(self) -> bool:
        """Whether it is on what is measured by perplexity."""
        return self.unit in OF_PERPLEXITY

    def of(self, name: str) -> Condition:
        """The same of one data set, where it is of any."""
        return replace(self, measure=name)


def parse_conditions(expressions: Sequence[str]) -> list[Condition]:
    """The conditions of a gate, in the order written.

    Args:
        expressions: each one condition, or several joined by "or".

    Raises:
        UserError: one that is none, in one line with the grammar.
    """
    return [_parse(part) for expression in expressions for part in _OR.split(expression)]


def _parse(text: str) -> Condition:
    found = _CONDITION.fullmatch(text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " "))
    if found is None or not found["measure"]:
        raise UserError(
            f"--fail-if: {text.strip()!r} is no condition{_why(text)}; {GRAMMAR}, such as "
            f"'generality < -2 points'; measures are {listed([*MEANS, *EACH, 'the name of a task or suite'], 'or')}."
        )
    number, written = float(found["number"]), " ".join(text.split())
    unit = next(unit for unit in KINDS if unit.rstrip("s") == found["unit"].lower().rstrip("s"))
    least, bounds = _BOUNDS[unit]
    if not least <= number <= (math.inf if unit == "perplexity" else 100):
        raise UserError(f"--fail-if: in {written!r} the number lies outside {bounds}.")
    if unit in OF_PERPLEXITY and found["sign"][0] == "<":
        raise UserError(
            f"--fail-if: {written!r} refuses low perplexities, and a loss is a rise: write it with >, as in "
            f"'any suite {NATS}'."
        )
    measure = " ".join(found["measure"].split()).strip("'\"")
    known = measure.lower() if measure.lower() in (*MEANS, *EACH) else measure
    threshold = number if unit in OF_PERPLEXITY else number / 100
    return Condition(written, known, found["sign"], threshold, KINDS[unit], unit)


_BOUNDS: dict[Unit, tuple[float, str]] = {
    "points": (-100, "-100 to 100 points"),
    "%": (0, "0 to 100 %; a change from the base is written in points"),
    "nats": (-100, "-100 to 100 nats"),
    "perplexity": (1, "1 and above, where every perplexity lies; a change is written in nats"),
}


def _why(text: str) -> str:
    """What most likely is wrong with it."""
    if not text.strip():
        return " (it is empty)"
    if not re.search(r"[<>]", text):
        return " (it has no <, <=, > or >=)"
    if re.search(r"[<>]=?\s*[+\-\N{MINUS SIGN}]?[\d.]+\s*$", text):
        return " (its number has no unit)"
    if re.search(r"\band\b|&|,|;", text):
        return " (several are joined by 'or': a model fails by any of them)"
    return ""


def expand(
    conditions: Sequence[Condition], tasks: Sequence[str], suites: Sequence[str], fluent: Collection[str]
) -> list[Condition]:
    """Conditions on data sets and means that there are; those of any suite or task become one for each.

    Args:
        conditions: as parsed.
        tasks, suites: names of what is measured.
        fluent: those of them that are measured by perplexity.

    Raises:
        UserError: a measure that there is not, with those that there are; a unit that is not the measure's; or one of
            "any suite" that nothing judges.
    """
    groups = {
        "speciality": list(tasks),
        "generality": [name for name in suites if name not in fluent],
        "fluency": [name for name in suites if name in fluent],
    }
    by_role = {"task": list(tasks), "suite": list(suites)}
    there = {
        **{measure: bool(names) for measure, names in groups.items()},
        **{measure: bool(by_role[role]) for measure, role in EACH.items()},
        **dict.fromkeys([*tasks, *suites], True),
    }
    found: list[Condition] = []
    for condition in conditions:
        if not there.get(condition.measure, False):
            known = [measure for measure, is_there in there.items() if is_there]
            # A measure that exists lacks its data; another word would be another gate.
            hint = "" if condition.measure in there else closest(condition.measure, known)
            raise UserError(
                f"--fail-if: {condition.measure!r} is not measured here.{hint} Measures "
                f"are {listed(known) if known else 'none'}; name data with --stream and --suite."
            )
        role = EACH.get(condition.measure)
        names = by_role[role] if role else groups.get(condition.measure, [condition.measure])
        fitting = [name for name in names if (name in fluent) == condition.of_perplexity]
        if not fitting or (len(fitting) < len(names) and not role):
            raise UserError(_other_unit(condition, [name for name in names if name not in fitting], "write"))
        found += [condition.of(name) for name in fitting] if role else [condition]
    judged = {name for one in found for name in groups.get(one.measure, [one.measure])}
    for condition in conditions:
        role = EACH.get(condition.measure)
        left = [name for name in by_role[role] if name not in judged] if role else []
        if left:
            raise UserError(_other_unit(condition, left, "add"))
    return found


def _other_unit(condition: Condition, left: Sequence[str], verb: str) -> str:
    """Why a condition says nothing of some data sets, and what would."""
    are, have = ("is", "has") if len(left) == 1 else ("are", "have")
    each = condition.measure if condition.measure in EACH else None
    measure = each or (left[0] if len(left) == 1 else "any suite")
    if condition.measure == "speciality":
        measure = "any task"
    what, how = (
        (f"{have} an accuracy", f"'{measure} < -2 points'")
        if condition.of_perplexity
        else (f"{are} measured by perplexity", f"'{measure} {NATS}' (the rise of the loss per token)")
    )
    return f"--fail-if: {condition.written!r} cannot judge {listed(left)}, which {what}; {verb} {how}."
