"""The ledger of claims beside a sweep's trials, where it was judged from some of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.reporting.panels import Ledger

if TYPE_CHECKING:
    from cl_forget.comparison.trials import Trial

LEDGER, RECORDS, PAGE = "claims.csv", "records.parquet", "claims.html"
"""What `cl-forget claims` writes: the verdicts, the records that they read, and the page of both."""

LEVELS = 3
"""How many folders are looked in: a sweep's own, and those above it."""

NOT_RUN = "not run"


def ledger(trials: Sequence[Trial], folders: Mapping[str, Path]) -> Ledger | None:
    """The claims whose verdicts rest on some of the trials; None where there is no such ledger near them.

    Args:
        trials: of the report.
        folders: sweep -> its folder; the ledger lies there or not far above.
    """
    own = {trial.id.rpartition("/")[2] for trial in trials}
    for place in _places(folders.values()):
        judged = own & _ids(place / RECORDS)
        if not judged:
            continue
        with (place / LEDGER).open(encoding="utf-8", newline="") as file:
            lines = [line for line in csv.DictReader(file) if line.get("verdict")]
        run = [line for line in lines if line["verdict"] != NOT_RUN]
        left = len(lines) - len(run)
        notes = [
            f"It rests on {len(judged):,} of these trials; {place.name}/{PAGE} has all of it, with the papers."
        ]
        if left:
            notes.append(f"{left} more {'claim is' if left == 1 else 'claims are'} registered and not run.")
        return Ledger(
            name="claims",
            title="What the ledger of claims says",
            how_to_read="Claims of papers, written down before their runs: what was compared, by how much it differs "
            "with its 95 % interval over seeds in the unit of the measure, and the verdict.",
            measures=(),
            data={
                "claim": [line["sentence"] for line in run],
                "source": [line["source"] for line in run],
                "world": [line["world"] for line in run],
                "compared": [line["contrast"] for line in run],
                "effect": [_effect(line) for line in run],
                "seeds": [line["seeds"] for line in run],
                "verdict": [line["verdict"] for line in run],
            },
            notes=tuple(notes),
        )
    return None


def _places(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        whole = folder.resolve()
        for place in (whole, *whole.parents)[:LEVELS]:
            if (place / LEDGER).is_file() and (place / RECORDS).is_file():
                yield place


def _ids(file: Path) -> set[str]:
    """The trials that a file of records holds; none of a file that is not whole, which a report does not need."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        return set(parquet.read_table(file, columns=["id"])["id"].to_pylist())
    except (pyarrow.ArrowException, OSError, KeyError):
        return set()


def _effect(line: Mapping[str, str]) -> str:
    shown = [f"{float(line[name]):+.3f}" if line[name] else "–" for name in ("effect", "low", "high")]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]".replace("-", "−")
