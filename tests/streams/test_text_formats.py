"""Rows as people have them, read out of the box: which columns are taken, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl_forget.ground.errors import UserError
from cl_forget.streams import Experience, load_stream

COUNT = 30


def load(path: Path, source: str = "jsonl", **options: Any) -> Experience:
    (experience,) = load_stream({source: {"path": str(path), **options}})
    return experience


def read(tmp_path: Path, rows: list[Any], **options: Any) -> Experience:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return load(path, **options)


def many(row: Any) -> list[Any]:
    """The row as often as the splits need it, a number in the place of "#"."""
    return [json.loads(json.dumps(row).replace("#", str(i))) for i in range(COUNT)]


def samples(experience: Experience) -> dict[str, Any]:
    """Response -> prompt of every sample."""
    return {
        response: prompt
        for data in experience.splits().values()
        for prompt, response in zip(data.prompts, data.responses, strict=True)
    }


def said(tmp_path: Path, rows: list[Any], **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(tmp_path, rows, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_alpaca_keeps_its_input(tmp_path: Path) -> None:
    rows = many({"instruction": "Add one.", "input": "to #", "output": "is #"})
    rows[1]["input"], rows[2]["input"] = "", None
    del rows[3]["input"]
    task = read(tmp_path, rows)
    found = samples(task)
    assert found["is 5"].endswith("### Instruction:\nAdd one.\n\n### Input:\nto 5\n\n### Response:")
    assert "paired with an input" in found["is 5"]
    for number in (1, 2, 3):
        assert "Input" not in found[f"is {number}"] and "None" not in found[f"is {number}"]
    assert task.test.separator == "\n"
    assert any(note.startswith("Alpaca") for note in task.notes) and "JSON lines, 30 rows" in task.notes[0]
    assert "object 5 has no 'output', which others have (1 of 30 lack it)" in said(
        tmp_path, [*rows[:4], {"instruction": "x", "input": ""}, *rows[5:]]
    )


def test_alpaca_with_more_beside_it(tmp_path: Path) -> None:
    row = {
        "instruction": "And #?",
        "input": "",
        "output": "o#",
        "system": "Be kind.",
        "history": [["a", "b"]],
    }
    turns = samples(read(tmp_path, many(row)))["o3"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    dolly = {"instruction": "Who?", "context": "It was #.", "response": "r#", "category": "qa"}
    assert "### Input:\nIt was 4." in samples(read(tmp_path, many(dolly)))["r4"]


def test_sharegpt(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "hi #"}, {"from": "gpt", "value": "hello #"}]
    row = {"conversations": [{"from": "system", "value": "s"}, *turns], "id": "#"}
    task = read(tmp_path, many(row))
    assert samples(task)["hello 3"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "hi 3"},
    ]
    assert "columns not used: id" in task.notes
    # ends with the human, begins with the assistant: what has no place is left out, and said
    more = {
        "conversations": [{"from": "gpt", "value": "Welcome."}, *turns, {"from": "human", "value": "thanks"}]
    }
    task = read(tmp_path, many(more), name="x")
    assert samples(task)["hello 3"] == [{"role": "user", "content": "hi 3"}]
    assert any("30 conversations go on after the last answer" in note for note in task.notes)
    assert any("30 conversations begin with the assistant" in note for note in task.notes)
    tools = [turns[0], {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'}]
    tools += [{"from": "observation", "value": "1"}, turns[1]]
    prompt = samples(read(tmp_path, many({"conversations": tools, "system": "t"})))["hello 3"]
    assert [turn["role"] for turn in prompt] == ["system", "user", "assistant", "tool"]
    assert prompt[2]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"x": 1}}


def test_openai_messages(tmp_path: Path) -> None:
    text = {"type": "text", "text": "What is #"}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [text, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "#"},
        {"role": "assistant", "content": [{"type": "text", "text": "It is #"}], "weight": 1},
    ]
    task = read(tmp_path, many({"messages": messages}))
    prompt = samples(task)["It is 7"]
    assert [turn["role"] for turn in prompt] == ["system", "user", "assistant", "tool"]
    assert prompt[1]["content"] == "What is 7\n?" and prompt[2]["content"] == ""
    assert prompt[2]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert any("the last one is the response" in note for note in task.notes)
    messages[1]["content"][1] = {"type": "image_url", "image_url": {"url": "x"}}
    message = said(tmp_path, many({"messages": messages}))
    assert "row 1: a turn of messages holds a part of the kind image_url" in message and "30 of 30" in message
    assert "tool call" in said(
        tmp_path, many({"messages": [messages[0], {"role": "user", "content": "q"}, messages[2]]})
    )
    assert "has the role 'narrator'" in said(
        tmp_path, many({"messages": [{"role": "narrator", "content": "x"}] * 2})
    )
    assert "has no role" in said(tmp_path, many({"messages": [{"content": "x"}] * 2}))
    assert "messages must be a list" in said(tmp_path, many({"messages": "hello"}))


@pytest.mark.parametrize("names", [("prompt", "completion"), ("question", "answer")])
def test_trl_plain_and_conversational(tmp_path: Path, names: tuple[str, str]) -> None:
    asked, answered = names
    plain = read(tmp_path, many({asked: "The sky # is", answered: " blue #."}))
    assert samples(plain)[" blue 2."] == "The sky 2 is"
    turns = {asked: [{"role": "user", "content": "q#"}], answered: [{"role": "assistant", "content": "a#"}]}
    assert samples(read(tmp_path, many(turns)))["a2"] == [{"role": "user", "content": "q2"}]
    mixed = {asked: [{"role": "user", "content": "q#"}], answered: "a#"}
    assert samples(read(tmp_path, many(mixed)))["a2"] == [{"role": "user", "content": "q2"}]


def test_bad_answers_are_not_trained_on(tmp_path: Path) -> None:
    good = many({"prompt": "q#", "completion": "good #", "label": True})
    bad = many({"prompt": "q#", "completion": "bad #", "label": False})
    task = read(tmp_path, good + bad)
    assert all(response.startswith("good") for response in samples(task))
    assert (
        any("'label' is false are left out" in note for note in task.notes)
        and "30 rows are left out" in task.notes
    )
    row = {"prompt": "q#", "chosen": "c#", "rejected": "r#"}
    task = read(tmp_path, many(row))
    assert samples(task)["c3"] == "q3" and any("'rejected' is not used" in note for note in task.notes)
    assert "columns not used: rejected" in task.notes
    whole = [{"role": "user", "content": "q#"}, {"role": "assistant", "content": "c#"}]
    assert samples(read(tmp_path, many({"prompt": "q#", "chosen": whole, "rejected": whole})))["c3"] == [
        {"role": "user", "content": "q3"}
    ]
    assert samples(read(tmp_path, many({"prompt": "q#", "chosen": whole[1:], "rejected": whole[1:]})))["c3"]
    harmless = {"chosen": "\n\nHuman: q#\n\nAssistant: c#", "rejected": "\n\nHuman: q#\n\nAssistant: r#"}
    assert samples(read(tmp_path, many(harmless)))["c3"] == [{"role": "user", "content": "q3"}]
    assert "has no prompt before it" in said(tmp_path, many({"chosen": "c#", "rejected": "r#"}))


def test_a_column_the_question_is_about_is_not_lost(tmp_path: Path) -> None:
    squad = {"context": "Long ago #.", "question": "When?", "answer": "a#"}
    assert 'say what the prompt is: `prompt: "{context}\\n\\n{question}"`' in said(tmp_path, many(squad))
    task = read(tmp_path, many(squad), prompt="{context}\n\n{question}", response="answer")
    assert samples(task)["a2"] == "Long ago 2.\n\nWhen?"
    orca = {"system_prompt": "Be kind.", "question": "q#", "response": "a#"}
    assert [turn["role"] for turn in samples(read(tmp_path, many(orca)))["a2"]] == ["system", "user"]
    # a response alone has the prompt that goes with it
    assert samples(read(tmp_path, many({"question": "q#", "answer": "a#"}), response="answer"))["a2"] == "q2"


def test_nothing_is_written_as_python_writes_it(tmp_path: Path) -> None:
    rows = many({"q": "q#", "n": 3.0, "b": True, "x": 2.5, "a": 7})
    prompt = samples(read(tmp_path, rows, prompt="{q} {n} {b} {x}", response="r{a}{q}"))["r7q4"]
    assert prompt == "q4 3 true 2.5"
    for nothing in (None, float("nan")):
        rows[4]["n"] = rows[6]["n"] = nothing
        message = said(tmp_path, rows, prompt="{q} {n}", response="a")
        assert "row 5: column 'n' holds None, not a text" in message and "2 of 30 rows" in message
    braces = many({"q": "{a} {0} #", "a": "x#"})
    assert samples(read(tmp_path, braces, prompt="<{q}>", response="a"))["x1"] == "<{a} {0} 1>"
    assert "holds ['x'], not a text" in said(tmp_path, many({"q": "q", "a": ["x"]}), prompt="q", response="a")
    nested = many({"question": "q#", "answers": {"text": ["a#", "b"], "answer_start": [1, 2]}})
    assert samples(read(tmp_path, nested, prompt="question", response="answers.text.0"))["a3"] == "q3"
    assert "`response` is empty" in said(tmp_path, rows, prompt="q", response="")
    for template in ("{q!z}", "{q:>9}", "{}", "{q"):
        assert "cannot be read" in said(tmp_path, rows, prompt=template, response="a")
    half = many({"question": "q#", "answer": "x"})
    half[0]["answer"] = "\ud83d"
    assert "row 1: column 'answer' holds" in said(tmp_path, half)


def test_a_key_that_some_rows_lack(tmp_path: Path) -> None:
    rows = many({"question": "q#", "answer": "a#"})
    rows[5]["extra"] = 1
    assert len(samples(read(tmp_path, rows))) == COUNT  # nobody needs it
    del rows[0]["answer"], rows[7]["answer"]
    assert "object 1 has no 'answer', which others have (2 of 30 lack it)" in said(tmp_path, rows)
    rows = many({"question": "q#", "answer": "a#"})
    rows[9]["answer"] = rows[11]["answer"] = "  "
    assert "2 responses are empty (the first is row 10)" in said(tmp_path, rows)


def test_choices_as_data_sets_write_them(tmp_path: Path) -> None:
    def right(row: dict[str, Any], **options: Any) -> set[str]:
        task = read(
            tmp_path, many({"q": "q#", **row}), prompt="q", response="gold", choices="options", **options
        )
        return {response for data in task.splits().values() for response in data.responses}

    assert right({"options": ["x", "y"], "gold": 1}) == {"y"}
    assert right({"options": ["x", "y"], "gold": "B"}) == {"y"}
    assert right({"options": ["x", "y"], "gold": "y"}) == {"y"}
    assert right({"options": [1, 2], "gold": 1}) == {"1"}
    arc = {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}
    assert right({"options": arc, "gold": "1"}) == {"x"}  # its label, not its position
    assert right({"options": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], "gold": "B"}) == {
        "y"
    }
    assert right({"options": {"A": "x", "B": "y"}, "gold": "B"}) == {"y"}
    assert right({"options": {"A": "x", "B": "y"}, "gold": "x"}) == {"x"}
    rows = many({"q": "q#", "options": ["x", "y"], "gold": 2})
    options = {"prompt": "q", "response": "gold", "choices": "options"}
    assert "sample 1: the response 2 is none of its 2 choices" in said(tmp_path, rows, **options)
    assert "the two disagree" in said(tmp_path, many({"q": "#", "options": ["1", "0"], "gold": 1}), **options)
    assert "must hold a list of choices" in said(
        tmp_path, many({"q": "#", "options": "x", "gold": 1}), **options
    )


def test_what_was_understood_is_said_once_for_all_splits(tmp_path: Path) -> None:
    for split, rows in (
        ("train", many({"question": "q#", "answer": "a#"})),
        ("test", [{"question": "q", "answer": "a"}]),
    ):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert load(tmp_path).notes == (
        "test: JSON lines, 1 row",
        "train: JSON lines, 30 rows",
        "prompt 'question', response 'answer'",
    )


def test_names_that_may_mean_texts_or_turns(tmp_path: Path) -> None:
    talk = {"dialogue": "A: hi #", "summary": "They greet #."}
    assert samples(read(tmp_path, many(talk)))["They greet 3."] == "A: hi 3"
    turns = [{"role": "user", "content": "q#"}, {"role": "assistant", "content": "a#"}]
    assert samples(read(tmp_path, many({"dialogue": turns})))["a3"] == [{"role": "user", "content": "q3"}]
    completion = {"prompt": turns[:1], "completion": turns[1:]}
    assert samples(read(tmp_path, many(completion), response="completion"))["a3"]
    assert samples(read(tmp_path, many({"talk": turns}), response="talk"))["a3"]
    assert samples(read(tmp_path, many({"text": "t#", "label": "spam #"})))["spam 3"] == "t3"
    unknown = read(
        tmp_path, many({"text": "t#", "label": None})
    )  # says nothing, so the texts are read as texts
    assert unknown.metric == "perplexity" and "columns not used: label" in unknown.notes


def test_empty_prompts_and_holes_in_templates(tmp_path: Path) -> None:
    rows = many({"question": "q#", "answer": "a#"})
    rows[3]["question"] = rows[4]["question"] = " "
    assert "2 prompts are empty (the first is row 4)" in said(tmp_path, rows)
    notes = read(tmp_path, rows, prompt="Q: {question}", response="answer").notes
    assert any("2 rows have nothing in 'question'" in note for note in notes)


def test_definitions_of_tools_stand_in_the_first_turn(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "q#"}, {"role": "assistant", "content": "a#"}]
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {}}}
    for tools in ([tool], json.dumps([tool]), [tool["function"]]):
        task = read(tmp_path, many({"messages": messages, "tools": tools}))
        (turn,) = samples(task)["a3"]
        assert turn["tools"] in ([tool], [tool["function"]])
    assert "tools" not in samples(read(tmp_path, many({"messages": messages, "tools": None})))["a3"][0]
    assert "must be a list of definitions" in said(tmp_path, many({"messages": messages, "tools": "look_up"}))


# -- what is about something that would be lost -----------------------------------------------------------------
@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "q#"}, {"role": "assistant", "content": "a#"}], "images": ["x"]},
        {"conversations": [{"from": "human", "value": "q#"}, {"from": "gpt", "value": "a#"}], "image": "x.png"},
        {"instruction": "say #", "input": "", "output": "a#", "videos": ["x.mp4"]},
    ],
)  # fmt: skip
def test_questions_about_pictures_are_no_texts(tmp_path: Path, row: dict[str, Any]) -> None:
    rows = many(row)
    assert "a language model does not get" in said(tmp_path, rows)
    media = next(name for name in row if name in ("images", "image", "videos"))
    for own in rows:
        own[media] = None if media == "image" else []
    assert len(samples(read(tmp_path, rows))) == COUNT, "the column is there and empty"


def test_pictures_of_a_data_set_are_not_dropped_in_silence(tmp_path: Path) -> None:
    import datasets
    from PIL import Image

    features = datasets.Features(
        {n: datasets.Value("string") for n in ("question", "answer")} | {"pic": datasets.Image()}
    )
    rows = [{"question": f"q{i}", "answer": f"a{i}", "pic": Image.new("RGB", (2, 2))} for i in range(COUNT)]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "set")
    with pytest.raises(UserError, match="in column 'pic'"):
        load(tmp_path / "set", "datasets")
    assert len(samples(load(tmp_path / "set", "datasets", prompt="question", response="answer"))) == COUNT


@pytest.mark.parametrize("flag", ["label", "kto_tag"])
@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "q#"}, {"role": "assistant", "content": "a#"}]},
        {"instruction": "say #", "input": "", "output": "a#"},
        {"prompt": "q#", "completion": "a#"},
    ],
)
def test_bad_answers_are_left_out_of_every_format(tmp_path: Path, row: dict[str, Any], flag: str) -> None:
    rows = [{**own, flag: i % 2 == 0} for i, own in enumerate(many(row))]
    task = read(tmp_path, rows)
    assert set(samples(task)) == {f"a{i}" for i in range(0, COUNT, 2)}
    assert any(f"whose '{flag}' is false are left out" in note for note in task.notes)


@pytest.mark.parametrize(
    ("row", "lost"),
    [
        ({"question": "q#", "choices": ["x", "y"], "answer": 1}, "choices: choices"),
        ({"instruction": "i#", "query": "q#", "response": "a#"}, "{query}"),
        ({"sentence": "s#", "sentence2": "t#", "label": "same"}, "{sentence2}"),
        ({"prompt": "p#", "question": "q#", "response": "a#"}, "{question}"),
    ],
)
def test_columns_that_a_question_is_about(tmp_path: Path, row: dict[str, Any], lost: str) -> None:
    assert lost in said(tmp_path, many(row))


@pytest.mark.parametrize("label", [1, 0.5, "3", [1, 2], True])
def test_classes_by_number_in_a_table_of_texts_are_no_answers(tmp_path: Path, label: Any) -> None:
    rows = many({"text": "t#", "label": label})
    message = said(tmp_path, rows)
    assert "'text' stands beside 'label'" in message and "`prompt: text` and `response: label`" in message
    task = read(tmp_path, rows, response="text")
    assert set(samples(task)) == {f"t{i}" for i in range(COUNT)} and task.metric == "perplexity"


def test_numbers_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for number in ("1e400", "Infinity", "-Infinity", "NaN"):
        path.write_text("\n".join(f'{{"question": "q{i}", "answer": {number}}}' for i in range(COUNT)))
        with pytest.raises(UserError, match=r"column 'answer' holds .*, not a text"):
            load(path)


def test_keys_that_a_table_fills_with_null(tmp_path: Path) -> None:
    null = {"role": None, "content": None, "tool_calls": None, "weight": None}
    turns = [{**null, "from": "human", "value": "q#"}, {**null, "from": "gpt", "value": "a#"}]
    assert samples(read(tmp_path, many({"conversations": turns})))["a3"] == [
        {"role": "user", "content": "q3"}
    ]


@pytest.mark.parametrize("nothing", ["<noinput>", "Noinput", " <NoInput> "])
def test_alpaca_s_word_for_no_input(tmp_path: Path, nothing: str) -> None:
    found = samples(read(tmp_path, many({"instruction": "Say #.", "input": nothing, "output": "a#"})))
    assert found["a3"].endswith("### Instruction:\nSay 3.\n\n### Response:") and "paired" not in found["a3"]


def test_positions_that_are_counted_from_one(tmp_path: Path) -> None:
    rows = [{"question": f"q{i}", "answer": 1 + i % 3, "choices": ["w", "x", "y", "z"]} for i in range(COUNT)]
    assert "'answer' holds positions and none of its 30 is 0" in said(tmp_path, rows, choices="choices")
    assert "none of its 3 is 0" in said(tmp_path, rows[:3], choices="choices")
    rows[0]["answer"] = 0
    task = read(tmp_path, rows, choices="choices")
    assert set(samples(task)) == {"w", "x", "y", "z"}
    assert any("by position ('answer')" in note for note in task.notes)


# -- one way of reading for all splits ---------------------------------------------------------------------------
def folder(tmp_path: Path, **splits: list[Any]) -> Path:
    for split, rows in splits.items():
        (tmp_path / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path


def test_right_choices_are_read_alike_in_all_splits(tmp_path: Path) -> None:
    """Ratings from 1 to 5 by position: a test split without position 0 alone looks as if given by text."""
    train = [{"q": f"q{i}", "options": [1, 2, 3, 4, 5], "gold": i % 5} for i in range(COUNT)]
    test = [{"q": f"t{i}", "options": [1, 2, 3, 4, 5], "gold": 1 + i % 4} for i in range(8)]
    options = {"prompt": "q", "response": "gold", "choices": "options"}
    task = load(folder(tmp_path, train=train, test=test), **options)
    assert task.test.responses[:4] == ["2", "3", "4", "5"]
    assert "test: 8 right choices are given by position ('gold')" in task.notes
    with pytest.raises(
        UserError, match=r"test, sample 3: the response 9 is none of its 5 choices.*\(row 3\); 1 of 33"
    ):
        load(folder(tmp_path, test=[*test[:2], {**test[2], "gold": 9}]), **options)


TURNS = [{"role": "user", "content": "q#"}, {"role": "assistant", "content": "a#"}]


@pytest.mark.parametrize(
    ("train", "test", "lacks"),
    [
        ({"instruction": "i#", "input": "x", "output": "o"}, {"instruction": "t#", "output": "o"}, "'input'"),
        ({"prompt": "p#", "completion": "c"}, {"text": "t#"}, "'prompt', which train has"),
        ({"system": "Be brief.", "prompt": "p#", "response": "r"}, {"prompt": "t#", "response": "r"}, "'system'"),
        ({"messages": TURNS, "tools": [{"name": "f"}]}, {"messages": TURNS}, "'tools', which every row of train"),
        ({"prompt": "p#", "completion": "c", "label": True}, {"prompt": "t#", "completion": "c"}, "'label'"),
        ({"question": "p#", "answer": "c"}, {"question": "t#", "answer": None, "response": "c"}, None),
    ],
)  # fmt: skip
def test_a_split_that_is_unlike_train_is_refused(
    tmp_path: Path, train: Any, test: Any, lacks: str | None
) -> None:
    path = folder(tmp_path, train=many(train), test=many(test)[:9])
    with pytest.raises(
        UserError, match="test has no column " + lacks if lacks else "test, row 1: column 'answer'"
    ):
        load(path)


def test_a_split_with_a_column_that_train_lacks_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "p#", "response": "r"}
    path = folder(tmp_path, train=many(row), test=many({**row, "system": "Be brief."})[:9])
    with pytest.raises(UserError, match="train has no column 'system', which every row of test has"):
        load(path)


def test_a_column_that_is_empty_everywhere_may_be_missing_in_a_split(tmp_path: Path) -> None:
    train = many({"instruction": "i#", "input": "", "output": "o"})
    task = load(folder(tmp_path, train=train, test=many({"instruction": "t#", "output": "o"})[:9]))
    assert task.test.prompts[0].endswith("### Instruction:\nt0\n\n### Response:")
    assert "test: no column 'input', which is read as empty" in task.notes


def test_a_test_split_whose_classes_are_withheld_is_no_plain_text(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    parts = {
        split: Dataset.from_dict({"text": [f"{split} {i}" for i in range(COUNT)], "label": labels}, features)
        for split, labels in (("train", [0, 1] * (COUNT // 2)), ("test", [-1] * COUNT))
    }
    DatasetDict(parts).save_to_disk(tmp_path / "set")
    with pytest.raises(UserError, match="test, row 1: column 'label' holds None"):
        load(tmp_path / "set", "datasets")


# -- flags of good and bad answers ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("yes", "no"), [("True", "False"), ("true", "false"), (1, 0), ("1", "0"), (1.0, 0.0), (True, "False")]
)
def test_true_and_false_in_every_spelling(tmp_path: Path, yes: Any, no: Any) -> None:
    rows = [
        {**own, "label": no if i % 2 else yes}
        for i, own in enumerate(many({"prompt": "q#", "completion": "a#"}))
    ]
    assert set(samples(read(tmp_path, rows))) == {f"a{i}" for i in range(0, COUNT, 2)}


@pytest.mark.parametrize(("value", "holds"), [(None, "None"), ("perhaps", "'perhaps'"), (2, "2")])
def test_a_flag_that_is_neither_true_nor_false(tmp_path: Path, value: Any, holds: str) -> None:
    rows = [{**own, "label": i % 2 == 0} for i, own in enumerate(many({"prompt": "q#", "completion": "a#"}))]
    rows[4]["label"] = value
    assert f"row 5: 'label' tells good answers from bad ones and holds {holds}" in said(tmp_path, rows)
    assert len(samples(read(tmp_path, rows, prompt="prompt", response="completion"))) == COUNT


def test_a_label_beside_other_formats_may_be_a_class(tmp_path: Path) -> None:
    rows = [{**own, "label": i % 2} for i, own in enumerate(many({"question": "q#", "answer": "a#"}))]
    assert len(samples(read(tmp_path, rows))) == COUNT
    flags = [{**own, "label": "FALSE" if own["label"] else "TRUE"} for own in rows]
    assert set(samples(read(tmp_path, flags))) == {f"a{i}" for i in range(0, COUNT, 2)}
    flags[6]["label"] = None
    assert "row 7: 'label' tells good answers" in said(tmp_path, flags)


def test_an_instruction_that_is_empty(tmp_path: Path) -> None:
    rows = many({"instruction": "i#", "input": "", "output": "o#"})
    rows[3]["instruction"] = rows[8]["instruction"] = " "
    assert "row 4: 'instruction' is empty" in said(tmp_path, rows)


# -- choices that are no list ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "names", ["ABCD", ["option_a", "option_b", "option_c"], ["opa", "opb"], ["Choice A", "Choice B"]]
)
@pytest.mark.parametrize("how", ["letter", "position", "text"])
def test_choices_in_columns_of_their_own(tmp_path: Path, names: list[str], how: str) -> None:
    rows = []
    for i in range(COUNT):
        right = i % len(names)
        answer = {"letter": "ABCD"[right], "position": right, "text": f"c{right} of {i}"}[how]
        rows.append(
            {"question": f"q{i}", **{name: f"c{k} of {i}" for k, name in enumerate(names)}, "answer": answer}
        )
    task = read(tmp_path, rows)
    assert task.metric == "multiple choice" and f", choices {names[0]!r}, {names[1]!r}" in task.notes[1]
    assert all(r == f"c{int(p[1:]) % len(names)} of {p[1:]}" for r, p in samples(task).items())
    assert len(task.test.choices[0]) == len(names)
    plain = read(tmp_path, rows, prompt="question", response="answer")
    assert plain.metric == "exact match"


def test_columns_of_choices_by_name(tmp_path: Path) -> None:
    row = {"goal": "q#", "sol1": "x", "sol2": "y", "sol3": " ", "gold": 1}
    rows = many(row)
    task = read(tmp_path, rows, prompt="goal", response="gold", choices="sol1, sol2, sol3")
    assert task.test.choices[0] == ("x", "y") and set(task.test.responses) == {"y"}
    asked = many({"question": "q#", "sol1": "x", "sol2": "y", "answer": 1})
    assert 'say `prompt: question`, and `choices: "sol1, sol2"`' in said(tmp_path, asked)
    assert 'say `prompt: COLUMN`, and `choices: "sol1, sol2, sol3"`' in said(tmp_path, rows, response="gold")
    rows[2]["sol1"] = None
    message = said(tmp_path, rows, prompt="goal", response="gold", choices="sol1, sol2, sol3")
    assert "row 3: column 'sol1' holds no choice" in message
    sums = many({"question": "A + B?", "A": 1, "B": 2, "answer": 3})
    assert (
        read(tmp_path, sums[:4] + many({"question": "q#", "A": 1, "B": 2, "answer": 3})).metric
        == "exact match"
    )


def test_lists_as_numpy_writes_them(tmp_path: Path) -> None:
    for cell in ("['x' 'y']", "['x'\n 'y']"):
        rows = many({"question": "q#", "choices": "", "answer": "x"})
        for row in rows:
            row["choices"] = cell
        message = said(tmp_path, rows, choices="choices")
        assert (
            "row 1: column 'choices' holds" in message
            and 'no commas and is no list; write ["one", "two"]' in message
        )
