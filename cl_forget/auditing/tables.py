"""An audit or a repair on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cl_forget.auditing.bench import quality
from cl_forget.auditing.records import Audit, Repair
from cl_forget.auditing.specification import audit_findings, repair_findings
from cl_forget.reporting.numbers import number

if TYPE_CHECKING:
    from rich.table import Table

    from cl_forget.evaluation.items import Interval


def audit_tables(audit: Audit) -> Iterable[Table]:
    """What was lost; then every part: how far it moved, and what putting it back brings and costs."""
    if audit.losses:
        heads = ("base %", "tuned %", "change", "95 % interval", "KL to base")
        table = _table("What was lost (test data)", "", "role", *heads)
        for x in audit.losses:
            values = [number(v, "percent") for v in (quality(x.base), quality(x.tuned))]
            drop = number(None if x.drop is None else -x.drop, "change")
            sure = x.ranges.get("drop")
            style = "red" if ((x.drop if sure is None else sure.low) or 0.0) > 0.005 else ""
            table.add_row(
                x.name,
                x.role,
                *values,
                drop,
                _ends(sure, -1),
                number(x.tuned.kl_to_base, "nats"),
                style=style,
            )
        yield table
    columns = (
        "distance", "relative %", "generality back", "95 % interval", "speciality given up", "95 % interval ",
        "alone: speciality %",
    )  # fmt: skip
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
            _ends(effect.ranges.get("recovered") if effect else None),
            number(effect.given_up if effect else None, "change"),
            _ends(effect.ranges.get("given_up") if effect else None),
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
    stays = "generality" if found.tuned_point.generality is not None else "fluency"
    title = "Edits no other is better than (validation data, 95 % intervals)"
    table = _table(title, "edit", "speciality %", f"{stays} %")
    for candidate in sorted(found.candidates, key=lambda c: c.validation.speciality or 0.0):
        if candidate.front or candidate is found.choice:
            point = candidate.validation
            values = [
                f"{number(value, 'percent')} {_ends(point.ranges.get(name), unit='percent')}".strip()
                for name, value in (("speciality", point.speciality), (stays, point.kept))
            ]
            chosen = candidate is found.choice
            table.add_row(
                f"{candidate.label} ← chosen" if chosen else candidate.label,
                *values,
                style="bold green" if chosen else "",
            )
    yield table
    title = "Repaired" if found.verdict == "repaired" else f"{found.verdict[0].upper()}{found.verdict[1:]}"
    heads = ("base %", "tuned %", "repaired %", "change from tuned", "95 % interval")
    table = _table(f"{title} (test data)", "", "role", *heads)
    for loss in found.losses:
        ends = [quality(scores) for scores in (loss.base, loss.tuned, loss.repaired)]
        change = None if None in ends[1:] else ends[2] - ends[1]  # type: ignore[operator]
        table.add_row(
            loss.name, loss.role, *(number(value, "percent") for value in ends), number(change, "change"),
            _ends(loss.ranges.get("change")),
        )  # fmt: skip
    table.caption = " ".join(repair_findings(found))
    yield table


def _ends(interval: Interval | None, sign: int = 1, unit: Any = "change") -> str:
    """The ends of an interval, of the number or of its negative."""
    if interval is None:
        return ""
    low, high = sorted((sign * interval.low, sign * interval.high))
    return f"[{number(low, unit)}, {number(high, unit)}]"


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, title_style="bold"
    )
    for number_of, column in enumerate(columns):
        table.add_column(column, justify="left" if number_of == 0 or column == "role" else "right")
    return table
