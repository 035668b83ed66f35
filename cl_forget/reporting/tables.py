"""A table as text: CSV to compute with, Markdown to paste."""

from __future__ import annotations

from itertools import groupby

from cl_forget.ground.spreadsheet import csv_text
from cl_forget.reporting.numbers import SUFFIX, with_interval
from cl_forget.reporting.specification import Table


def table_csv(table: Table) -> str:
    """The table as CSV: per measure its mean and the ends of its interval; empty where a value is missing."""
    names = [measure.name for measure in table.measures]
    lines = [
        [method, *(value for name in names for value in (row[name].mean, row[name].low, row[name].high))]
        for method, row in table.rows.items()
    ]
    return csv_text(["method", *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))], lines)


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "±": r"$\pm$", "–": "--", "×": r"$\times$",
    "Δ": r"$\Delta$", "θ": r"$\theta$", "α": r"$\alpha$", "→": r"$\rightarrow$", "≥": r"$\geq$", "≤": r"$\leq$",
    "‖": r"$\Vert$",
}  # fmt: skip


def table_latex(table: Table) -> str:
    """The table for a paper: booktabs, intervals, the best of each column in bold; needs nothing else.

    It is a `table*`, set to the width of the page, with the way to read it as its caption.
    """
    groups = [
        (group, len(list(of))) for group, of in groupby(table.measures, key=lambda measure: measure.group)
    ]
    heads, rules, column = [""], [], 2
    for group, width in groups:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    titles = ["method", *(latex(measure.title) for measure in table.measures)]
    units = ["", *(latex(SUFFIX[measure.unit]) for measure in table.measures)]
    body = []
    for method, row in table.rows.items():
        shown = [(latex(with_interval(row[m.name], m.unit)), row[m.name].best) for m in table.measures]
        body.append([latex(method), *(rf"\textbf{{{text}}}" if best else text for text, best in shown)])
    lines = [" & ".join(line) + r" \\" for line in (heads, titles, units, *body)]
    return "\n".join(
        [
            r"% \usepackage{booktabs,graphicx}",
            r"\begin{table*}",
            rf"\caption{{{latex(table.how_to_read)}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * len(table.measures)}}}",
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
