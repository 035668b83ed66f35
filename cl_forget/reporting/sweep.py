"""The report on a sweep: every trial, folded over seeds, as a specification."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.comparison.comparison import compare
from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.records import Result
from cl_forget.comparison.table import uneven
from cl_forget.comparison.trials_view import SweepView, check_trials, trial_folder
from cl_forget.ground.redact import redact
from cl_forget.reporting import search_figures as _search_figures
from cl_forget.reporting import sweep_figures as _sweep_figures
from cl_forget.reporting._titles import comparison_title
from cl_forget.reporting.final import other_seeds, run_protocol, sweep_table
from cl_forget.reporting.items import items_of
from cl_forget.reporting.law_figure import law
from cl_forget.reporting.ledger import ledger
from cl_forget.reporting.notes import read_note
from cl_forget.reporting.numbers import listed, number
from cl_forget.reporting.specification import (
    Figure,
    Method,
    RunRecord,
    Section,
    Specification,
    Table,
    definitions_of,
)
from cl_forget.reporting.styles import method_styles
from cl_forget.reporting.verdict_strip import verdicts_of_sweep

if TYPE_CHECKING:
    from cl_forget.comparison.analysis import MethodSummary, SweepSummary
    from cl_forget.comparison.trials import Trial


def specify_sweep(
    trials: Sequence[Trial],
    summary: SweepSummary | None = None,
    title: str | None = None,
    folders: Mapping[str, Path] | None = None,
) -> Specification:
    """The report on one sweep, finished or not, or on several of the same model, stream and suites.

    Args:
        trials: its records.
        summary: what `sweep_summary` finds in them; by default found here.
        title: of the page; by default it says what is compared.
        folders: sweep -> its folder: the chosen trials' results are read from it for the figures along the
            stream, and it is shown with each trial; None leaves both out.

    Raises:
        UserError: there are no trials, or they cannot be compared; the message says what differs.
    """
    from cl_forget.comparison.analysis import sweep_summary

    check_trials(trials)
    view = SweepView(trials, summary or sweep_summary(trials))
    results = view.chosen_results(folders or {})
    studies = _search_figures.studies_of(view)
    sections: dict[str, list[Figure | Table | None]] = {
        "Trade-off": [_sweep_figures.tradeoff(view), law(view)],
        "Results": [
            sweep_table(view.summary),
            run_protocol(compare(results)) if results else None,
            _search_figures.performance(view),
        ],
        "Knobs": [
            _search_figures.importance(view, studies),
            _sweep_figures.knobs(view),
            _search_figures.slices(view, studies),
            _search_figures.pairs(view, studies),
            _sweep_figures.parallel(view),
        ],
        **_sweep_figures.along(results, view.chosen_folders(folders or {})),
        "The search": [
            _search_figures.history(view),
            _search_figures.hypervolume(view),
            _search_figures.lanes(view),
            _sweep_figures.cost(view),
        ],
        "Claims": [ledger(trials, folders or {})],
        "Trials": [_sweep_figures.failures(view), _sweep_figures.listing(view)],
    }
    kept = [
        Section(heading.lower().replace(" ", "-"), heading, tuple(item for item in items if item is not None))
        for heading, items in sections.items()
    ]
    kept = [section for section in kept if section.items]
    return Specification(
        title=title or comparison_title(view.names, view.summary.control, view.summary.tasks),
        subtitle=_subtitle(view, results),
        findings=tuple(_findings(view)),
        methods=tuple(_methods(view)),
        sections=tuple(kept),
        runs=tuple(_record(trial, folders or {}) for trial in view.shown),
        definitions=definitions_of(kept),
        verdicts=verdicts_of_sweep(view),
        items=items_of(results, view.chosen_folders(folders or {})) if results else None,
    )


def _methods(view: SweepView) -> Iterable[Method]:
    control = view.summary.control
    styles = method_styles(view.names, control, PRETRAINED)
    for name in (PRETRAINED, *view.names):
        style = styles[name]
        role = {PRETRAINED: "reference", control: "control"}.get(name, "method")
        own = [trial for trial in view.trials if trial.method == name]
        shown = [trial for trial in own if trial.role == "report"] or own
        seeds = tuple(sorted({trial.seed for trial in shown}))
        yield Method(name, role, seeds, style.color, style.color_dark, style.symbol)  # type: ignore[arg-type]


def _record(trial: Trial, folders: Mapping[str, Path]) -> RunRecord:
    place = trial_folder(trial, folders)
    environment = {} if place is None else {"command": f"cl-forget run {place / 'config.yaml'}"}
    return RunRecord(
        name=trial.id,
        method=trial.method,
        seed=trial.seed,
        configuration={"mitigations": trial.mitigations, **trial.config, "seed": trial.seed},
        environment=environment,
        knob=trial.knob,
        setting=trial.value,
        status=trial.status,
        reason=trial.reason,
        folder=None if place is None else str(place),
        note=redact(read_note(place)),
    )


def _subtitle(view: SweepView, results: Sequence[Result]) -> str:
    status = view.summary.status
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in status.items())
    about = f"{results[0].model} · {' → '.join(results[0].tasks)} · " if results else ""
    methods = "1 method" if len(view.names) == 1 else f"{len(view.names)} methods"
    return f"sweep {view.summary.sweep} · {about}{methods} · {len(view.trials):,} trials: {counts}"


def _findings(view: SweepView) -> Iterable[str]:
    """The comparison in sentences; each only if its numbers are known."""
    summary, whole = view.summary, len(view.shown) == len(view.trials)

    def percent(value: float | None) -> str:
        return f"{number(value, 'percent')}\N{NO-BREAK SPACE}%"

    reached = [m for m in summary.methods if m.target_at_retention.mean is not None]
    if reached:
        best = max(reached, key=lambda m: m.target_at_retention.mean or 0)
        yield (
            f"Where {100 * summary.retention_level:.0f}\N{NO-BREAK SPACE}% of the generality is kept, {best.method} "
            f"reaches the highest speciality: {percent(best.target_at_retention.mean)}."
        )
    front = [m.method for m in summary.methods if m.on_front]
    if other := uneven({m.method: m.runs for m in summary.methods}):
        yield other_seeds(other)
    elif front:
        yield (
            f"With the settings chosen on validation data, no method is better on both than {listed(front, 'or')} "
            "(the Pareto front)."
        )
    better = [m for m in summary.methods if _clearly_better(m)]
    if better:
        yield (
            f"More generality than plain fine-tuning, beyond the 95 % interval over paired seeds: "
            f"{listed([m.method for m in better])}."
        )
    open_ = summary.status.get("planned", 0) + summary.status.get("running", 0)
    if open_:
        yield f"The sweep is under way: {open_:,} of {len(view.trials):,} trials are still to come."
    if summary.failures:
        count = len(summary.failures)
        said = "each is listed below with its reason" if whole else "their reasons are below"
        yield (
            f"{count:,} trials did not finish; {said}."
            if count > 1
            else "One trial did not finish; it is listed below with its reason."
        )
    if not whole:
        yield (
            f"Figures and lists show {len(view.shown):,} of {len(view.trials):,} trials one by one: whole "
            "settings, the chosen ones and those on the front before others, evenly along each knob. Tables, "
            "choices, totals and reasons are of all trials."
        )


def _clearly_better(method: MethodSummary) -> bool:
    difference = method.against_plain.get("generality")
    return difference is not None and difference.low is not None and difference.low > 0
