"""Files as people have them: encodings, line ends, delimiters, compression, arrays, Parquet, `datasets` folders."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from cl_forget.ground.errors import UserError
from cl_forget.streams import Experience, load_stream

ROWS = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(30)]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)


def load(path: Path, source: str = "jsonl", **options: Any) -> Experience:
    (experience,) = load_stream({source: {"path": str(path), **options}})
    return experience


def pairs(experience: Experience) -> dict[str, str]:
    return {
        prompt: response
        for data in experience.splits().values()
        for prompt, response in zip(data.prompts, data.responses, strict=True)
    }


EXPECTED = {row["question"]: row["answer"] for row in ROWS}


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def said(path: Path, source: str = "jsonl", **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(path, source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode(tmp_path: Path, encoding: str) -> None:
    lines = LINES.replace("q3", "q3 é “日本”")
    assert pairs(load(written(tmp_path / "a.jsonl", lines.encode(encoding))))["q3 é “日本”"] == "a3"
    table = "question,answer\n" + "\n".join(f"é{i},a{i}" for i in range(30))
    assert pairs(load(written(tmp_path / "a.csv", table.encode(encoding)), "csv"))["é4"] == "a4"


def test_what_is_no_unicode_is_refused(tmp_path: Path) -> None:
    assert "save it as UTF-8" in said(
        written(tmp_path / "a.jsonl", LINES.replace("q3", "é").encode("latin-1"))
    )
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n"
    assert "git lfs pull" in said(written(tmp_path / "b.jsonl", pointer))
    assert "is a web page" in said(written(tmp_path / "c.csv", "<!DOCTYPE html>\n<html>"), "csv")
    assert "an Excel file" in said(written(tmp_path / "d.csv", b"PK\x03\x04..."), "csv")


def test_only_line_ends_end_a_line(tmp_path: Path) -> None:
    strange = "x\u2028y\u2029z\x85w\x1cv\x0bu"
    lines = LINES.replace('"a3"', json.dumps(strange, ensure_ascii=False))
    assert pairs(load(written(tmp_path / "a.jsonl", lines)))["q3"] == strange
    for end in ("\r\n", "\r", "\n\n"):
        assert pairs(load(written(tmp_path / "b.jsonl", LINES.replace("\n", end)))) == EXPECTED
    table = 'question,answer\nq,"x\u2028y\nz"\n' + "\n".join(f"q{i},a{i}" for i in range(30))
    assert pairs(load(written(tmp_path / "a.csv", table), "csv"))["q"] == "x\u2028y\nz"


def test_json_in_every_form(tmp_path: Path) -> None:
    for name, content in {
        "array.json": json.dumps(ROWS),
        "pretty.json": json.dumps(ROWS, indent=2),
        "array.jsonl": json.dumps(ROWS),
        "inside.json": json.dumps({"version": "1", "data": ROWS}, indent=1),
    }.items():
        assert pairs(load(written(tmp_path / name, content))) == EXPECTED
    splits = json.dumps({"train": ROWS[:20], "validation": ROWS[20:22], "test": ROWS[22:]})
    task = load(written(tmp_path / "splits.json", splits))
    assert (len(task.train), len(task.validation), len(task.test)) == (20, 2, 8)
    assert "the key 'answer' stands twice" in said(
        written(tmp_path / "twice.jsonl", '{"question": "a", "answer": "b", "answer": "c"}')
    )
    assert "element 2 of a JSON array must be an object" in said(
        written(tmp_path / "bad.json", '[{"a": 1},\n2]')
    )
    assert "begins like a JSON array" in said(written(tmp_path / "cut.json", json.dumps(ROWS, indent=1)[:-5]))
    assert "nested too deeply" in said(written(tmp_path / "deep.json", '{"a": ' + "[" * 99_999))
    assert "holds no rows" in said(written(tmp_path / "none.json", "[]"))
    assert "holds no rows" in said(written(tmp_path / "empty.jsonl", ""))


@pytest.mark.parametrize(
    ("delimiter", "ending"), [(",", "csv"), (";", "csv"), ("\t", "tsv"), ("\t", "csv"), ("|", "txt")]
)
def test_delimiters_are_told_by_the_file(tmp_path: Path, delimiter: str, ending: str) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(["question", "answer"])
    writer.writerows([f"one, two; three {i}", f"a,{i}"] for i in range(30))
    task = load(written(tmp_path / f"t.{ending}", file.getvalue()), "csv")
    assert pairs(task)["one, two; three 4"] == "a,4"
    names = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
    assert names[delimiter] in task.notes[0]


def test_cells_of_any_size_and_shape(tmp_path: Path) -> None:
    book = "word " * 40_000
    table = f'question,answer\nq,"{book}"\n' + "\n".join(f"q{i},a{i}" for i in range(30))
    assert pairs(load(written(tmp_path / "a.csv", table), "csv"))["q"] == book
    excel = "sep=;\r\nquestion;answer\r\n" + "\r\n".join(f"q{i};a{i}" for i in range(30)) + "\r\n;\r\n"
    assert pairs(load(written(tmp_path / "b.csv", excel), "csv")) == EXPECTED
    quotes = 'question\tanswer\n"Hi" he said\t5" pipe\n' + "\n".join(f"q{i}\ta{i}" for i in range(30))
    task = load(written(tmp_path / "c.tsv", quotes), "csv")
    assert pairs(task)['"Hi" he said'] == '5" pipe' and "quotes as they are" in task.notes[0]
    index = ",question,answer\n" + "\n".join(f"{i},q{i},a{i}" for i in range(30))  # as pandas writes it
    assert pairs(load(written(tmp_path / "d.csv", index), "csv")) == EXPECTED
    chosen = "q,gold,options\n" + "\n".join(f"q{i},no,\"['yes', 'no']\"" for i in range(30))
    task = load(written(tmp_path / "e.csv", chosen), "csv", prompt="q", response="gold", choices="options")
    assert task.test.choices[0] == ("yes", "no")


def test_what_no_table_is_is_said_in_one_line(tmp_path: Path) -> None:
    def csv_said(content: str) -> str:
        return said(written(tmp_path / "t.csv", content), "csv")

    assert "row 3: it has other columns than the header, 3 and not 2 (2 of 3 rows so)" in csv_said(
        "prompt,response\na,b\na,b,c\na\n"
    )
    assert "the header names 'response' twice" in csv_said("prompt,response,response\na,b,c\n")
    assert "holds no rows" in csv_said("prompt,response\n")
    assert "holds no rows" in csv_said("")
    assert "cannot be read as CSV" in csv_said('prompt,response\na,"b\n')
    with pytest.raises(UserError, match="option 'path' is empty"):
        load_stream({"csv": {"path": ""}})


def test_compressed_files(tmp_path: Path) -> None:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(LINES.encode())
    packed = {
        "gz": gzip.compress(LINES.encode()), "bz2": bz2.compress(LINES.encode()), "xz": lzma.compress(LINES.encode()),
        "zst": sink.getvalue().to_pybytes(),
    }  # fmt: skip
    for ending, content in packed.items():
        task = load(written(tmp_path / f"sums.jsonl.{ending}", content))
        assert pairs(task) == EXPECTED and task.name == "sums"
        assert "cannot be unpacked" in said(written(tmp_path / "x.jsonl", content[: len(content) // 2]))
    folder = tmp_path / "folder"
    folder.mkdir()
    written(folder / "train.jsonl.gz", packed["gz"])
    assert pairs(load(folder)) == EXPECTED
    written(folder / "train.jsonl", LINES)
    assert "both for train" in said(folder)


def test_parquet_and_arrow_files(tmp_path: Path) -> None:
    import pyarrow
    from datasets import ClassLabel, Dataset, Features, Value
    from pyarrow import feather, parquet

    table = pyarrow.Table.from_pylist(ROWS)
    parquet.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, tmp_path / "a.feather")
    for source in ("jsonl", "csv", "datasets"):
        assert pairs(load(tmp_path / "a.parquet", source)) == EXPECTED
    assert pairs(load(tmp_path / "a.feather")) == EXPECTED
    labels = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    data = Dataset.from_dict(
        {"text": [f"t{i}" for i in range(30)], "label": [i % 2 for i in range(30)]}, labels
    )
    data.to_parquet(tmp_path / "l.parquet")
    data.save_to_disk(tmp_path / "saved")
    arrow = next((tmp_path / "saved").glob("*.arrow"))
    for path in (tmp_path / "l.parquet", tmp_path / "saved", arrow):
        found = pairs(load(path, "datasets", prompt="text", response="label"))
        assert (found["t4"], found["t5"]) == ("bad", "good")
    chosen = data.map(lambda row: {"choices": ["no", "yes"]})
    chosen.to_parquet(tmp_path / "c.parquet")
    task = load(tmp_path / "c.parquet", "datasets", prompt="text", response="label", choices="choices")
    assert pairs(task)["t5"] == "yes"  # the position that the class stands for
    whole = (tmp_path / "a.parquet").read_bytes()
    assert "cannot be read" in said(written(tmp_path / "cut.parquet", whole[: len(whole) // 2]))


def test_a_folder_of_data_files_is_read_as_files_are(tmp_path: Path) -> None:
    table = "question,answer\n" + "\n".join(f"q{i},{'NA' if i % 2 else 'None'}" for i in range(30))
    written(tmp_path / "train.csv", table)
    assert set(pairs(load(tmp_path, "datasets")).values()) == {
        "NA",
        "None",
    }  # texts, though pandas takes them for null


def test_few_samples_are_enough(tmp_path: Path) -> None:
    for count in range(3, 25):
        task = load(written(tmp_path / "few.jsonl", "\n".join(LINES.split("\n")[:count])))
        assert task.train and len(pairs(task)) == count


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_column_that_names_the_split(tmp_path: Path, kind: str) -> None:
    """The rows that somebody set aside for testing are tested on, and never trained on."""
    names = ["train"] * 14 + ["val"] * 2 + ["Test"] * 4
    rows = [{"question": f"q{i}", "answer": f"a{i}", "split": name} for i, name in enumerate(names)]
    path = tmp_path / f"rows.{kind}"
    if kind == "csv":
        path.write_text("question,answer,split\n" + "\n".join(",".join(row.values()) for row in rows))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    (task,) = load_stream({kind: {"path": str(path)}})
    assert [len(task.train), len(task.validation), len(task.test)] == [14, 2, 4]
    assert task.test.responses == ["a16", "a17", "a18", "a19"]
    assert any("splits by column 'split'" in note for note in task.notes)


def test_rows_of_a_split_keep_their_numbers(tmp_path: Path) -> None:
    names = ["train"] * 14 + ["val"] * 2 + ["test"] * 4
    rows = [{"question": f"q{i}", "answer": f"a{i}", "split": name} for i, name in enumerate(names)]
    path = tmp_path / "rows.jsonl"
    rows[17]["answer"] = " "
    path.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(UserError, match="the first is row 18"):
        load_stream({"jsonl": {"path": str(path)}})
    for row in rows:
        row |= {"answer": "a", "split": "easy"}
    path.write_text("\n".join(json.dumps(row) for row in rows))
    (task,) = load_stream({"jsonl": {"path": str(path)}})
    assert any("columns not used: split" in note for note in task.notes), "a column of another meaning"


@pytest.mark.parametrize(
    ("odd", "words"),
    [(None, "holds nothing"), ("tets", "holds 'tets', .* Did you mean 'test'?"), ("holdout", "Known are train, ")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_row_of_no_split_is_refused(tmp_path: Path, kind: str, odd: str | None, words: str) -> None:
    """Of a column that names splits in the other rows: else all rows were split at random, those of test too."""
    names = ["train"] * 14 + ["test"] * 4 + [odd] + ["test"]
    rows = [{"question": f"q{i}", "answer": f"a{i}", "split": name} for i, name in enumerate(names)]
    lines = ["question,answer,split", *(",".join(value or "" for value in row.values()) for row in rows)]
    path = tmp_path / f"rows.{kind}"
    path.write_text("\n".join(lines if kind == "csv" else [json.dumps(row) for row in rows]))
    with pytest.raises(
        UserError, match=f"row {20 if kind == 'csv' else 19}: column 'split' .*{words}"
    ) as caught:
        load_stream({kind: {"path": str(path)}})
    assert "1 of 20 rows so" in str(caught.value)


def test_rows_of_a_csv_are_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    lines = ["", "question,answer", *(f'"q{i}\nagain",a{i}\n,\n' for i in range(30))]
    task = load(written(tmp_path / "a.csv", "\n".join(lines)), "csv")
    assert task.notes[0].startswith("CSV, cells between commas, 30 rows of empty cells left out, 30 rows")
    lines[4] = (
        "q,"  # below a blank line, the header, and two rows, each with a row of empty cells and a blank line
    )
    assert "(the first is row 9)" in said(written(tmp_path / "a.csv", "\n".join(lines)), "csv")
    lines[4] = "q,a,b"
    assert "row 9: it has other columns" in said(written(tmp_path / "a.csv", "\n".join(lines)), "csv")


def test_json_that_holds_more_than_rows(tmp_path: Path) -> None:
    splits = {"version": "1", "train": ROWS[:20], "dev": ROWS[20:22], "test": ROWS[22:], "tags": ["a"]}
    task = load(written(tmp_path / "splits.json", json.dumps(splits)))
    assert (len(task.train), len(task.validation), len(task.test)) == (20, 2, 8)
    twice = {"train": ROWS[:20], "dev": ROWS[20:22], "val": ROWS[22:]}
    assert "two of them for validation" in said(written(tmp_path / "t.json", json.dumps(twice)))
    more = {"train": ROWS[:20], "hard": ROWS[20:]}
    assert "name them train, validation and test" in said(written(tmp_path / "m.json", json.dumps(more)))
    by_id = {str(i): row for i, row in enumerate(ROWS)}
    message = said(written(tmp_path / "i.json", json.dumps(by_id)))
    assert "one object of objects (0, 1, 2, ...) and no list of rows" in message
