"""A user's own texts, written to disk by the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl_forget.ground.errors import UserError
from cl_forget.streams import Experience, load_stream, load_suite
from cl_forget.streams.judges import holds, last_number

ROWS = [{"question": f"{i}+{i}=", "answer": 2 * i, "level": "easy"} for i in range(40)]


def write(path: Path, rows: list[Any] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def load(source: str, **options: Any) -> Experience:
    (experience,) = load_stream(
        {source: {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}}
    )
    return experience


def said(source: str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pairs(*data: Any) -> list[tuple[str, str]]:
    return [pair for own in data for pair in zip(own.prompts, own.responses, strict=True)]


def test_json_lines_are_split_the_same_way_every_time(tmp_path: Path) -> None:
    file = write(tmp_path / "sums.jsonl")
    one, two = load("jsonl", path=file), load("jsonl", path=file)
    assert one.name == "sums" and one.metric == "exact match"
    assert one.train.fingerprint == two.train.fingerprint
    everything = pairs(one.train, one.validation, one.test)
    assert sorted(everything) == sorted((row["question"], str(row["answer"])) for row in ROWS)
    more = load("jsonl", path=write(tmp_path / "more.jsonl", [*ROWS, {**ROWS[0], "question": "0*0="}]))
    assert set(pairs(one.test)) <= set(pairs(more.test))  # a new line moves no old one


def test_templates_read_several_columns(tmp_path: Path) -> None:
    file = write(tmp_path / "sums.jsonl")
    task = load("jsonl", path=file, prompt="[{level}] {question}", response="={answer}", limit=3)
    assert len(task.train) == 3
    assert all(p.startswith("[easy] ") and r.startswith("=") for p, r in pairs(task.train))


def test_a_folder_of_splits_keeps_them(tmp_path: Path) -> None:
    for split, rows in (("train", ROWS[:20]), ("val", ROWS[20:25]), ("test", ROWS[25:])):
        write(tmp_path / "sums" / f"{split}.jsonl", rows)
    task = load("jsonl", path=tmp_path / "sums")
    assert (len(task.train), len(task.validation), len(task.test)) == (20, 5, 15)
    (tmp_path / "sums" / "train.jsonl").unlink()
    (tmp_path / "sums" / "val.jsonl").unlink()
    suite = load_suite({"jsonl": {"path": str(tmp_path / "sums")}})
    assert suite.train is None and len(suite.validation) + len(suite.test) == 15


def test_csv_and_plain_text(tmp_path: Path) -> None:
    lines = ["prompt,response", *(f'"{i}, twice",{2 * i}' for i in range(30))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert ("3, twice", "6") in pairs(*load("csv", path=tmp_path / "t.csv").splits().values())
    plain = load("jsonl", path=write(tmp_path / "p.jsonl", [{"text": f"story {i}"} for i in range(30)]))
    assert plain.metric == "perplexity" and set(plain.train.prompts) == {""}


def test_choices_by_position_or_by_text(tmp_path: Path) -> None:
    rows = [{"q": f"q{i}", "options": ["yes", "no"], "gold": i % 2} for i in range(30)]
    task = load(
        "jsonl", path=write(tmp_path / "c.jsonl", rows), prompt="q", response="gold", choices="options"
    )
    assert task.metric == "multiple choice"
    assert all(r == ("yes", "no")[int(p[1:]) % 2] for p, r in pairs(task.test))
    texts = [{**row, "gold": "no"} for row in rows]
    task = load(
        "jsonl", path=write(tmp_path / "d.jsonl", texts), prompt="q", response="gold", choices="options"
    )
    assert set(task.test.responses) == {"no"}


def test_conversations(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    rows = [{"messages": [{"role": "system", "content": str(i)}, *turns]} for i in range(30)]
    task = load("jsonl", path=write(tmp_path / "m.jsonl", rows))
    assert task.test.responses[0] == "hello"
    assert [m["role"] for m in task.test.prompts[0]] == ["system", "user"]
    rows[3]["messages"] = turns[:1]
    assert "row 4: messages must be a list" in said("jsonl", path=write(tmp_path / "m.jsonl", rows))


def test_the_datasets_library(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list(ROWS)
    DatasetDict({"train": rows, "heldout": rows.select(range(5))}).save_to_disk(tmp_path / "saved")
    task = load("datasets", path=tmp_path / "saved", splits={"train": "train", "test": "heldout"}, name="s")
    assert len(task.test) == 5 and len(task.train) + len(task.validation) == 40
    write(tmp_path / "files" / "train.jsonl")
    assert len(load("datasets", path=tmp_path / "files").train) > 20
    message = said("datasets", path=tmp_path / "saved", splits={"test": "held"})
    assert "has no split 'held'. Did you mean 'heldout'? Its splits: train, heldout" in message
    (tmp_path / "empty").mkdir()
    assert "cannot be loaded" in said("datasets", path=tmp_path / "empty")


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "could not be had from the hub" in said("datasets", path="nobody/nothing-of-the-kind")


def test_a_file_names_the_judge_of_its_answers(tmp_path: Path) -> None:
    file = write(tmp_path / "sums.jsonl")
    scorings = [
        load_stream({"jsonl": {"path": str(file), **more}})[0].scoring
        for more in ({}, {"judge": "last number"})
    ]
    assert [own.judge for own in scorings] == [None, last_number]
    assert last_number("", "18 + 24 = 42, so 42.00", "9 * 4 + 6 = 42\n#### 42") and last_number(
        "", "1,200!", "1200"
    )
    assert (
        not last_number("", "42 or 43", "42")
        and not last_number("", "none", "42")
        and last_number("", "-3", "x=-3")
    )
    assert holds("", "It is PARIS, of course.", "Paris") and not holds("", "Parisian", "Paris")
    assert holds("", "C++ (or so)", "c++") and not holds("", "", "Paris")


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    file = write(tmp_path / "sums.jsonl")
    message = said("jsonl", path=file, prompt="qestion", response="answer")
    assert "no column 'qestion'. Did you mean 'question'? Its columns: question, answer, level." in message
    assert "no column 'topic'" in said("jsonl", path=file, prompt="{topic}: {question}", response="answer")
    other = write(tmp_path / "o.jsonl", [{"a": "1", "b": "2"}] * 9)
    assert "say which column is the `response`" in said("jsonl", path=other)
    assert "no file or folder at" in said("jsonl", path=tmp_path / "none.jsonl")
    assert "holds no train.csv" in said("csv", path=tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "response": "b"}\nnot json\n')
    assert "line 2: not JSON" in said("jsonl", path=tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text("[1]\n")
    assert "line 1: a line must be an object" in said("jsonl", path=tmp_path / "bad.jsonl")
    uneven = write(tmp_path / "u.jsonl", [{"prompt": "a", "response": "b"}, {"prompt": "a"}])
    assert "object 2 has no 'response'" in said("jsonl", path=uneven)
    (tmp_path / "bad.csv").write_text("prompt,response\na,b,c\n")
    assert "row 2: it has other columns" in said("csv", path=tmp_path / "bad.csv")
    assert "too few to set" in said("jsonl", path=write(tmp_path / "f.jsonl", ROWS[:2]))
    many = said("jsonl", path=write(tmp_path / "same.jsonl", ROWS[:2] * 24))
    assert "48 samples, 2 of them different (samples that are alike stay in one split), are too few" in many
    empty = [{"prompt": str(i), "response": "" if i == 3 else "x"} for i in range(30)]
    assert "responses are empty" in said("jsonl", path=write(tmp_path / "e.jsonl", empty))
    nothing = [{"prompt": str(i), "response": None} for i in range(30)]
    assert "holds None, not a text" in said("jsonl", path=write(tmp_path / "n.jsonl", nothing))
    assert "test is the fraction" in said("jsonl", path=file, test=2.0)
    assert "leave nothing to train on" in said("jsonl", path=file, test=0.6, validation=0.4)
    assert "decodes nothing" in said("jsonl", path=file, scoring="perplexity", max_new_tokens=3)
    assert "decodes nothing" in said("jsonl", path=file, scoring="perplexity", judge="holds")
    assert "judge" in said("jsonl", path=file, judge="contains")
    assert "cannot be read" in said("jsonl", path=file, prompt="{question", response="answer")


def split_of_prompts(task: Experience) -> dict[str, set[str]]:
    return {split: set(data.prompts) for split, data in task.splits().items()}


def test_answers_to_one_question_stay_in_one_split(tmp_path: Path) -> None:
    single = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(40)]
    several = [{"question": f"several {i}", "answer": f"{word} {i}"} for i in range(20) for word in "xyz"]
    task = load("jsonl", path=write(tmp_path / "a.jsonl", single + several))
    train, validation, test = split_of_prompts(task).values()
    assert not train & validation and not train & test and not validation & test
    assert any("several" in prompt for prompt in test)
    assert not any("stand in train" in note for note in task.notes)
    # where a question has one answer, nothing moves
    alone = split_of_prompts(load("jsonl", path=write(tmp_path / "b.jsonl", single)))
    assert all(alone[split] <= own for split, own in split_of_prompts(task).items())


def test_a_prompt_that_most_rows_share_is_a_form(tmp_path: Path) -> None:
    rows = [{"prompt": "Write a story.", "response": f"Story {i}."} for i in range(40)]
    task = load("jsonl", path=write(tmp_path / "a.jsonl", rows))
    assert len(task.test) > 1 and len(task.train) > 20
    assert (
        f"{len(task.test)} of {len(task.test)} prompts of test stand in train, too, with other answers"
        in task.notes
    )
    rows = [{"q": "Which is right?", "c": [f"x{i}", f"y{i}"], "a": f"x{i}"} for i in range(40)]
    task = load("jsonl", path=write(tmp_path / "b.jsonl", rows), prompt="q", response="a", choices="c")
    assert not any("stand in train" in note for note in task.notes), "other choices make another question"


def test_prompts_of_test_that_stand_in_train_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "sums" / "train.jsonl", ROWS)
    test = [
        {**ROWS[0], "answer": "none"},
        {**ROWS[1], "answer": "none"},
        ROWS[2],
        {**ROWS[3], "question": "new"},
    ]
    write(tmp_path / "sums" / "test.jsonl", test)
    task = load("jsonl", path=tmp_path / "sums", validation=0.01)
    asked = {ROWS[i]["question"] for i in range(2)} & set(task.train.prompts)
    assert (
        asked and f"{len(asked)} of 4 prompts of test stand in train, too, with other answers" in task.notes
    )


def test_a_sample_knows_its_row(tmp_path: Path) -> None:
    file = write(tmp_path / "sums.jsonl")
    task = load("jsonl", path=file)
    for data in task.splits().values():
        for position, prompt in enumerate(data.prompts):
            row = next(i for i, own in enumerate(ROWS, start=1) if own["question"] == prompt)
            assert data.place(position) == f"sample {position} (jsonl '{file}', train, row {row})"
    few = task.train.subset([3, 5])
    assert few.place(1).split("(")[1] == task.train.place(5).split("(")[1]
    choices = [{"q": f"q{i}", "c": ["x", "y" if i else "x"], "a": "x"} for i in range(30)]
    message = said("jsonl", path=write(tmp_path / "c.jsonl", choices), prompt="q", response="a", choices="c")
    assert (
        f"(jsonl '{tmp_path / 'c.jsonl'}', train, row 1): 2 choices hold the response 'x' 2 times" in message
    )
