"""The tracker that is always on: an event log and the result, as plain files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from cl_forget.comparison.records import Result
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_bytes, write_text
from cl_forget.ground.records import Row
from cl_forget.ground.redact import redact
from cl_forget.ground.spreadsheet import csv_text
from cl_forget.tracking.names import accuracy_table


class EventLog:
    """One JSON object per line: a record per training step and per evaluation.

    Args:
        path: the file; None writes nothing and only counts.
        keep: how many lines of an earlier part of the run are valid; what a killed run wrote after its last
            checkpoint is cut off, so that no step stands twice.

    Attributes:
        written: how many records there are.
        kept: those of the earlier part.

    Raises:
        UserError: the file does not hold the earlier part whole.
    """

    def __init__(self, path: Path | None, keep: int = 0) -> None:
        self.written, self.kept = keep, [] if path is None else _records(path, keep)
        self._file = None if path is None else path.open("ab")

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        self.written += 1
        if self._file is not None:
            self._file.write(json.dumps(redact(record)).encode() + b"\n")
            self._file.flush()

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _records(path: Path, keep: int) -> list[dict[str, Any]]:
    """The first `keep` records of an event log, and no more is left in the file."""
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {_MEND}.") from None
    lines = content.split(b"\n")[:-1][:keep]  # what follows the last line's end was cut off by a kill
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number} is no record of a run; {_MEND}.")
        found.append(record)
    if len(found) < keep:
        raise UserError(f"{path} holds {len(found)} of the {keep} records that the run has written; {_MEND}.")
    kept = b"".join(line + b"\n" for line in lines)
    if kept != content or not path.exists():
        write_bytes(path, kept)
    return found


_MEND = "restore it from a copy and --resume, or start over with --overwrite"


def write_result(folder: Path, result: Result) -> None:
    """Write `config.yaml`, `environment.json`, the matrices as CSV, and last `result.json`."""
    write_text(folder / "config.yaml", yaml.safe_dump(result.run, sort_keys=False, allow_unicode=True))
    write_text(folder / "environment.json", json.dumps(result.environment, indent=1))
    for split in ("test", "validation"):
        write_text(folder / f"accuracy_{split}.csv", accuracy_csv(result.rows, split))
    write_text(folder / "result.json", result.model_dump_json(indent=1))


def accuracy_csv(rows: list[Row], split: str) -> str:
    """The accuracy of every task and suite after every stage, one line per row; empty where missing."""
    columns, lines = accuracy_table(rows, split)
    return csv_text(columns, lines)
