"""The footnotes of a table of results: what its numbers do not say by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cl_forget.comparison.measures import Cell
from cl_forget.comparison.records import Result
from cl_forget.comparison.settings import written
from cl_forget.config.arms import OWN_SECTIONS
from cl_forget.config.run import Run
from cl_forget.reporting.numbers import listed, number

DEFAULTS = {section: Run.model_fields[section].default.model_dump(mode="json") for section in OWN_SECTIONS}


def table_notes(results: Sequence[Result], rows: Mapping[str, Mapping[str, Cell]]) -> tuple[str, ...]:
    """Settings of their own, what BatchNorm's statistics did, and the notes of the runs.

    Args:
        results: the runs behind the table.
        rows: method -> measure -> mean over seeds.
    """
    return (*_own_settings(results), *_said(results), *_statistics(rows))


def _own_settings(results: Sequence[Result]) -> Iterable[str]:
    """Which method was trained, or read texts, otherwise than the rest."""
    settings = {result.method: _settings(result) for result in reversed(results)}
    methods = list(dict.fromkeys(result.method for result in results))
    own: dict[str, list[str]] = {}
    shared: list[str] = []
    for field in next(iter(settings.values())):
        values = [settings[method].get(field) for method in methods]
        most = max(values, key=values.count)
        if values.count(most) == len(values):
            continue
        for method, value in zip(methods, values, strict=True):
            if value != most:
                own.setdefault(method, []).append(f"{field} {written(value)}")
        shared.append(f"{field} {written(most)}")
    if own:
        told = "; ".join(f"{method}: {', '.join(fields)}" for method, fields in own.items())
        yield f"Settings of their own: {told}. Where nothing is said: {', '.join(shared)}."


def _settings(result: Result) -> dict[str, Any]:
    """Dotted field of `train` and `text` -> value; not those that change no number.

    A run from before there was a field had what is its default now.
    """
    return {
        f"{section}.{field}": value
        for section in OWN_SECTIONS
        for field, value in {**DEFAULTS[section], **(result.run.get(section) or {})}.items()
        if field not in ("checkpoint_seconds", "strategy", "workers")
    }


def _said(results: Sequence[Result]) -> Iterable[str]:
    """Each note once, with the methods it is about where it is not about all."""
    methods = list(dict.fromkeys(result.method for result in results))
    for note in dict.fromkeys(note for result in results for note in result.notes):
        about = list(dict.fromkeys(result.method for result in results if note in result.notes))
        yield note if len(about) == len(methods) else f"{listed(about)}: {note}"


def _statistics(rows: Mapping[str, Mapping[str, Cell]]) -> Iterable[str]:
    """How much of what a method lost is BatchNorm's running statistics alone."""
    for method, row in rows.items():
        kept, again, share = (
            row.get(name, Cell(None)).mean
            for name in ("generality", "generality_restored", "statistics_share")
        )
        if kept is None or again is None:
            continue
        if number(kept, "percent") == number(again, "percent"):
            yield f"{method}: the pre-trained model's BatchNorm statistics put back change nothing of its generality."
            continue
        line = (
            f"{method}: with the pre-trained model's BatchNorm statistics put back, generality is "
            f"{number(again, 'percent')} % instead of {number(kept, 'percent')} %"
        )
        yield f"{line}: {number(share, 'percent')} % of what was lost." if share is not None else f"{line}."
