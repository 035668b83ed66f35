"""Reading offline W&B files back: W&B's record messages, in the log format its process writes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32_768
HEADER = 7


def records(file: Path) -> Iterator[Any]:
    """Every record of a `.wandb` file, as W&B's own protobuf message.

    The file is a LevelDB log after a header of 7 bytes: blocks of 32 KiB, each chunk with a checksum, a length and
    whether it is whole (1), first (2), middle (3) or last (4).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data = file.read_bytes()
    assert data[:4] == b":W&B"
    place, parts = HEADER, b""
    while place < len(data):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        place += HEADER
        parts = (b"" if kind in (1, 2) else parts) + data[place : place + length]
        place += length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(parts)
            yield record


def offline_files(folder: Path) -> list[Path]:
    """The `.wandb` files below a run's folder, oldest first."""
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


class OfflineRun:
    """What a `.wandb` file says: run, configuration, history and summary."""

    def __init__(self, file: Path) -> None:
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.metrics: dict[str, str] = {}
        self.artifacts: list[Any] = []
        self.exit_code: int | None = None
        for record in records(file):
            match record.WhichOneof("record_type"):
                case "run":
                    self.run = record.run
                    self.config |= {i.key: json.loads(i.value_json) for i in record.run.config.update}
                case "history":
                    self.history.append(_items(record.history.item))
                case "summary":
                    _merge(self.summary, _items(record.summary.update))
                case "metric":
                    self.metrics[record.metric.glob_name or record.metric.name] = record.metric.step_metric
                case "artifact":
                    self.artifacts.append(record.artifact)
                case "exit":
                    self.exit_code = record.exit.exit_code

    def logged(self, key: str) -> list[dict[str, Any]]:
        """The lines of the history that hold a key."""
        return [line for line in self.history if key in line]


def _items(items: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        here = found
        for part in parents:
            here = here.setdefault(part, {})
        here[last] = json.loads(item.value_json)
    return found


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
