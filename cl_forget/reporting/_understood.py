"""What the runs of a report took their data for, from the `understood.json` beside their results."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cl_forget.streams.understood import FILE, Understood, read_understood


def find_understood(folders: Iterable[Path]) -> tuple[Understood, ...]:
    """The records of the first run in or right below each folder; equal ones stand once.

    Runs of one report have the same data, so that one of each folder speaks for all of them.

    Args:
        folders: of runs, of experiments or of sweeps.
    """
    found: list[Understood] = []
    for folder in folders:
        places = (folder.glob(pattern) for pattern in (FILE, f"*/{FILE}", f"trials/*/{FILE}"))
        first = next(filter(None, (min(place, default=None) for place in places)), None)
        records = [] if first is None else read_understood(first.parent)
        found += [record for record in records if record not in found]
    return tuple(found)
