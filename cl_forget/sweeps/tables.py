"""The final table of a sweep on the terminal, as Markdown, CSV and Parquet: one line per method."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.comparison.analysis import SweepSummary
from cl_forget.ground.files import whole, write_text
from cl_forget.reporting.final import sweep_table
from cl_forget.reporting.numbers import MISSING, number
from cl_forget.reporting.tables import front_note, table_csv, table_markdown, table_records
from cl_forget.reporting.terminal.table import draw_table

if TYPE_CHECKING:
    from rich.table import Table as RichTable


def final_table(summary: SweepSummary, width: int | None = None) -> RichTable:
    """The final table on the terminal, as many columns as fit.

    Args:
        summary: what `sweep_summary` found.
        width: characters there is room for; by default those of the terminal.
    """
    return draw_table(sweep_table(summary), f"{summary.sweep}: {_progress(summary)}", width)


def markdown(summary: SweepSummary) -> str:
    """The final table, what it cost, the protocol and the failures as Markdown."""
    table = sweep_table(summary)
    front = front_note(table)
    parts = [
        f"# {summary.sweep}",
        _progress(summary) + ".",
        table_markdown(table, labelled=True).strip() + (f"\n* {front}" if front else ""),
        "## What it cost",
        _markdown_table(*_cost_cells(summary), left=1),
        "A fine-tune that several trials of a method share counts once. Passes are forward and backward passes of "
        "the tuned model and passes of frozen ones, in samples. Seconds are those the trials took as they were run. "
        "Steps done again are those after the last checkpoint of a process or machine that died; the passes do not "
        "count them.",
    ]
    if summary.failures:
        rows = [
            [f.method, f.setting or MISSING, str(f.seed), f.status, f.reason or MISSING]
            for f in summary.failures
        ]
        parts += [
            "## Not finished",
            _markdown_table(["method", "setting", "seed", "status", "reason"], rows, 5),
        ]
    return "\n\n".join(parts) + "\n"


def failure_lines(summary: SweepSummary, most: int = 3) -> list[str]:
    """The reasons that trials did not finish for, each with how many there were, the most frequent first."""
    unwanted = [f for f in summary.failures if f.status != "pruned"]
    counts = Counter((f.status.replace("_", " "), f.reason or "no reason is known") for f in unwanted)
    lines = [f"{count} {status}: {reason}" for (status, reason), count in counts.most_common(most)]
    more = len(counts) - most
    return [*lines, f"{more} more reasons are in trials.csv"] if more > 0 else lines


def write_summary(summary: SweepSummary, folder: Path) -> list[Path]:
    """Write `final.csv`, `final.parquet`, `final.md` and `summary.json`, each whole; returns all four."""
    import pyarrow
    import pyarrow.parquet

    table = sweep_table(summary)
    records = table_records(table)
    write_text(folder / "final.csv", table_csv(table))
    # A column without a value has no type of its own: it is one of numbers.
    columns = {name: pyarrow.array([record[name] for record in records]) for name in records[0]}
    typed = {k: v.cast(pyarrow.float64()) if pyarrow.types.is_null(v.type) else v for k, v in columns.items()}
    with whole(folder / "final.parquet") as temporary:
        pyarrow.parquet.write_table(pyarrow.table(typed), temporary)
    write_text(folder / "final.md", markdown(summary))
    write_text(folder / "summary.json", summary.model_dump_json(indent=1))
    return [folder / name for name in ("final.csv", "final.parquet", "final.md", "summary.json")]


def _progress(summary: SweepSummary) -> str:
    total = sum(summary.status.values())
    return f"{total} trials (" + ", ".join(f"{count} {name}" for name, count in summary.status.items()) + ")"


def _cost_cells(summary: SweepSummary) -> tuple[list[str], list[list[str]]]:
    heads = [
        "method",
        "settings",
        "chosen among",
        "trials",
        "finished",
        "fine-tunes",
        "samples",
        "passes",
        "seconds",
        "steps done again",
    ]
    rows = []
    for method in summary.methods:
        cost = method.spent
        counts = [cost.settings, method.choice.candidates if method.choice else 0, cost.trials, cost.finished]
        rows.append(
            [
                method.method,
                *(str(count) for count in counts),
                str(cost.fine_tunes),
                number(cost.samples, "count"),
                number(cost.passes, "count"),
                number(cost.seconds, "seconds"),
                number(cost.redone_steps, "count"),
            ]
        )
    return heads, rows


def _markdown_table(heads: list[str], rows: list[list[str]], left: int) -> str:
    """A Markdown table; the first `left` columns are text, the others numbers."""
    rule = ["---" if position < left else "--:" for position in range(len(heads))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, rule, *rows])
