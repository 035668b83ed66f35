"""The final table of a sweep on the terminal, as Markdown, CSV and Parquet: one line per method."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.comparison.analysis import Estimate, MethodSummary, SweepSummary
from cl_forget.comparison.measures import Cell, Unit
from cl_forget.ground.files import whole, write_text
from cl_forget.ground.spreadsheet import csv_text
from cl_forget.reporting.numbers import MISSING, SUFFIX, number, with_interval

if TYPE_CHECKING:
    from rich.table import Table

# (column, heading, unit), in the order they are shown; the terminal takes as many as fit.
_COLUMNS: tuple[tuple[str, str, Unit], ...] = (
    ("speciality", "speciality", "percent"),
    ("generality", "generality", "percent"),
    ("retention", "retention", "percent"),
    ("against_plain.speciality", "Δ speciality", "change"),
    ("against_plain.generality", "Δ generality", "change"),
    ("hypervolume", "hypervolume", "percent"),
    ("target_at_retention", "speciality at retention", "percent"),
    ("retention_at_target", "retention at speciality", "percent"),
)


def final_records(summary: SweepSummary) -> list[dict[str, Any]]:
    """One flat record per method with the same keys in all; numbers as stored, missing is None.

    Every estimate has four columns: `<name>.mean`, `.low`, `.high`, `.count`.
    """
    return [_record(method) for method in summary.methods]


def _record(method: MethodSummary) -> dict[str, Any]:
    choice = method.choice
    record: dict[str, Any] = {
        "method": method.method,
        "role": method.role,
        "knob": method.knob,
        "setting": choice.label if choice else None,
        "value": choice.value if choice else None,
        "selection_score": choice.score if choice else None,
        "meets_rule": choice.meets if choice else None,
        "candidates": choice.candidates if choice else 0,
        "on_front": method.on_front,
    }
    for name, estimate in _estimates(method).items():
        record |= {f"{name}.{part}": value for part, value in estimate.model_dump().items()}
    return record | {f"spent.{name}": value for name, value in method.spent.model_dump().items()}


def _estimates(method: MethodSummary) -> dict[str, Estimate]:
    return {
        **method.values,
        **{f"against_plain.{name}": method.against_plain.get(name, Estimate()) for name in method.values},
        "hypervolume": method.hypervolume,
        "target_at_retention": method.target_at_retention,
        "retention_at_target": method.retention_at_target,
    }


def final_table(summary: SweepSummary, width: int | None = None) -> Table:
    """The methods as lines on the terminal; the columns that matter most first, as many as fit.

    Args:
        summary: what `sweep_summary` found.
        width: characters there is room for; by default those of the terminal.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heads, lines = _cells(summary)
    keep = _fitting(heads, lines, width or Console().width)
    table = Table(
        title=Text(f"{summary.sweep}: {_progress(summary)}"),
        caption=Text("\n".join(_caption(summary))),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1),
    )
    for position in keep:
        table.add_column(
            Text(heads[position]), justify="left" if position < 2 else "right", no_wrap=position != 0
        )
    for method, line in zip(summary.methods, lines, strict=True):
        style = "bold green" if method.on_front else "dim" if method.role == "control" else ""
        table.add_row(*(Text(line[position], style=style if position == 0 else "") for position in keep))
    return table


def markdown(summary: SweepSummary) -> str:
    """The final table, what it cost, the protocol and the failures as Markdown."""
    heads, lines = _cells(summary)
    parts = [
        f"# {summary.sweep}",
        _progress(summary) + ".",
        _markdown_table([head.replace("-\n", "-").replace("\n", " ") for head in heads], lines, left=2),
        "\n".join(f"* {line}" for line in _caption(summary)),
        "## What it cost",
        _markdown_table(*_cost_cells(summary), left=1),
        "A fine-tune that several trials of a method share counts once. Passes are forward and backward passes of "
        "the tuned model and passes of frozen ones, in samples. Seconds are those the trials took as they were run.",
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

    records = final_records(summary)
    write_text(
        folder / "final.csv", csv_text(list(records[0]), (list(record.values()) for record in records))
    )
    # A column without a value has no type of its own: it is one of numbers.
    columns = {name: pyarrow.array([record[name] for record in records]) for name in records[0]}
    typed = {k: v.cast(pyarrow.float64()) if pyarrow.types.is_null(v.type) else v for k, v in columns.items()}
    with whole(folder / "final.parquet") as temporary:
        pyarrow.parquet.write_table(pyarrow.table(typed), temporary)
    write_text(folder / "final.md", markdown(summary))
    write_text(folder / "summary.json", summary.model_dump_json(indent=1))
    return [folder / name for name in ("final.csv", "final.parquet", "final.md", "summary.json")]


def _cells(summary: SweepSummary) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of each method as text."""
    columns = [
        (name, _heading(name, title, unit, summary), unit)
        for name, title, unit in _COLUMNS
        if any(_estimates(m).get(name, Estimate()).mean is not None for m in summary.methods)
    ]
    heads = ["method", "setting", *(heading for _, heading, _ in columns), "fine-\ntunes", "passes"]
    lines = []
    for method in summary.methods:
        estimates = _estimates(method)
        cells = [_written(estimates[name], unit) for name, _, unit in columns]
        lines.append([_name(method), _setting(method), *cells, *_spent(method)])
    return heads, lines


def _heading(name: str, title: str, unit: Unit, summary: SweepSummary) -> str:
    if name == "target_at_retention":
        title = f"speciality at {summary.retention_level:.0%} retention"
    if name == "retention_at_target" and summary.target_level is not None:
        title = f"retention at {summary.target_level:.0%} speciality"
    return "\n".join([*title.split(" "), SUFFIX[unit]]) if len(title) > 12 else f"{title}\n{SUFFIX[unit]}"


def _written(estimate: Estimate, unit: Unit) -> str:
    return with_interval(Cell(estimate.mean, estimate.low, estimate.high), unit)


def _name(method: MethodSummary) -> str:
    front = " *" if method.on_front else ""
    return f"{method.method} (control){front}" if method.role == "control" else f"{method.method}{front}"


def _setting(method: MethodSummary) -> str:
    if method.choice is None:
        return "none finished"
    return (method.choice.label or MISSING) + (
        "" if method.choice.meets else " (below the retention asked for)"
    )


def _spent(method: MethodSummary) -> list[str]:
    return [number(method.spent.fine_tunes, "count"), number(method.spent.passes, "count")]


def _fitting(heads: list[str], lines: list[list[str]], width: int) -> list[int]:
    """Positions of the columns that fit; method and setting always do."""
    keep: list[int] = []
    left = width
    for position, head in enumerate(heads):
        widest = max(len(part) for part in [*head.split("\n"), *(line[position] for line in lines)]) + 3
        if position >= 2 and widest > left:
            break
        keep.append(position)
        left -= widest
    return keep


def _progress(summary: SweepSummary) -> str:
    total = sum(summary.status.values())
    return f"{total} trials (" + ", ".join(f"{count} {name}" for name, count in summary.status.items()) + ")"


def _caption(summary: SweepSummary) -> list[str]:
    return [
        "An asterisk marks the Pareto front of (speciality, generality) among the selected settings.",
        *summary.statements,
    ]


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
            ]
        )
    return heads, rows


def _markdown_table(heads: list[str], rows: list[list[str]], left: int) -> str:
    """A Markdown table; the first `left` columns are text, the others numbers."""
    rule = ["---" if position < left else "--:" for position in range(len(heads))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, rule, *rows])
