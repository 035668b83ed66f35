"""The results table on the terminal, as wide as the terminal allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cl_forget.comparison.measures import PRETRAINED, Measure
from cl_forget.reporting.numbers import SUFFIX, compact
from cl_forget.reporting.specification import Specification, Table
from cl_forget.reporting.tables import arm_label, front_note

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from cl_forget.comparison.records import Result

# Read first when there is not room for everything; a name that ends with a colon is all that begin with it.
_FIRST = (
    "speciality",
    "generality",
    "task:",
    "generality_drop",
    "bwt",
    "relative_cost",
    "against:speciality",
    "against:generality",
    "hypervolume",
    "target_at_retention",
    "retention_at_target",
    "passes",
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
    table = specification.item("results")
    assert isinstance(table, Table)
    verdicts = specification.verdicts
    said = () if verdicts is None else (f"{verdicts.sentence} ({verdicts.basis}.)",)
    return draw_table(table, specification.subtitle, width, said)


def render_tables(specification: Specification, width: int | None = None) -> list[RichTable]:
    """`render_table`, and the other tables of methods that the report has."""
    items = [item for section in specification.sections for item in section.items]
    others = [item for item in items if isinstance(item, Table) and item.name != "results"]
    return [
        render_table(specification, width),
        *(draw_table(item, item.title, width) for item in others),
    ]


def draw_table(table: Table, title: str, width: int | None = None, below: Sequence[str] = ()) -> RichTable:
    """A table of methods on the terminal; arguments as of `terminal_table`, and sentences to stand below it first."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    columns = _fitting(table, width or Console().width)
    rich = RichTable(
        title=Text(title),
        caption=Text("\n".join([*below, _caption(table, columns)])),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1),
    )
    rich.add_column("method", no_wrap=not table.has_settings)
    if table.has_settings:
        rich.add_column("setting", no_wrap=True)
    for measure in columns:
        rich.add_column(Text(_heading(measure), justify="right"), justify="right", no_wrap=True)
    for method, row in table.rows.items():
        cells = [row[measure.name] for measure in columns]
        reference = method == PRETRAINED
        rich.add_row(
            Text(arm_label(table, method), style="dim" if reference else ""),
            *([table.setting(method)] if table.has_settings else []),
            *(
                Text(compact(cell, measure.unit), style="bold green" if cell.best else "")
                for cell, measure in zip(cells, columns, strict=True)
            ),
            end_section=reference,
        )
    return rich


def _heading(measure: Measure) -> str:
    lines = [*measure.title.split(" "), SUFFIX[measure.unit]]
    return "\n".join(line for line in lines if line)


def _fitting(table: Table, width: int) -> list[Measure]:
    """As many measures as fit, in the table's order."""
    chosen: set[str] = set()
    # Each column has two characters of padding and one between.
    left = width - max(len(arm_label(table, name)) for name in table.rows) - 5
    if table.has_settings:
        left -= max(len(table.setting(name)) for name in table.rows) + 3
    ranked = [
        m
        for name in _FIRST
        for m in table.measures
        if m.name == name or (name.endswith(":") and m.name.startswith(name))
    ]
    for measure in (*ranked, *(m for m in table.measures if m not in ranked)):
        cells = [compact(row[measure.name], measure.unit) for row in table.rows.values()]
        needed = max(map(len, (*cells, *_heading(measure).split("\n")))) + 3
        if needed > left and chosen:
            break
        chosen.add(measure.name)
        left -= needed
    return [measure for measure in table.measures if measure.name in chosen]


def _caption(table: Table, columns: Sequence[Measure]) -> str:
    left_out = len(table.measures) - len(columns)
    more = (
        f" {left_out} more {'columns are' if left_out > 1 else 'column is'} in table.csv." if left_out else ""
    )
    front = front_note(table)
    return "\n".join([f"{table.how_to_read}{more}", *([front] if front else []), *table.notes])
