"""Which arms are better than the control: a sentence, a strip on the page, a short table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cl_forget.comparison.comparison import Comparison
from cl_forget.comparison.measures import Cell
from cl_forget.comparison.standings import MARGIN, AgainstControl, Word, standings, word
from cl_forget.comparison.statistics import Estimate
from cl_forget.comparison.trials_view import SweepView
from cl_forget.comparison.verdicts import FEWEST, Judged
from cl_forget.reporting.numbers import MISSING, compact, listed

SIGNS: dict[Word, str] = {"better": "▲", "equivalent": "=", "worse": "▼", "undecided": "?"}

DEFINITION = (
    "By the differences from the control, paired by seed. Better: their 95 % interval lies above 0 and their mean is "
    "larger than the margin; worse: the same below 0. Equivalent: two one-sided tests place the mean within the "
    f"margin (TOST, 5 %). Undecided: anything else, and whatever has fewer than {FEWEST} seeds. Each verdict is "
    "taken by itself, so that of twenty one may be chance."
)


@dataclass(frozen=True)
class Verdicts:
    """Each arm against the control.

    Attributes:
        control: the arm that all are compared with.
        margin: the difference that does not matter, a fraction.
        standings: the other arms, in the order shown.
    """

    control: str
    margin: float
    standings: tuple[AgainstControl, ...]

    @property
    def seeds(self) -> int:
        """The most seeds that an arm shares with the control."""
        return max(one.seeds for one in self.standings)

    @property
    def sentence(self) -> str:
        """What a person would say."""
        if self.seeds < 2:
            return (
                "One seed: nothing can be told."
                if self.seeds
                else f"No seed in common with {self.control}: nothing can be told."
            )
        decided = [one for one in self.standings if set(one.words) & {"better", "equivalent", "worse"}]
        if not decided:
            cure = (
                f": {FEWEST} or more are needed"
                if self.seeds < FEWEST
                else ", neither a difference nor that there is none"
            )
            return f"Against {self.control}, {self.seeds} seeds decide nothing{cure}."
        groups: dict[tuple[Word | None, Word | None], list[str]] = {}
        for one in decided:
            groups.setdefault(one.words, []).append(one.method)
        parts = [
            _said(names, *words)
            for words, names in sorted(groups.items(), key=lambda group: -_rank(group[0]))
        ]
        open_ = [one.method for one in self.standings if one not in decided]
        parts += [f"nothing is decided of {listed(open_)}"] if open_ else []
        return f"Against {self.control}, {'; '.join(parts)}."

    @property
    def basis(self) -> str:
        """What the verdicts rest on, in a few words."""
        counts = sorted({one.seeds for one in self.standings})
        seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        plural = "seed" if counts == [1] else "seeds"
        points = f"{100 * self.margin:g}"
        margin = f"margin {points} {'point' if points == '1' else 'points'}"
        return (
            f"{seeds} {plural}, paired{'' if counts == [1] else ', not adjusted for their number'}; {margin}"
        )


def verdicts_of_runs(comparison: Comparison) -> Verdicts | None:
    """Of finished runs; None without a control, or without another arm."""
    values: dict[str, dict[int, Mapping[str, float | None]]] = {}
    for result, own in zip(comparison.results, comparison.values, strict=True):
        values.setdefault(result.method, {})[result.seed] = own
    return _verdicts(values, comparison.control)


def verdicts_of_sweep(view: SweepView) -> Verdicts | None:
    """Of a sweep's chosen settings, likewise."""
    values = {
        method: {trial.seed: view.values[trial.id] for trial in trials}
        for method, trials in view.reported.items()
    }
    return _verdicts(values, view.summary.control)


def _verdicts(
    values: Mapping[str, Mapping[int, Mapping[str, float | None]]], control: str | None
) -> Verdicts | None:
    found = standings(values, control)
    return Verdicts(control, MARGIN, found) if control is not None and found else None


def effect(judged: Judged | None) -> str:
    """The mean difference with its interval, in percentage points: `+2.1 ± 0.4`; of two seeds
    both, `+1.8 to +2.4`; a dash where it is not known."""
    if judged is None or judged.effect is None:
        return MISSING
    shown = Estimate(mean=judged.effect, low=judged.low, high=judged.high, count=judged.seeds).shown()
    return compact(Cell(shown.mean, shown.low, shown.high, count=shown.count), "change")


def verdicts_markdown(verdicts: Verdicts | None) -> str:
    """The sentence and a short table; empty where there is nothing to compare."""
    if verdicts is None:
        return ""
    said = f"\n**{verdicts.sentence}** ({verdicts.basis}.)\n"
    if verdicts.seeds < 2:
        return said
    lines = [f"| against {verdicts.control} | seeds | speciality | generality |", "|---|--:|---|---|"]
    for one in verdicts.standings:
        cells = [
            one.method.replace("|", "\\|"),
            str(one.seeds),
            *(_short(judged) for judged in (one.speciality, one.generality)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return said + "\n" + "\n".join(lines) + "\n"


def strip(verdicts: Verdicts) -> list[dict[str, Any]]:
    """What the page shows: per arm its name, seeds, and for both measures the word, its sign and the difference."""
    return [
        {
            "method": one.method,
            "seeds": one.seeds,
            "verdicts": [
                {
                    "measure": name,
                    "word": word(judged),
                    "sign": SIGNS[found],
                    "effect": effect(judged),
                    "reason": judged.reason or "",
                }
                for name, judged in (("speciality", one.speciality), ("generality", one.generality))
                if judged is not None and (found := word(judged)) is not None
            ],
        }
        for one in verdicts.standings
    ]


def _short(judged: Judged | None) -> str:
    found = word(judged)
    return MISSING if found is None else f"{found} ({effect(judged)})"


def _rank(words: Sequence[Word | None]) -> int:
    """The better on both, the earlier it is named; generality breaks ties."""
    worth: dict[Word | None, int] = {"better": 6, "equivalent": 4, "undecided": 3, None: 3, "worse": 0}
    speciality, generality = words
    return 2 * worth[speciality] + 2 * worth[generality] + (generality == "better")


def _said(names: Sequence[str], speciality: Word | None, generality: Word | None) -> str:
    """`LDIFS and SAM keep more generality and learn as much`."""
    s, it = ("s", "it") if len(names) == 1 else ("", "they")
    much: dict[Word | None, str] = {"better": "more", "equivalent": "as much", "worse": "less"}
    kept = f"keep{s} {much[generality]} generality" if generality in much else ""
    learned = f"learn{s} {much[speciality]}" if speciality in much else ""
    if kept and learned:
        joined = f"{kept} {'and' if _agree(speciality, generality) else 'but'} {learned}"
    elif kept:
        joined = kept if speciality is None else f"{kept} (what {it} learn{s} is undecided)"
    else:
        joined = learned if generality is None else f"{learned} (what {it} keep{s} is undecided)"
    return f"{listed(list(names))} {joined}"


def _agree(speciality: Word | None, generality: Word | None) -> bool:
    return {speciality, generality} != {"better", "worse"} and (speciality, generality) != (
        "worse",
        "equivalent",
    )
