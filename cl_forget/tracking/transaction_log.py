"""Reading W&B's own record of a run: the `.wandb` file that its process writes before it sends anything.

The file is a LevelDB log after a header of 7 bytes: blocks of 32 KiB, each chunk with a checksum, a length and
whether it is whole (1), first (2), middle (3) or last (4). The wandb package has no reader of it in Python.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32_768
_HEADER = 7
_MAGIC = b":W&B"


def records(file: Path) -> Iterator[Any]:
    """Every record of the file, as W&B's protobuf message; ends where a killed process stopped writing."""
    from google.protobuf.message import DecodeError
    from wandb.proto import wandb_internal_pb2 as messages

    data = file.read_bytes()
    place, parts = _HEADER, b""
    while data[:4] == _MAGIC and place + _HEADER <= len(data):
        if _BLOCK - place % _BLOCK < _HEADER:
            place += _BLOCK - place % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + _HEADER])
        place += _HEADER
        if kind not in (1, 2, 3, 4) or place + length > len(data):
            return
        parts = (b"" if kind in (1, 2) else parts) + data[place : place + length]
        place += length
        if kind in (1, 4):
            record = messages.Record()  # type: ignore[attr-defined]
            try:
                record.ParseFromString(parts)
            except DecodeError:
                return
            yield record


def steps(file: Path) -> set[int]:
    """The numbers of the history's records in the file."""
    found = set()
    for record in records(file):
        if record.WhichOneof("record_type") == "history":
            for item in record.history.item:
                if "_step" in (item.key, *item.nested_key):
                    found.add(int(json.loads(item.value_json)))
    return found
