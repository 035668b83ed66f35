"""What an audit or a repair leaves in its folder: JSON, CSV, a picture and a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cl_forget.auditing import pictures
from cl_forget.auditing.bench import quality
from cl_forget.auditing.history_picture import history_png
from cl_forget.auditing.records import Audit, Change, Loss, Point, Repair
from cl_forget.auditing.specification import specify_audit, specify_repair
from cl_forget.evaluation.items import Interval
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_bytes
from cl_forget.ground.spreadsheet import csv_text
from cl_forget.reporting.html.render import page
from cl_forget.reporting.print.pictures import tradeoff_png


def write_audit(audit: Audit, folder: Path) -> list[Path]:
    """audit.json, losses.csv, parts.csv, audit.png and report.html; each file whole or not at all.

    Of several checkpoints, or of a gate, also history.png and history.csv; of rounded weights also quantised.csv.
    """
    specification = specify_audit(audit)
    picture = pictures.audit_png(audit)
    losses = [
        [
            x.name,
            x.role,
            x.metric,
            quality(x.base),
            quality(x.tuned),
            x.drop,
            *_range(x.ranges.get("drop")),
            x.tuned.kl_to_base,
            x.tuned.samples,
            *(scores.perplexity if x.perplexity_rise is not None else None for scores in (x.base, x.tuned)),
            x.perplexity_rise,
            *_range(x.ranges.get("perplexity_rise")),
        ]
        for x in audit.losses
    ]
    effects = {effect.part: effect for effect in audit.effects}
    parts: list[list[Any]] = []
    for part in audit.all_parts:
        effect = effects.get(part.name)
        ends = [None] * 4 if effect is None else [*_ends(effect.restored), *_ends(effect.alone)]
        change: list[float | None] = [None] * 6
        if effect is not None:
            change = [
                effect.recovered,
                *_range(effect.ranges.get("recovered")),
                effect.given_up,
                *_range(effect.ranges.get("given_up")),
            ]
        parts.append([part.name, part.parameters, part.distance, part.relative, *change, *ends])
    contents = {
        "audit.json": audit.model_dump_json(indent=1).encode(),
        "losses.csv": csv_text(LOSS_COLUMNS, losses).encode(),
        "parts.csv": csv_text(PART_COLUMNS, parts).encode(),
        "audit.png": picture,
        "report.html": page(specification, picture).encode(),
    }
    if len(audit.history) > 1 or audit.gate is not None:
        contents["history.png"] = history_png(audit)
        contents["history.csv"] = csv_text(HISTORY_COLUMNS, _history(audit)).encode()
    if audit.quantised:
        contents["quantised.csv"] = csv_text(QUANTISED_COLUMNS, _quantised(audit)).encode()
    for name in (
        "history.png",
        "history.csv",
        "quantised.csv",
    ):  # of an earlier audit that was asked for more
        if name not in contents:
            (folder / name).unlink(missing_ok=True)
    return _write(folder, contents)


RISE_COLUMNS = ("perplexity_rise", "perplexity_rise_low", "perplexity_rise_high")
"""In nats; empty where there is an accuracy."""
HISTORY_COLUMNS = (
    "checkpoint", "measure", "base", "tuned", "change", "change_low", "change_high", "distance_relative",
    *RISE_COLUMNS,
)  # fmt: skip
QUANTISED_COLUMNS = (
    "model", "bits", "measure", "whole", "quantised", "change", "change_low", "change_high", "distance_relative",
    *RISE_COLUMNS,
)  # fmt: skip


def _history(audit: Audit) -> Iterator[list[Any]]:
    """Every checkpoint's means, then its tasks and suites."""
    for one in audit.history:
        for measure, found in one.changes.items():
            yield [one.name, measure, *_changed(found), one.relative, *_rise(found)]
        for loss in one.losses:
            change = None if loss.drop is None else -loss.drop
            low, high = _range(loss.ranges.get("drop"))
            ends = [None if end is None else -end for end in (high, low)]
            values = quality(loss.base), quality(loss.tuned), change
            yield [one.name, loss.name, *values, *ends, one.relative, *_rise(loss)]


def _quantised(audit: Audit) -> Iterator[list[Any]]:
    for one in audit.quantised:
        for measure, found in one.changes.items():
            yield [one.model, one.bits, measure, *_changed(found), one.relative, *_rise(found)]


def _rise(found: Change | Loss) -> list[float | None]:
    return [found.perplexity_rise, *_range(found.ranges.get("perplexity_rise"))]


def _changed(found: Change) -> list[float | None]:
    return [found.base, found.tuned, found.change, *_range(found.ranges.get("change"))]


LOSS_COLUMNS = (
    "name", "role", "metric", "base", "tuned", "drop", "drop_low", "drop_high", "kl_to_base", "samples",
    "base_perplexity", "tuned_perplexity", *RISE_COLUMNS,
)  # fmt: skip
PART_COLUMNS = (
    "part", "parameters", "distance", "relative", "generality_recovered", "generality_recovered_low",
    "generality_recovered_high", "speciality_given_up", "speciality_given_up_low", "speciality_given_up_high",
    "speciality_restored", "generality_restored", "speciality_alone", "generality_alone",
)  # fmt: skip


def _ends(point: Point) -> list[float | None]:
    return [point.speciality, point.kept]


def _range(interval: Interval | None) -> list[float | None]:
    return [None, None] if interval is None else [interval.low, interval.high]


def write_repair(found: Repair, folder: Path) -> list[Path]:
    """repair.json, candidates.csv, tradeoff.png and report.html; each file whole or not at all."""
    specification = specify_repair(found)
    picture = tradeoff_png(specification)
    assert picture is not None
    parts = list(found.candidates[0].shares)
    stays = "generality" if found.tuned_point.generality is not None else "fluency"
    rows = [
        [
            c.method,
            c.knob,
            c.setting,
            c.validation.speciality,
            *_range(c.validation.ranges.get("speciality")),
            c.validation.kept,
            *_range(c.validation.ranges.get(stays)),
            c.front,
            c is found.choice,
            *(c.shares.get(part) for part in parts),
        ]
        for c in found.candidates
    ]
    columns = (
        "method", "knob", "setting", "speciality", "speciality_low", "speciality_high", stays, f"{stays}_low",
        f"{stays}_high", "front", "chosen", *parts,
    )  # fmt: skip
    return _write(
        folder,
        {
            "repair.json": found.model_dump_json(indent=1).encode(),
            "candidates.csv": csv_text(columns, rows).encode(),
            "tradeoff.png": picture,
            "report.html": page(specification, picture).encode(),
        },
    )


def _write(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(folder / name, content)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --output.") from error
    return [folder / name for name in contents]
