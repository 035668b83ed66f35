"""The tracker that is always on: an event log and the result, as plain files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from cl_forget.comparison.records import Result
from cl_forget.ground.files import write_text
from cl_forget.ground.records import Row
from cl_forget.ground.redact import redact
from cl_forget.ground.spreadsheet import csv_text
from cl_forget.tracking.names import accuracy_table


class EventLog:
    """One JSON object per line: a record per training step and per evaluation.

    Args:
        path: the file.
        keep: how many lines of an earlier part of the run are valid; what a killed run wrote after its last
            checkpoint is cut off, so that no step stands twice.
    """

    def __init__(self, path: Path, keep: int = 0) -> None:
        lines = path.read_text().splitlines(keepends=True)[:keep] if path.exists() else []
        write_text(path, "".join(lines))
        self.written = len(lines)
        self._file = path.open("a")

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        self._file.write(json.dumps(redact(record)) + "\n")
        self._file.flush()
        self.written += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
