"""The final table: one line per arm, the same columns for runs and for sweeps, and what stands behind each line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cl_forget.comparison.analysis import MethodSummary, SweepSummary
from cl_forget.comparison.comparison import Comparison
from cl_forget.comparison.item_errors import item_errors
from cl_forget.comparison.measures import PRETRAINED, Cell, Measure
from cl_forget.comparison.observations import Values, headline_measures, run_name
from cl_forget.comparison.statistics import Estimate, differences, estimates
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.evaluation.metrics import pareto_front

Role = Literal["reference", "control", "method", "published"]

AGAINST = {"speciality": "Δ speciality", "generality": "Δ generality"}
"""The quantities that are compared with plain fine-tuning in the table -> their headings."""

SEARCH = (
    Measure(
        "fine_tunes", "Fine-tunes", "count", "trainings the trials needed between them", "lower", "Search"
    ),
    Measure(
        "passes",
        "Passes",
        "count",
        "forward, backward and frozen passes of those trainings, in samples",
        "lower",
        "Search",
    ),
)
"""What tuning a method has cost; a training that several of its trials share counts once."""


@dataclass(frozen=True)
class Source:
    """What one line of the table is computed from.

    Attributes:
        role: "control" is plain fine-tuning, "reference" the pre-trained model, "published" a line of a paper.
        runs: seed -> name of the run, or id of the trial.
        setting: the setting that was chosen; None where there was no choice to make.
        on_front: whether no other arm is at least as good in speciality and generality, and better in one.
        facts: what else is known of the line, for files that are computed with.
    """

    role: Role = "method"
    runs: Mapping[int, str] = field(default_factory=dict)
    setting: str | None = None
    on_front: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FinalTable:
    """The numbers of a final table.

    Attributes:
        measures: its columns; only quantities that some line has.
        rows: arm -> quantity -> cell, the pre-trained model first, then the control.
        sources: arm -> what the line is computed from.
    """

    measures: tuple[Measure, ...]
    rows: dict[str, dict[str, Cell]]
    sources: dict[str, Source]

    @property
    def uneven(self) -> dict[str, tuple[int, ...]]:
        """Arm -> its seeds, where not all arms that have runs have the same; else empty."""
        return uneven({name: source.runs for name, source in self.sources.items() if source.role in OURS})


OURS = ("control", "method")
"""Roles of lines that were run here, and are compared."""


def uneven(runs: Mapping[str, Iterable[int]]) -> dict[str, tuple[int, ...]]:
    """Arm -> its seeds, where not all arms that have any have the same; else empty.

    Means over other seeds are another comparison: of such arms none is the best, and none on the front.
    """
    seeds = {arm: tuple(sorted(of)) for arm, of in runs.items()}
    seeds = {arm: of for arm, of in seeds.items() if of}
    return seeds if len(set(seeds.values())) > 1 else {}


def table_of_runs(comparison: Comparison) -> FinalTable:
    """The table of runs: every arm over its seeds."""
    by_arm: dict[str, dict[int, Values]] = {}
    runs: dict[str, dict[int, str]] = {}
    for result, values in zip(comparison.results, comparison.values, strict=True):
        by_arm.setdefault(result.method, {})[result.seed] = values
        runs.setdefault(result.method, {})[result.seed] = run_name(result)
    lines = {name: estimates(by_seed) for name, by_seed in by_arm.items()}
    for name, by_seed in by_arm.items():
        if comparison.control not in (None, name):
            lines[name] |= _against(differences(by_seed, by_arm[str(comparison.control)], AGAINST))
    front = set() if uneven(runs) else _front(lines)
    sources = {
        name: Source(
            "control" if name == comparison.control else "method", runs[name], on_front=name in front
        )
        for name in lines
    }
    pretrained = estimates(dict(enumerate(comparison.pretrained.values())))
    single = {r.method: item_errors(r) for r in comparison.results if len(by_arm[r.method]) == 1}
    if len(comparison.pretrained) == 1:
        single[PRETRAINED] = item_errors(comparison.results[0], row=0)
    columns = _columns(comparison.tasks, comparison.suites)
    return _table(columns, pretrained, lines, sources, single)


def table_of_sweep(summary: SweepSummary) -> FinalTable:
    """The table of a sweep: every method at the setting chosen on validation data, and what its curve is worth."""
    lines = {method.method: _line(method) for method in summary.methods}
    alike = not uneven({method.method: method.runs for method in summary.methods})
    sources = {
        method.method: Source(
            method.role, method.runs, _setting(method), method.on_front and alike, _facts(method)
        )
        for method in summary.methods
    }
    known = dict(zip(("speciality", "generality"), summary.pretrained or (), strict=False))
    if known.get("generality"):
        known["retention"] = 1.0
    pretrained = {name: Estimate(mean=value, count=1) for name, value in known.items()}
    columns = (*_columns(summary.tasks, summary.suites), *_whole_curve(summary), *SEARCH)
    return _table(columns, pretrained, lines, sources, {m.method: m.errors for m in summary.methods})


def _line(method: MethodSummary) -> dict[str, Estimate]:
    spent = {measure.name: Estimate(mean=getattr(method.spent, measure.name), count=1) for measure in SEARCH}
    curve = {
        name: getattr(method, name) for name in ("hypervolume", "target_at_retention", "retention_at_target")
    }
    return {**method.values, **_against(method.against_plain), **curve, **spent}


def _setting(method: MethodSummary) -> str:
    if method.choice is None:
        return "none finished"
    remarks = [] if method.choice.meets else ["below the retention asked for"]
    if not method.choice.learns:
        remarks.append("no better than before")
    return f"{method.choice.label} ({', '.join(remarks)})".strip() if remarks else method.choice.label


def _facts(method: MethodSummary) -> dict[str, Any]:
    choice = method.choice
    return {
        "knob": method.knob,
        "value": choice.value if choice else None,
        "selection_score": choice.score if choice else None,
        "meets_rule": choice.meets if choice else None,
        "candidates": choice.candidates if choice else 0,
        **{f"spent_{name}": value for name, value in method.spent.model_dump().items()},
    }


def _table(
    columns: Sequence[Measure],
    pretrained: Mapping[str, Estimate],
    lines: Mapping[str, Mapping[str, Estimate]],
    sources: dict[str, Source],
    errors: Mapping[str, Mapping[str, float]] | None = None,
) -> FinalTable:
    known_errors = errors or {}
    rows = {
        name: {
            m.name: _cell(of_arm.get(m.name, Estimate()), known_errors.get(name, {}).get(m.name))
            for m in columns
        }
        for name, of_arm in {PRETRAINED: pretrained, **lines}.items()
    }
    known = tuple(m for m in columns if any(row[m.name].mean is not None for row in rows.values()))
    return FinalTable(known, rows, {PRETRAINED: Source("reference"), **sources})


def _cell(estimate: Estimate, error: float | None = None) -> Cell:
    shown = estimate.shown()
    return Cell(shown.mean, shown.low, shown.high, count=shown.count, error=error)


def _front(lines: Mapping[str, Mapping[str, Estimate]]) -> set[str]:
    """The arms on the Pareto front of speciality and generality; none where either was not measured."""
    known: dict[str, tuple[float, float]] = {}
    for name, of_arm in lines.items():
        x, y = (of_arm.get(axis, Estimate()).mean for axis in ("speciality", "generality"))
        if x is not None and y is not None:
            known[name] = (x, y)
    names = list(known)
    return {names[k] for k in pareto_front(list(known.values()))} if known else set()


def _against(found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    return {f"against:{name}": found[name] for name in AGAINST if name in found}


def _columns(tasks: Sequence[str], suites: Sequence[str]) -> tuple[Measure, ...]:
    """What runs and sweeps have in common."""
    return (*headline_measures(tasks, suites), *against_control())


def against_control() -> tuple[Measure, ...]:
    """The columns of differences from plain fine-tuning."""
    return tuple(
        Measure(
            f"against:{name}",
            title,
            "change",
            f"{DEFINITIONS['paired_difference']}; from plain fine-tuning, of: {DEFINITIONS[name]}",
            "higher",
            "Against plain fine-tuning",
        )
        for name, title in AGAINST.items()
    )


def _whole_curve(summary: SweepSummary) -> Iterable[Measure]:
    target = "–" if summary.target_level is None else f"{summary.target_level:.0%}"
    for name, title, definition in (
        ("hypervolume", "Hypervolume", "hypervolume"),
        (
            "target_at_retention",
            f"Speciality at {summary.retention_level:.0%} retention",
            "target_at_equal_retention",
        ),
        ("retention_at_target", f"Retention at {target} speciality", "retention_at_equal_target"),
    ):
        yield Measure(name, title, "percent", DEFINITIONS[definition], "higher", "Whole curve")
