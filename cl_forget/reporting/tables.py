"""A table as text: CSV to compute with, Markdown to paste."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from cl_forget.comparison.measures import Measure
from cl_forget.comparison.table import Source
from cl_forget.ground.spreadsheet import csv_text
from cl_forget.reporting.numbers import MISSING, SUFFIX, with_interval
from cl_forget.reporting.specification import Table


def table_records(table: Table) -> list[dict[str, Any]]:
    """One flat record per line with the same keys in all; numbers as stored, missing is None.

    `method`; `role`, `setting`, `seeds` and `runs` (names, or ids of trials) where they are known; per measure its
    mean `<name>`, the ends of its interval `<name>_low` and `<name>_high` (of two seeds their values), and
    `<name>_count`, how many seeds have it; `<name>_error`, a single seed's standard error over items, where the table
    has any; then what else is known of the line.
    """
    single = any(cell.error is not None for row in table.rows.values() for cell in row.values())
    ends = ("", "_low", "_high", "_count", *(["_error"] if single else []))
    facts = dict.fromkeys(name for source in table.sources.values() for name in source.facts)
    return [
        {
            "method": method,
            **_said(table, method),
            **{
                f"{measure.name}{end}": value
                for measure in table.measures
                for cell in (row[measure.name],)
                for end, value in zip(
                    ends, (cell.mean, cell.low, cell.high, cell.count, cell.error)[: len(ends)], strict=True
                )
            },
            **{name: table.sources[method].facts.get(name) for name in facts},
        }
        for method, row in table.rows.items()
    ]


def _said(table: Table, method: str) -> dict[str, Any]:
    if method not in table.sources:
        return {}
    source = table.sources[method]
    setting = {"setting": source.setting} if table.has_settings else {}
    runs = {"seeds": list(source.runs), "runs": list(source.runs.values())}
    return {"role": source.role, **setting, "on_front": source.on_front, **runs}


def table_csv(table: Table) -> str:
    """`table_records` as CSV; empty where a value is missing, several in one cell with a semicolon between."""
    records = table_records(table)

    def cell(value: Any) -> Any:
        return "; ".join(map(str, value)) if isinstance(value, list) else value

    return csv_text(list(records[0]), ([cell(value) for value in record.values()] for record in records))


def arm_label(table: Table, method: str) -> str:
    """A line's name where there is no other place to say that it is the control (named so) or on the front (*)."""
    source = table.sources.get(method, Source())
    control = " (control)" if source.role == "control" else ""
    return f"{method}{control}{' *' if source.on_front else ''}"


def front_note(table: Table) -> str | None:
    """What the asterisk of `arm_label` means; None where nothing bears one."""
    if not any(source.on_front for source in table.sources.values()):
        return None
    among = "the selected settings" if table.has_settings else "the methods"
    return f"An asterisk marks the Pareto front of (speciality, generality) among {among}."


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "±": r"$\pm$", "–": "--", "×": r"$\times$",
    "Δ": r"$\Delta$", "θ": r"$\theta$", "α": r"$\alpha$", "→": r"$\rightarrow$", "≥": r"$\geq$", "≤": r"$\leq$",
    "‖": r"$\Vert$",
}  # fmt: skip


PAPER_COLUMNS = 7
"""Columns of a table in print, names and settings included: more cannot be read at the width of a page."""

FOR_PAPER = (
    "speciality", "generality", "against:speciality", "against:generality", "retention", "bwt", "perplexity_rise",
    "hypervolume", "target_at_retention", "delta_lp", "relative_cost", "passes",
)  # fmt: skip
"""The columns that a paper needs first; the rest follow in the order of the table."""


def paper_measures(table: Table) -> tuple[Measure, ...]:
    """The columns of a table in print, in its order: at most `PAPER_COLUMNS` with those of text."""
    room = PAPER_COLUMNS - 1 - table.has_settings
    rank = {name: k for k, name in enumerate(FOR_PAPER)}
    chosen = sorted(table.measures, key=lambda measure: rank.get(measure.name, len(rank)))[:room]
    return tuple(measure for measure in table.measures if measure in chosen)


def table_latex(table: Table) -> str:
    """The table for a paper: booktabs, intervals, the best of each column in bold; needs nothing else.

    It is a `table*`, set to the width of the page, with the way to read it as its caption. Of many columns it has
    those of `paper_measures`; a comment names the others.
    """
    measures = paper_measures(table)
    left_out = [latex(measure.title) for measure in table.measures if measure not in measures]
    groups = [(group, len(list(of))) for group, of in groupby(measures, key=lambda measure: measure.group)]
    text = ["method", *(["setting"] if table.has_settings else [])]
    heads, rules, column = [""] * len(text), [], len(text) + 1
    for group, width in groups:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    titles = [*text, *(latex(measure.title) for measure in measures)]
    units = [*("" for _ in text), *(latex(SUFFIX[measure.unit]) for measure in measures)]
    body = []
    for method, row in table.rows.items():
        shown = [(latex(with_interval(row[m.name], m.unit)), row[m.name].best) for m in measures]
        setting = [latex(table.setting(method))] if table.has_settings else []
        body.append(
            [
                latex(method),
                *setting,
                *(rf"\textbf{{{number}}}" if best else number for number, best in shown),
            ]
        )
    lines = [" & ".join(line) + r" \\" for line in (heads, titles, units, *body)]
    return "\n".join(
        [
            r"% \usepackage{booktabs,graphicx}",
            *([f"% Left out; table.md and table.csv have them: {', '.join(left_out)}."] if left_out else []),
            r"\begin{table*}",
            rf"\caption{{{latex(table.how_to_read)}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{{'l' * len(text)}{'r' * len(measures)}}}",
            r"\toprule",
            lines[0],
            " ".join(rules),
            *lines[1:3],
            r"\midrule",
            *lines[3:],
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table*}",
            "",
        ]
    )


def latex(text: str) -> str:
    """`text` with what LaTeX reads as commands written out, and its signs as LaTeX has them."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def table_markdown(table: Table, labelled: bool = False) -> str:
    """The table for a README, as it is shown everywhere else.

    Args:
        table: what to write.
        labelled: whether names say which line is the control, and which stand on the Pareto front.
    """
    text = ["method", *(["setting"] if table.has_settings else [])]
    headings = [*text, *(f"{m.title} {SUFFIX[m.unit]}".strip() for m in table.measures)]
    lines = [headings, [*("---" for _ in text), *("--:" for _ in table.measures)]]
    for method, row in table.rows.items():
        name = arm_label(table, method) if labelled else method
        shown = [(with_interval(row[m.name], m.unit), row[m.name].best) for m in table.measures]
        setting = [table.setting(method) or MISSING] if table.has_settings else []
        lines.append([name, *setting, *(f"**{number}**" if best else number for number, best in shown)])
    body = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    notes = "".join(f"\n* {note}" for note in table.notes)
    return f"{body}\n\n{table.how_to_read}\n{notes and notes + chr(10)}"
