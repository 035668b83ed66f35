"""What W&B is shown of the items, from files made by hand."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from cl_forget.tracking.item_media import PICTURES, item_table, lost_pictures

# Row -> what was said to the four samples of "old" and the one of "new"; samples 0 to 3 are a, a, b, b.
SAID = {0: ["a", "a", "b", "a", "b"], 1: ["b", "a", "b", "b", "a"], 2: ["b", "b", None, "b", "a"]}
TRUTH = ["a", "a", "b", "b", "a"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines: dict[str, list[Any]] = {
        name: [] for name in ("row", "data", "split", "item", "right", "predicted")
    }
    for row, said in SAID.items():
        for k, (answer, truth) in enumerate(zip(said, TRUTH, strict=True)):
            line = (row, "old" if k < 4 else "new", "test", k % 4, answer == truth or answer is None, answer)
            for name, value in zip(lines, line, strict=True):
                lines[name].append(value)
    table = pyarrow.table(
        {
            name: pyarrow.array(values).dictionary_encode()
            if name in ("data", "split", "predicted")
            else values
            for name, values in lines.items()
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "items.parquet")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "WEBP")
    pictures = [picture.getvalue(), picture.getvalue(), None, picture.getvalue(), picture.getvalue()]
    samples = {
        "data": ["old"] * 4 + ["new"],
        "item": [0, 1, 2, 3, 0],
        "label": TRUTH,
        "prompt": pyarrow.array([None] * 5, pyarrow.string()),
        "picture": pyarrow.array(pictures, pyarrow.binary()),
    }
    pyarrow.parquet.write_table(pyarrow.table(samples), tmp_path / "samples.parquet")
    return tmp_path


@pytest.fixture
def result() -> Any:
    rows = [SimpleNamespace(after=after) for after in (None, "first", "second")]
    return SimpleNamespace(rows=rows, tasks=["new"], suites=["old"])


def test_the_table_has_what_was_lost_first(folder: Path, result: Any) -> None:
    found = item_table(result, folder)
    assert found is not None
    columns, lines = found
    assert columns == [
        "data", "item", "state", "truth", "pre-trained", "1: after first", "2: after second", "prompt",
    ]  # fmt: skip
    assert lines == [
        ["old", 0, "lost", "a", "a", "b", "b", None],
        ["old", 1, "lost", "a", "a", "a", "b", None],
        ["new", 0, "gained", "a", "b", "a", "a", None],
        ["old", 3, "gained", "b", "a", "b", "b", None],
        ["old", 2, "kept", "b", "b", "b", "right", None],
    ], "an answer that was not spelt out is said to be right or wrong"


def test_pictures_are_of_what_each_experience_had_lost(folder: Path, result: Any) -> None:
    captions = [[one.caption for one in lost] for lost in lost_pictures(result, folder)]
    assert captions == [[], ["old: a → b"], ["old: a → b", "old: a → b"]]
    with Image.open(io.BytesIO(lost_pictures(result, folder)[1][0].picture)) as picture:
        assert picture.size == (8, 8)
    assert PICTURES >= 2


def test_a_run_that_kept_no_items_has_none(tmp_path: Path, result: Any) -> None:
    assert item_table(result, tmp_path) is None
    assert lost_pictures(result, tmp_path) == [[], [], []]
