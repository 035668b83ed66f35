"""The report's specification, built from results: sections, findings, methods, definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cl_forget.comparison.arms import conditions, separate
from cl_forget.comparison.comparison import Comparison, compare
from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.observations import check_comparable, run_name
from cl_forget.comparison.records import Result
from cl_forget.comparison.table import uneven
from cl_forget.ground.redact import redact
from cl_forget.reporting import run_figures as _figures
from cl_forget.reporting._titles import comparison_title
from cl_forget.reporting.final import other_seeds, run_protocol, run_table
from cl_forget.reporting.items import items_of
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
from cl_forget.reporting.training_curves import training_curves
from cl_forget.reporting.verdict_strip import Verdicts, verdicts_of_runs


def specify(
    results: Sequence[Result],
    title: str | None = None,
    folders: Mapping[tuple[str, int], Path] | None = None,
) -> Specification:
    """The report on one or many runs of the same model, stream and suites.

    Args:
        results: one per method and seed, in any order. Runs of one method with different settings become arms
            of their own, named by what differs.
        title: of the page; by default it says what is compared.
        folders: (method, seed) -> where the run lies, to be shown with it; its training curves are read from there.

    Raises:
        UserError: the results cannot be compared; the message says what differs.
    """
    named = separate(results)
    folders = {
        (new.method, new.seed): folders[old.method, old.seed]
        for old, new in zip(results, named, strict=True)
        if folders is not None and (old.method, old.seed) in folders
    }
    check_comparable(named)
    comparison = compare(named)
    table = run_table(comparison)
    figures: dict[str, list[Figure | Table | None]] = {
        "Trade-off": [_figures.tradeoff(comparison)],
        "Results": [table, run_protocol(comparison), _figures.reliability(comparison)],
        "Along the sequence": [
            _figures.retention(comparison),
            _figures.accuracy_matrix(comparison),
            _figures.transfer(comparison),
        ],
        "Training": [training_curves(comparison, folders)],
        "Inside the model": [
            _figures.probes(comparison),
            _figures.drift(comparison),
        ],
        "Cost": [_figures.cost(comparison)],
        "Runs": [_figures.listing(comparison)],
    }
    sections = [
        Section(heading.lower().replace(" ", "-"), heading, tuple(item for item in items if item is not None))
        for heading, items in figures.items()
    ]
    sections = [section for section in sections if section.items]
    verdicts = verdicts_of_runs(comparison)
    return Specification(
        title=title or comparison_title(comparison.names, comparison.control, comparison.tasks),
        subtitle=_subtitle(comparison),
        findings=tuple(_findings(comparison, table, verdicts)),
        methods=tuple(_methods(comparison)),
        sections=tuple(sections),
        runs=tuple(_record(result, folders) for result in comparison.results),
        definitions=definitions_of(sections),
        verdicts=verdicts,
        items=items_of(comparison.results, folders),
    )


def _record(result: Result, folders: Mapping[tuple[str, int], Path]) -> RunRecord:
    folder = folders.get((result.method, result.seed))
    return RunRecord(
        run_name(result),
        result.method,
        result.seed,
        result.run,
        result.environment,
        folder=None if folder is None else str(folder),
        note=redact(read_note(folder)),
    )


def _methods(comparison: Comparison) -> Iterable[Method]:
    styles = method_styles(comparison.names, comparison.control, PRETRAINED)
    for name in (PRETRAINED, *comparison.names):
        style = styles[name]
        role = {PRETRAINED: "reference", comparison.control: "control"}.get(name, "method")
        yield Method(name, role, comparison.seeds(name), style.color, style.color_dark, style.symbol)  # type: ignore[arg-type]


def _subtitle(comparison: Comparison) -> str:
    seeds = sorted({result.seed for result in comparison.results})
    count = f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
    methods = f"{len(comparison.names)} methods" if len(comparison.names) > 1 else "1 method"
    return f"{comparison.results[0].model} · {' → '.join(comparison.tasks)} · {methods} · {count}"


def _findings(comparison: Comparison, table: Table, verdicts: Verdicts | None) -> Iterable[str]:
    """The comparison in sentences; each only if its numbers are known."""

    def shown(method: str, name: str) -> str:
        return f"{number(table.rows[method][name].mean, 'percent')}\N{NO-BREAK SPACE}%"

    def mean(method: str, name: str) -> float | None:
        return table.rows[method][name].mean

    control, both = comparison.control, ("speciality", "generality")
    if other := uneven({name: comparison.seeds(name) for name in comparison.names}):
        yield other_seeds(other)
    rated = [name for name in comparison.names if None not in [mean(name, key) for key in both]]
    if control in rated and mean(PRETRAINED, "generality") is not None:
        moves = [(key, shown(PRETRAINED, key), shown(control, key)) for key in both]
        moved = [f"takes {key} from {before} to {after}" for key, before, after in moves if before != after]
        left = [f"leaves {key} at {before}" for key, before, after in moves if before == after]
        told = (
            f"{moved[0]} and {moved[1].removeprefix('takes ')}"
            if len(moved) == 2
            else listed([*moved, *left])
        )
        yield f"Plain fine-tuning {told}."
    if control in rated and mean(PRETRAINED, "generality") is not None and not other:
        floor = (mean(control, "speciality") or 0) - 0.01
        equal = [name for name in rated if name != control and (mean(name, "speciality") or 0) >= floor]
        # A model that was not changed forgets nothing: that is worth saying, but it compares no two cures.
        still = [name for name in equal if name in comparison.unchanged]
        for name in still:
            yield (
                f"{name[0].upper()}{name[1:]} leaves the model as it was and trains only heads on it: no generality "
                f"is lost, at {shown(name, 'speciality')} speciality."
            )
        changed = [name for name in equal if name not in still]
        if changed:
            best = max(changed, key=lambda name: mean(name, "generality") or 0)
            among = "methods that change the model and end" if still else "methods"
            yield (
                f"Of the {among} at most a point below plain fine-tuning's speciality, {best} keeps the most "
                f"generality: {shown(best, 'generality')}, at {shown(best, 'speciality')} speciality."
            )
        elif not still and len(rated) > 1:
            yield "Every other method ends more than a point below plain fine-tuning's speciality."
    yield from conditions(comparison.results)
    if verdicts is None:  # which say themselves what so many seeds can show
        yield from _caution(sorted({len(comparison.seeds(name)) for name in comparison.names}))


def _caution(counts: Sequence[int]) -> Iterable[str]:
    """What so many seeds per method can show, from the fewest to the most."""
    fewest, most = counts[0], counts[-1]
    if most == 1:
        yield "One seed cannot tell a difference from chance: read these numbers as impressions."
    elif fewest < 5:
        seeds = f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds per method"
        yield f"{seeds} give numbers, not proof: five or more are needed to claim a difference."
