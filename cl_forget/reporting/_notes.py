"""The footnotes of a table of results: what its numbers do not say by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cl_forget.comparison.measures import Cell
from cl_forget.comparison.records import Result
from cl_forget.reporting.numbers import listed, number


def table_notes(results: Sequence[Result], rows: Mapping[str, Mapping[str, Cell]]) -> tuple[str, ...]:
    """Settings of their own, what BatchNorm's statistics did, and the notes of the runs.

    Args:
        results: the runs behind the table.
        rows: method -> measure -> mean over seeds.
    """
    return (*_said(results), *_statistics(rows))


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
        line = (
            f"{method}: with the pre-trained model's BatchNorm statistics put back, generality is "
            f"{number(again, 'percent')} % instead of {number(kept, 'percent')} %"
        )
        yield f"{line}: {number(share, 'percent')} % of what was lost." if share is not None else f"{line}."
