"""A table as text: CSV to compute with, Markdown to paste."""

from __future__ import annotations

import csv
import io

from cl_forget.reporting.numbers import SUFFIX, with_interval
from cl_forget.reporting.specification import Table


def table_csv(table: Table) -> str:
    """The table as CSV: per measure its mean and the ends of its interval; empty where a value is missing."""
    names = [measure.name for measure in table.measures]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))])
    for method, row in table.rows.items():
        cells = [row[name] for name in names]
        writer.writerow([method, *(value for cell in cells for value in (cell.mean, cell.low, cell.high))])
    return text.getvalue()


def table_markdown(table: Table) -> str:
    """The table for a README, as it is shown everywhere else."""
    headings = ["method", *(f"{m.title} {SUFFIX[m.unit]}".strip() for m in table.measures)]
    lines = [headings, ["---", *("--:" for _ in table.measures)]]
    for method, row in table.rows.items():
        shown = [(with_interval(row[m.name], m.unit), row[m.name].best) for m in table.measures]
        lines.append([method, *(f"**{text}**" if best else text for text, best in shown)])
    body = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    notes = "".join(f"\n* {note}" for note in table.notes)
    return f"{body}\n\n{table.how_to_read}\n{notes and notes + chr(10)}"
