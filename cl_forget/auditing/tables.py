"""An audit or a repair on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cl_forget.auditing.bench import inverse, log_ratio, quality
from cl_forget.auditing.conditions import Answer
from cl_forget.auditing.gate import in_unit
from cl_forget.auditing.records import (
    Audit,
    Candidate,
    Change,
    Effect,
    Gate,
    Judged,
    Loss,
    Moved,
    Repair,
    Repaired,
)
from cl_forget.auditing.specification import audit_findings, repair_findings
from cl_forget.evaluation.items import LEVEL
from cl_forget.reporting.numbers import MISSING, number

if TYPE_CHECKING:
    from rich.table import Table

    from cl_forget.evaluation.items import Interval


One = TypeVar("One", bound=Loss)
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
        accurate, fluent = _by_kind(audit.losses)
        lost = ("", "role", "base %", "tuned %", "change", "95 % interval", "KL to base")
        if accurate:
            yield _table("What was lost (test data)", lost, [_loss_row(loss) for loss in accurate])
        risen = ("", "role", "base", "tuned", "rise of the loss, nats", "95 % interval", "KL to base")
        if fluent:
            title = "What was lost, by perplexity (test data)"
            yield _table(title, risen, [_perplexity_row(loss) for loss in fluent])
    effects = {effect.part: effect for effect in audit.effects}
    tuned, tasks = audit.tuned_point, [loss for loss in audit.losses if loss.role == "task"]
    by = _ByPerplexity(
        tuned is not None and tuned.generality is None and tuned.fluency is not None,
        bool(tasks) and not _by_kind(tasks)[0],
    )
    heads = (
        "part", "parameters", "distance", "relative %",
        "put back: perplexity" if by.kept else "generality back", "95 % interval",
        "put back: tasks' perplexity" if by.speciality else "speciality given up", "95 % interval ",
        "alone: tasks' perplexity" if by.speciality else "alone: speciality %",
    )  # fmt: skip
    title = "Where (validation data)" if effects else "How far each part moved (the weights alone)"
    rows = [_part_row(part, effects.get(part.name), by) for part in audit.all_parts]
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
    sure = one.range
    ends = "" if sure is None else f"[{in_unit(sure.low, one.unit)}, {in_unit(sure.high, one.unit)}]"
    value = in_unit(one.value, one.unit)
    return [one.condition, one.checkpoint, one.measure, value, ends, answer], {"style": style}


def _history_table(audit: Audit) -> Table:
    """The means of every checkpoint, as changes from the base."""
    measures = list(audit.history[-1].changes)
    heads = [head for name in measures for head in _heads(name)]
    rows: list[Row] = []
    for one in audit.history:
        cells = [one.name]
        for name in measures:
            found = one.changes[name]
            value, change, sure = _changed(found, name)
            cells += [value, change, sure]
        rows.append(([*cells, number(one.relative, "percent")], {}))
    return _table("Checkpoint by checkpoint (test data)", ["", *heads, "moved %"], rows)


def _bits_table(audit: Audit) -> Table:
    """What fewer bits cost base and tuned model."""
    rows: list[Row] = []
    for one in audit.quantised:
        for name, found in one.changes.items():
            value, change, sure = _changed(found, name)
            perplexity = name == "fluency"
            whole = _perplexity(found.base) if perplexity else number(found.base, "percent")
            said = "perplexity, change in nats" if perplexity else f"{name}, %"
            rows.append(([one.model, str(one.bits), said, whole, value, change, sure], {}))
    heads = ("model", "bits", "of", "whole", "rounded", "change", "95 % interval")
    table = _table("At fewer bits (test data)", heads, rows)
    table.caption = "\n".join(dict.fromkeys(f"{one.bits} bits: {one.scheme}." for one in audit.quantised))
    return table


def _heads(measure: str) -> tuple[str, str, str]:
    """Of a mean's three columns."""
    if measure == "fluency":
        return "perplexity", "rise of the loss, nats", "95 % interval"
    return f"{measure} %", f"change of {measure}", "95 % interval"


def _changed(found: Change, measure: str) -> tuple[str, str, str]:
    """Where a mean stands, how far it has changed, and the interval of that."""
    if measure == "fluency":
        rise = found.ranges.get("perplexity_rise")
        return _perplexity(found.tuned), in_unit(found.perplexity_rise, "nats"), _nats(rise)
    value, change = number(found.tuned, "percent"), number(found.change, "change")
    return value, change, _ends(found.ranges.get("change"))


def _perplexity(quality: float | None) -> str:
    """Of its inverse."""
    return number(1 / quality if quality else None, "number")


def _nats(interval: Interval | None) -> str:
    return "" if interval is None else f"[{in_unit(interval.low, 'nats')}, {in_unit(interval.high, 'nats')}]"


def _by_kind(losses: Sequence[One]) -> tuple[list[One], list[One]]:
    """Those that have an accuracy, and those that are measured by perplexity."""
    fluent = [loss for loss in losses if loss.perplexity_rise is not None]
    return [loss for loss in losses if loss not in fluent], fluent


def _perplexity_row(x: Loss) -> Row:
    sure = x.ranges.get("perplexity_rise")
    cells = [
        x.name,
        x.role,
        *(number(scores.perplexity, "number") for scores in (x.base, x.tuned)),
        in_unit(x.perplexity_rise, "nats"),
        _nats(sure),
        number(x.tuned.kl_to_base, "nats"),
    ]
    return cells, {
        "style": "red" if ((x.perplexity_rise if sure is None else sure.low) or 0.0) > 0.005 else ""
    }


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


class _ByPerplexity(NamedTuple):
    """Whether what should have stayed, and the speciality, are measured by perplexity alone."""

    kept: bool
    speciality: bool


def _part_row(part: Moved, effect: Effect | None, by: _ByPerplexity) -> Row:
    restored = effect.restored if effect else None
    ranges = effect.ranges if effect else {}
    back = number(effect.recovered if effect else None, "change"), _ends(ranges.get("recovered"))
    paid = number(effect.given_up if effect else None, "change"), _ends(ranges.get("given_up"))
    if by.kept and restored is not None:
        back = _perplexity(restored.fluency), _between(restored.ranges.get("fluency"))
    if by.speciality and restored is not None:
        paid = _perplexity(restored.speciality), _between(restored.ranges.get("speciality"))
    alone = effect.alone.speciality if effect else None
    cells = [
        "whole model" if part.name == "all" else part.name,
        number(part.parameters, "count"),
        number(part.distance, "number"),
        number(part.relative, "percent"),
        *back,
        *paid,
        _perplexity(alone) if by.speciality else number(alone, "percent"),
    ]
    return cells, {"end_section": part.name == "all"}


def _between(interval: Interval | None) -> str:
    """The ends of a perplexity, from the interval of its inverse."""
    return _ends(inverse(interval), unit="number")


def repair_tables(found: Repair) -> Iterable[Table]:
    """The Pareto front, and the chosen edit on test data."""
    stays = "generality" if found.tuned_point.generality is not None else "fluency"
    title = "Edits no other is better than (validation data, 95 % intervals)"
    ordered = sorted(found.candidates, key=lambda c: c.validation.speciality or 0.0)
    rows = [_edit_row(c, c is found.choice, stays) for c in ordered if c.front or c is found.choice]
    heads: tuple[str, ...] = (
        "edit",
        "speciality %",
        "perplexity" if stays == "fluency" else f"{stays} %",
    )
    yield _table(title, heads, rows)
    title = "Repaired" if found.verdict == "repaired" else f"{found.verdict[0].upper()}{found.verdict[1:]}"
    kinds = ("base %", "tuned %", "repaired %", "change from tuned"), (
        "base", "tuned", "repaired", "rise of the loss, nats",
    )  # fmt: skip
    tables = []
    for own, columns in zip(_by_kind(found.losses), kinds, strict=True):
        if own:
            heads = ("", "role", *columns, "95 % interval")
            table = _table(f"{title} (test data)", heads, [_repaired_row(loss) for loss in own])
            tables.append(table)
    yield from tables[:-1]
    table = tables[-1]
    table.caption = " ".join(repair_findings(found))
    yield table


def _edit_row(candidate: Candidate, chosen: bool, stays: str) -> Row:
    point = candidate.validation
    values = [
        f"{_perplexity(value)} {_between(point.ranges.get(name))}".strip()
        if name == "fluency"
        else f"{number(value, 'percent')} {_ends(point.ranges.get(name), unit='percent')}".strip()
        for name, value in (("speciality", point.speciality), (stays, point.kept))
    ]
    label = f"{candidate.label} ← chosen" if chosen else candidate.label
    return [label, *values], {"style": "bold green" if chosen else ""}


def _repaired_row(loss: Repaired) -> Row:
    if loss.perplexity_rise is not None:
        read = [scores.perplexity for scores in (loss.base, loss.tuned, loss.repaired)]
        rise = in_unit(log_ratio(read[2], read[1]), "nats")
        shown = [number(value, "number") for value in read]
        return [loss.name, loss.role, *shown, rise, _nats(loss.ranges.get("change_in_nats"))], {}
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
