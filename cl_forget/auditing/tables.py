"""An audit or a repair on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cl_forget.auditing.bench import quality
from cl_forget.auditing.conditions import Answer
from cl_forget.auditing.records import Audit, Candidate, Effect, Gate, Judged, Loss, Moved, Repair, Repaired
from cl_forget.auditing.specification import audit_findings, repair_findings
from cl_forget.comparison.measures import Unit
from cl_forget.evaluation.items import LEVEL
from cl_forget.reporting.numbers import MISSING, number

if TYPE_CHECKING:
    from rich.table import Table

    from cl_forget.evaluation.items import Interval


Row = tuple[list[str], dict[str, Any]]
"""The cells of a line, and how rich shows it."""


def audit_tables(audit: Audit) -> Iterable[Table]:
    """What was lost; then every part: how far it moved, and what putting it back brings and costs."""
    if audit.gate is not None:
        yield _gate_table(audit.gate)
    if len(audit.history) > 1:
        yield _history_table(audit)
    if audit.quantised:
        yield _bits_table(audit)
    if audit.losses:
        lost = ("", "role", "base %", "tuned %", "change", "95 % interval", "KL to base")
        yield _table("What was lost (test data)", lost, [_loss_row(loss) for loss in audit.losses])
    effects = {effect.part: effect for effect in audit.effects}
    heads = (
        "part", "parameters", "distance", "relative %", "generality back", "95 % interval", "speciality given up",
        "95 % interval ", "alone: speciality %",
    )  # fmt: skip
    title = "Where (validation data)" if effects else "How far each part moved (the weights alone)"
    rows = [_part_row(part, effects.get(part.name)) for part in audit.all_parts]
    table = _table(title, heads, rows)
    table.caption = " ".join(audit_findings(audit))
    yield table
    kinds = [
        [k.name, number(k.parameters, "count"), number(k.distance, "number"), number(k.relative, "percent")]
        for k in audit.kinds
    ]
    of_kind = ("kind", "parameters", "distance", "relative %")
    yield _table("By kind of tensor", of_kind, [(cells, {}) for cells in kinds])


_STYLES: dict[Answer, str] = {"passes": "green", "fails": "bold red", "cannot be told": "yellow"}


def _gate_table(gate: Gate) -> Table:
    """Every condition on every checkpoint, and on the null control."""
    judged = [_judged_row(one, one.answer, _STYLES[one.answer]) for one in gate.judged]
    controls = [_judged_row(one, "(null control)", "dim") for one in gate.controls]
    heads = ("fails if", "checkpoint", "of", "now", "95 % interval", "answer")
    table = _table(f"Gate: {gate.answer}", heads, [*judged, *controls])
    if gate.level != LEVEL:
        table.caption = f"A condition fails by its {100 * gate.level:.4g} % interval: several decide at once."
    return table


def _judged_row(one: Judged, answer: str, style: str) -> Row:
    unit: Unit = "percent" if one.condition.endswith("%") else "change"
    value = number(one.value, unit)
    return [one.condition, one.checkpoint, one.measure, value, _ends(one.range, unit=unit), answer], {
        "style": style
    }


def _history_table(audit: Audit) -> Table:
    """The means of every checkpoint, as changes from the base."""
    measures = list(audit.history[-1].changes)
    heads = [head for name in measures for head in (f"{name} %", f"change of {name}", "95 % interval")]
    rows: list[Row] = []
    for one in audit.history:
        cells = [one.name]
        for name in measures:
            found = one.changes[name]
            cells += [number(found.tuned, "percent"), number(found.change, "change")]
            cells.append(_ends(found.ranges.get("change")))
        rows.append(([*cells, number(one.relative, "percent")], {}))
    return _table("Checkpoint by checkpoint (test data)", ["", *heads, "moved %"], rows)


def _bits_table(audit: Audit) -> Table:
    """What fewer bits cost base and tuned model."""
    rows: list[Row] = []
    for one in audit.quantised:
        for name, found in one.changes.items():
            ends = [number(value, "percent") for value in (found.base, found.tuned)]
            sure = _ends(found.ranges.get("change"))
            rows.append(([one.model, str(one.bits), name, *ends, number(found.change, "change"), sure], {}))
    heads = ("model", "bits", "of", "whole %", "rounded %", "change", "95 % interval")
    table = _table("At fewer bits (test data)", heads, rows)
    table.caption = "\n".join(dict.fromkeys(f"{one.bits} bits: {one.scheme}." for one in audit.quantised))
    return table


def _loss_row(x: Loss) -> Row:
    sure = x.ranges.get("drop")
    cells = [
        x.name,
        x.role,
        *(number(value, "percent") for value in (quality(x.base), quality(x.tuned))),
        number(None if x.drop is None else -x.drop, "change"),
        _ends(sure, -1),
        number(x.tuned.kl_to_base, "nats"),
    ]
    return cells, {"style": "red" if ((x.drop if sure is None else sure.low) or 0.0) > 0.005 else ""}


def _part_row(part: Moved, effect: Effect | None) -> Row:
    cells = [
        "whole model" if part.name == "all" else part.name,
        number(part.parameters, "count"),
        number(part.distance, "number"),
        number(part.relative, "percent"),
        number(effect.recovered if effect else None, "change"),
        _ends(effect.ranges.get("recovered") if effect else None),
        number(effect.given_up if effect else None, "change"),
        _ends(effect.ranges.get("given_up") if effect else None),
        number(effect.alone.speciality if effect else None, "percent"),
    ]
    return cells, {"end_section": part.name == "all"}


def repair_tables(found: Repair) -> Iterable[Table]:
    """The Pareto front, and the chosen edit on test data."""
    stays = "generality" if found.tuned_point.generality is not None else "fluency"
    title = "Edits no other is better than (validation data, 95 % intervals)"
    ordered = sorted(found.candidates, key=lambda c: c.validation.speciality or 0.0)
    rows = [_edit_row(c, c is found.choice, stays) for c in ordered if c.front or c is found.choice]
    yield _table(title, ("edit", "speciality %", f"{stays} %"), rows)
    title = "Repaired" if found.verdict == "repaired" else f"{found.verdict[0].upper()}{found.verdict[1:]}"
    heads = ("", "role", "base %", "tuned %", "repaired %", "change from tuned", "95 % interval")
    table = _table(f"{title} (test data)", heads, [_repaired_row(loss) for loss in found.losses])
    table.caption = " ".join(repair_findings(found))
    yield table


def _edit_row(candidate: Candidate, chosen: bool, stays: str) -> Row:
    point = candidate.validation
    values = [
        f"{number(value, 'percent')} {_ends(point.ranges.get(name), unit='percent')}".strip()
        for name, value in (("speciality", point.speciality), (stays, point.kept))
    ]
    label = f"{candidate.label} ← chosen" if chosen else candidate.label
    return [label, *values], {"style": "bold green" if chosen else ""}


def _repaired_row(loss: Repaired) -> Row:
    ends = [quality(scores) for scores in (loss.base, loss.tuned, loss.repaired)]
    change = None if None in ends[1:] else ends[2] - ends[1]  # type: ignore[operator]
    cells = [
        loss.name,
        loss.role,
        *(number(value, "percent") for value in ends),
        number(change, "change"),
        _ends(loss.ranges.get("change")),
    ]
    return cells, {}


def _ends(interval: Interval | None, sign: int = 1, unit: Any = "change") -> str:
    """The ends of an interval, of the number or of its negative."""
    if interval is None:
        return ""
    low, high = sorted((sign * interval.low, sign * interval.high))
    return f"[{number(low, unit)}, {number(high, unit)}]"


def _table(title: str, heads: Sequence[str], rows: Sequence[Row]) -> Table:
    """A table without the columns in which nothing is known."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, title_style="bold"
    )
    known = [k for k in range(len(heads)) if any(cells[k] not in ("", MISSING) for cells, _ in rows)]
    for k in known:
        table.add_column(heads[k], justify="left" if k == 0 or heads[k] == "role" else "right")
    for cells, look in rows:
        table.add_row(*(cells[k] for k in known), **look)
    return table
