"""The final table of a report with its words: how it is read, and what stands below it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cl_forget.comparison.analysis import SweepSummary
from cl_forget.comparison.comparison import Comparison
from cl_forget.comparison.measures import PRETRAINED, Cell, Measure
from cl_forget.comparison.table import FinalTable, table_of_runs, table_of_sweep
from cl_forget.reporting._notes import table_notes
from cl_forget.reporting.numbers import FEW, number
from cl_forget.reporting.specification import Table


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
        sentences.append("Bold is the best of a column.")
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
    sentences = ["Test data, mean over seeds.", "Bold is the best of a column."]
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


def _worded(found: FinalTable, title: str, how_to_read: str, notes: tuple[str, ...]) -> Table:
    arms = {name: row for name, row in found.rows.items() if name != PRETRAINED}
    for measure in found.measures:
        _mark_best(measure, arms)
    return Table("results", title, how_to_read, found.measures, found.rows, notes, found.sources)


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
