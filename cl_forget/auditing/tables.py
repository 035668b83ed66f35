"""An audit or a repair on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cl_forget.auditing.bench import quality
from cl_forget.auditing.records import Audit, Repair
from cl_forget.auditing.specification import audit_findings, repair_findings
from cl_forget.reporting.numbers import number

if TYPE_CHECKING:
    from rich.table import Table


def audit_tables(audit: Audit) -> Iterable[Table]:
    """What was lost; then every part: how far it moved, and what putting it back brings and costs."""
    if audit.losses:
        table = _table("What was lost (test data)", "", "role", "base %", "tuned %", "change", "KL to base")
        for x in audit.losses:
            values = [number(v, "percent") for v in (quality(x.base), quality(x.tuned))]
            drop = number(None if x.drop is None else -x.drop, "change")
            style = "red" if (x.drop or 0) > 0.005 else ""
            table.add_row(x.name, x.role, *values, drop, number(x.tuned.kl_to_base, "nats"), style=style)
        yield table
    columns = ("distance", "relative %", "generality back", "speciality given up", "alone: speciality %")
    table = _table("Where (validation data)", "part", "parameters", *columns)
    effects = {effect.part: effect for effect in audit.effects}
    for part in audit.all_parts:
        effect = effects.get(part.name)
        table.add_row(
            "whole model" if part.name == "all" else part.name,
            number(part.parameters, "count"),
            number(part.distance, "number"),
            number(part.relative, "percent"),
            number(effect.recovered if effect else None, "change"),
            number(effect.given_up if effect else None, "change"),
            number(effect.alone.speciality if effect else None, "percent"),
            end_section=part.name == "all",
        )
    table.caption = " ".join(audit_findings(audit))
    yield table
    kinds = _table("By kind of tensor", "kind", "parameters", "distance", "relative %")
    for kind in audit.kinds:
        values = [number(kind.distance, "number"), number(kind.relative, "percent")]
        kinds.add_row(kind.name, number(kind.parameters, "count"), *values)
    yield kinds


def repair_tables(found: Repair) -> Iterable[Table]:
    """The Pareto front, and the chosen edit on test data."""
    table = _table("Edits no other is better than (validation data)", "edit", "speciality %", "generality %")
    for candidate in sorted(found.candidates, key=lambda c: c.validation.speciality or 0.0):
        if candidate.front or candidate is found.choice:
            point = candidate.validation
            values = [number(v, "percent") for v in (point.speciality, point.generality)]
            chosen = candidate is found.choice
            table.add_row(
                candidate.label + " ← chosen" * chosen, *values, style="bold green" if chosen else ""
            )
    yield table
    table = _table("Repaired (test data)", "", "role", "base %", "tuned %", "repaired %")
    for loss in found.losses:
        ends = (loss.base, loss.tuned, loss.repaired)
        table.add_row(loss.name, loss.role, *(number(quality(scores), "percent") for scores in ends))
    table.caption = " ".join(repair_findings(found))
    yield table


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, title_style="bold"
    )
    for number_of, column in enumerate(columns):
        table.add_column(column, justify="left" if number_of == 0 or column == "role" else "right")
    return table
