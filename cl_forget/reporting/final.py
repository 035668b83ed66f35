"""The final table of a report with its words: how it is read, and what stands below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cl_forget.comparison.analysis import SweepSummary
from cl_forget.comparison.comparison import Comparison
from cl_forget.comparison.measures import PRETRAINED, Cell, Measure
from cl_forget.comparison.protocols import protocol_table, untouched
from cl_forget.comparison.statistics import estimates
from cl_forget.comparison.table import OURS, FinalTable, table_of_runs, table_of_sweep
from cl_forget.reporting._notes import table_notes
from cl_forget.reporting.numbers import FEW, listed, number
from cl_forget.reporting.specification import Table

BOLD = "Bold is the best of a column."


def run_table(comparison: Comparison) -> Table:
    """Every scalar per method: mean over seeds with its interval, the best of each column marked."""
    found = table_of_runs(comparison)
    control = (
        f"The control, plain fine-tuning, is '{comparison.control}'."
        if comparison.control
        else "No plain fine-tuning is among these runs, so there is no control and no relative time."
    )
    sentences = [
        "Accuracies in %, on test data, after the last task; the first line is the model before any fine-tuning.",
        control,
    ]
    if len(comparison.names) > 1:
        sentences.append(BOLD)
    sentences += how_sure(cell for row in found.rows.values() for cell in row.values())
    return _worded(
        found,
        "Every method in numbers",
        " ".join(sentences),
        table_notes(comparison.results, found.rows),
    )


def sweep_table(summary: SweepSummary) -> Table:
    """Per method the chosen setting, its paired differences, and what its whole curve is worth."""
    found = table_of_sweep(summary)
    sentences = ["Test data, mean over seeds.", BOLD]
    sentences += how_sure(cell for row in found.rows.values() for cell in row.values())
    if any((cell.count or 0) > FEW for row in found.rows.values() for cell in row.values()):
        sentences.append(
            "Differences are paired by seed: above 0 by more than the interval is a gain that chance does not "
            "explain."
        )
    return _worded(
        found,
        "Every method at the setting chosen on validation data",
        " ".join(sentences),
        tuple(summary.statements),
    )


def run_protocol(comparison: Comparison) -> Table | None:
    """The table of the protocol that the runs' stream is, with what was published; None of any other stream."""
    pretrained = [untouched(values, comparison.tasks) for values in comparison.pretrained.values()]
    lines = {PRETRAINED: estimates(dict(enumerate(pretrained)))}
    for name in comparison.names:
        pairs = zip(comparison.results, comparison.values, strict=True)
        lines[name] = estimates({result.seed: values for result, values in pairs if result.method == name})
    stream, sources = comparison.results[0].run.get("stream"), table_of_runs(comparison).sources
    found = protocol_table(stream, comparison.tasks, lines, sources)
    if found is None:
        return None
    sentences = ["Accuracies in %, on test data, as this benchmark is reported."]
    if found.sources:
        sentences.append("Published lines are as printed; they enter no mean, and none is marked best.")
    sentences += how_sure(cell for row in found.table.rows.values() for cell in row.values())
    notes = [f"Published: {source}." for source in found.sources]
    if not found.comparable:
        notes.append("These are stand-ins or a part of the data, so nothing published stands beside them.")
    return _worded(
        found.table, f"As {found.title} is reported", " ".join(sentences), tuple(notes), "protocol"
    )


def how_sure(cells: Iterable[Cell]) -> list[str]:
    """How to read what stands behind the means of a table: intervals, the values of two seeds, errors over items."""
    cells = list(cells)
    found = []
    if any(cell.low is not None and cell.count != FEW for cell in cells):
        found.append("± is the 95 % interval of the mean over seeds.")
    if any(cell.low is not None and cell.count == FEW for cell in cells):
        found.append("Of two seeds both values are given.")
    if any(cell.error is not None for cell in cells):
        found.append("In brackets behind a single seed's number: its standard error over test items.")
    return found


def _worded(
    found: FinalTable, title: str, how_to_read: str, notes: tuple[str, ...], name: str = "results"
) -> Table:
    arms = {arm: row for arm, row in found.rows.items() if found.sources[arm].role in OURS}
    if found.uneven:
        how_to_read = how_to_read.replace(f"{BOLD} ", "").replace(f" {BOLD}", "")
        notes = (other_seeds(found.uneven), *notes)
    else:
        for measure in found.measures:
            _mark_best(measure, arms)
    return Table(name, title, how_to_read, found.measures, found.rows, notes, found.sources)


def other_seeds(uneven: Mapping[str, Sequence[int]]) -> str:
    """That not all arms have the same seeds, and what is not said for it."""
    arms: dict[tuple[int, ...], list[str]] = {}
    for arm, seeds in uneven.items():
        arms.setdefault(tuple(seeds), []).append(arm)
    told = [f"{listed(names)} {_seeds(seeds)}" for seeds, names in list(arms.items())[:3]]
    more = " and others" if len(arms) > 3 else ""
    return (
        f"Not all methods have the same seeds: {'; '.join(told)}{more}. Means over other seeds are another "
        "comparison, so nothing is marked as best or on the front; differences from plain fine-tuning are of the "
        "seeds that both have."
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {listed([str(seed) for seed in seeds])}"


def _mark_best(measure: Measure, rows: dict[str, dict[str, Cell]]) -> None:
    """Mark the best mean of one column, to the digits shown; nothing where all are alike."""
    sign = 1 if measure.better == "higher" else -1
    known = [cell.mean for row in rows.values() if (cell := row[measure.name]).mean is not None]
    # With one method, or with all alike, nothing is best.
    if measure.better is None or len({number(mean, measure.unit) for mean in known}) < 2:
        return
    best = number(max(known, key=lambda mean: sign * mean), measure.unit)
    for row in rows.values():
        cell = row[measure.name]
        row[measure.name] = replace(cell, best=number(cell.mean, measure.unit) == best)
