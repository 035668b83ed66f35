"""The results table on the terminal, as wide as the terminal allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cl_forget.comparison.measures import Measure
from cl_forget.reporting.numbers import SUFFIX, with_interval
from cl_forget.reporting.specification import Method, Specification, Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from cl_forget.comparison.records import Result

# Read first when there is not room for everything.
_FIRST = (
    "speciality",
    "generality",
    "generality_drop",
    "bwt",
    "relative_cost",
    "delta_lp",
    "ood_accuracy",
    "fwt",
)


def terminal_table(results: Sequence[Result], width: int | None = None) -> RichTable:
    """The methods as lines, their numbers (mean ± 95 % interval over seeds) as columns.

    Args:
        results: one per method and seed.
        width: characters there is room for; by default those of the terminal. The columns that matter most
            are taken first, and the caption says how many are left out.

    Raises:
        UserError: the results cannot be compared.
    """
    from cl_forget.reporting.build import specify

    return render_table(specify(results), width)


def render_table(specification: Specification, width: int | None = None) -> RichTable:
    """`terminal_table` of a specification that is already built."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    table = specification.item("results")
    assert isinstance(table, Table)
    columns = _fitting(table, width or Console().width)
    rich = RichTable(
        title=Text(specification.subtitle),
        caption=Text(_caption(table, columns)),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1),
    )
    rich.add_column("method", no_wrap=True)
    for measure in columns:
        rich.add_column(Text(_heading(measure), justify="right"), justify="right", no_wrap=True)
    for method in specification.methods:
        cells = [table.rows[method.name][measure.name] for measure in columns]
        rich.add_row(
            Text(_label(method), style="dim" if method.role == "reference" else ""),
            *(
                Text(with_interval(cell, measure.unit), style="bold green" if cell.best else "")
                for cell, measure in zip(cells, columns, strict=True)
            ),
            end_section=method.role == "reference",
        )
    return rich


def _label(method: Method) -> str:
    return f"{method.name} (control)" if method.role == "control" else method.name


def _heading(measure: Measure) -> str:
    lines = [*measure.title.split(" "), SUFFIX[measure.unit]]
    return "\n".join(line for line in lines if line)


def _fitting(table: Table, width: int) -> list[Measure]:
    """As many measures as fit, in the table's order."""
    chosen: set[str] = set()
    # The longest label may carry " (control)"; each column has two characters of padding and one between.
    left = width - max(len(name) for name in table.rows) - 10 - 5
    ranked = [m for name in _FIRST for m in table.measures if m.name == name]
    for measure in (*ranked, *(m for m in table.measures if m not in ranked)):
        cells = [with_interval(row[measure.name], measure.unit) for row in table.rows.values()]
        needed = max(map(len, (*cells, *_heading(measure).split("\n")))) + 3
        if needed > left and chosen:
            break
        chosen.add(measure.name)
        left -= needed
    return [measure for measure in table.measures if measure.name in chosen]


def _caption(table: Table, columns: Sequence[Measure]) -> str:
    left_out = len(table.measures) - len(columns)
    more = f" {left_out} more columns are in table.csv." if left_out else ""
    return "\n".join([f"{table.how_to_read}{more}", *table.notes])
