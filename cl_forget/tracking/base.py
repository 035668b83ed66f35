"""What a tracker is: told of every step and every evaluation of a run, it may show them somewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cl_forget.comparison.records import Result
from cl_forget.ground.records import Row


class Tracker(Protocol):
    """Follows one run. Nothing a tracker does may change or stop the run it follows, or hold it up for long.

    `at` numbers the records of a run from 1: it is the line of `events.jsonl`, so a resumed run counts on where
    its checkpoint stands. A resumed run first tells again what it had measured before: a tracker that knows a
    record already leaves it as it is.

    Attributes:
        url: where people can look at the run; None if nowhere, or not yet known.
    """

    url: str | None

    def step(self, at: int, number: int, record: dict[str, Any]) -> None:
        """One optimiser step was taken.

        Args:
            at: number of the record.
            number: optimiser steps since the start of the run, this one included.
            record: what the training loop says of it: loss, terms, lr, norm, samples, seconds.
        """

    def row(self, at: int, rows: Sequence[Row]) -> None:
        """Everything was evaluated; `rows` are all rows so far, the new one last."""

    def finish(self, at: int, result: Result, folder: Path) -> None:
        """The run is complete; `folder` holds its files."""

    def failed(self, error: BaseException) -> None:
        """The run was broken off; it may be resumed later."""


class NullTracker:
    """Follows nothing."""

    url: str | None = None

    def step(self, at: int, number: int, record: dict[str, Any]) -> None:
        """Nothing to do."""

    def row(self, at: int, rows: Sequence[Row]) -> None:
        """Nothing to do."""

    def finish(self, at: int, result: Result, folder: Path) -> None:
        """Nothing to do."""

    def failed(self, error: BaseException) -> None:
        """Nothing to do."""
