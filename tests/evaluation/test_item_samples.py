"""What the items of a run are, kept beside them."""

from __future__ import annotations

import io
import os

import pyarrow.parquet
import pytest
from PIL import Image

from cl_forget.evaluation.item_samples import FILE, LETTERS, SIDE, read_samples, shortened, spread
from cl_forget.evaluation.item_table import read_answers, read_items
from cl_forget.ground.errors import UserError
from cl_forget.run.simulate import simulate


def test_samples_say_what_every_item_is(tiny_run, tmp_path):
    result = simulate(tiny_run(), tmp_path / "a")
    samples, answers = read_samples(tmp_path / "a"), read_answers(tmp_path / "a")
    assert set(samples) == {*result.tasks, *result.suites}
    for (row, name), own in answers.items():
        right = read_items(tmp_path / "a", row)[name]
        assert (own.right == right).all()
        labels = samples[name].labels
        said = [own.names[code] for code in own.predicted]
        assert [label == word for label, word in zip(labels, said, strict=True)] == right.tolist()
    image = Image.open(io.BytesIO(samples["colours"].pictures[0]))
    assert image.format == "WEBP" and max(image.size) <= SIDE
    assert set(samples["colours"].prompts) == {None}


def test_runs_on_the_same_data_share_one_file(tiny_run, tmp_path):
    for name, run in (("a", tiny_run()), ("b", tiny_run(seed=1))):
        simulate(run, tmp_path / name)
    if hasattr(os, "link"):
        assert os.path.samefile(tmp_path / "a" / FILE, tmp_path / "b" / FILE)
    simulate(tiny_run(evaluate={"curves": False, "limit": 6}), tmp_path / "c")
    few, all_ = (read_samples(tmp_path / name)["colours"].labels for name in "ca")
    assert len(few) == 6 < len(all_)
    assert len(read_items(tmp_path / "c", 0)["colours"]) == 6


def test_a_run_without_items_keeps_no_samples(tiny_run, tmp_path):
    simulate(tiny_run(evaluate={"curves": False, "items": False}), tmp_path)
    assert read_samples(tmp_path) == {}


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / FILE).write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="not whole"):
        read_samples(tmp_path)
    table = pyarrow.table({"data": ["a"]})
    pyarrow.parquet.write_table(table, tmp_path / FILE)
    with pytest.raises(UserError, match="not whole"):
        read_samples(tmp_path)


def test_what_is_shown_is_spread_evenly():
    assert spread([3, 2], 10) == [[0, 1, 2], [0, 1]]
    assert spread([100, 10], 11) == [list(range(0, 100, 10)), [0]]
    assert spread([1000, 1], 10)[1] == [0]
    assert shortened("x" * 5000) == "x" * (LETTERS - 1) + "…"
