"""Made-up items for made-up results: files as a run writes them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from cl_forget.comparison.records import Result

CLASSES = ["red", "green", "blue", "gold", "pink"]


def truth(count: int) -> list[int]:
    return [item % len(CLASSES) for item in range(count)]


def said(result: Result, row: int, name: str, count: int) -> list[int]:
    """The pre-trained model has nine of ten right; each task loses another class to the one after it."""
    labels = truth(count)
    moved = {"full fine-tuning": row, "LDIFS": min(row, 1)}.get(result.method, 0)
    return [
        (label + 1) % len(CLASSES) if label < moved or item % 10 == 9 else label
        for item, label in enumerate(labels)
    ]


def write_items(folder: Path, result: Result, count: int = 40, samples: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        (row, name, "test", item, word == label, CLASSES[word])
        for row in range(len(result.rows))
        for name in [*result.tasks, *result.suites]
        for item, (word, label) in enumerate(zip(said(result, row, name, count), truth(count), strict=True))
    ]
    columns = list(zip(*lines, strict=True))
    table = pyarrow.table(
        {
            "row": pyarrow.array(columns[0], pyarrow.int16()),
            "data": pyarrow.array(columns[1]).dictionary_encode(),
            "split": pyarrow.array(columns[2]).dictionary_encode(),
            "item": pyarrow.array(columns[3], pyarrow.int32()),
            "right": pyarrow.array(columns[4]),
            "predicted": pyarrow.array(columns[5]).dictionary_encode(),
        }
    )
    pyarrow.parquet.write_table(table, folder / "items.parquet")
    if samples:
        named = [
            (name, item, CLASSES[label])
            for name in [*result.tasks, *result.suites]
            for item, label in enumerate(truth(count))
        ]
        pictures = [picture(label) for _, _, label in named]
        own = {
            "data": [n for n, _, _ in named],
            "item": [i for _, i, _ in named],
            "label": [x for _, _, x in named],
        }
        none = pyarrow.array([None] * len(named), pyarrow.string())
        pyarrow.parquet.write_table(
            pyarrow.table({**own, "prompt": none, "picture": pictures}), folder / "samples.parquet"
        )


def picture(label: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), 40 * CLASSES.index(label), np.uint8)).save(file, "WEBP")
    return file.getvalue()
