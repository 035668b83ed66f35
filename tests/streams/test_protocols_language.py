"""TRACE, retaining by doing and the suite sets: where the sets are looked for, how answers are judged, stand-ins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl_forget.ground.errors import UserError
from cl_forget.streams import load_stream, load_suite, load_suites
from cl_forget.streams.protocols import judges, language
from cl_forget.streams.protocols.text_sets import SETS


def message(load: Any, spec: object) -> str:
    with pytest.raises(UserError) as caught:
        load(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"question {k}", "answer": f"A. because {k}", **more} for k in range(count)]


def test_the_benchmarks_own_folders_are_read_as_they_are(tmp_path: Path) -> None:
    for name in language.TRACE:
        (tmp_path / name).mkdir()
        for split, count in (("train", 6), ("eval", 3), ("test", 4)):
            (tmp_path / name / f"{split}.json").write_text(json.dumps(rows(count)))
    tasks = load_stream({"trace": {"root": str(tmp_path)}})
    assert [task.name for task in tasks] == list(language.TRACE)
    assert [[len(data) for data in task.splits().values()] for task in tasks] == [[6, 3, 4]] * 8
    judged = {task.name: (task.metric, task.scoring.judge) for task in tasks if task.scoring}
    assert judged["MeetingBank"] == ("ROUGE-L", judges.rouge_l)
    assert judged["20Minuten"] == ("SARI", judges.sari)
    assert judged["Py150"] == ("edit similarity", judges.edit_similarity)
    assert judged["ScienceQA"] == ("accuracy", judges.first_letter)
    assert judged["NumGLUE-cm"] == ("exact match", None)
    [few] = [
        task for task in load_stream({"trace": {"root": str(tmp_path), "limit": 2}}) if task.name == "FOMC"
    ]
    assert len(few.train) == 2


def test_a_suite_set_gives_all_of_its_suites_from_files_or_folders(tmp_path: Path) -> None:
    choices = [{"prompt": f"{k}?", "response": "yes", "choices": ["yes", "no"]} for k in range(8)]
    for name in language.SUITE_SETS["trace"]:
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, choices)))
    (tmp_path / "piqa.jsonl").unlink()
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa" / "test.csv").write_text(
        "prompt,response\n" + "".join(f"{k}?,yes\n" for k in range(8))
    )
    (tmp_path / "gsm8k.jsonl").write_text("\n".join(map(json.dumps, rows(8))))
    suites = load_suites([{"suite-set": {"of": "trace", "root": str(tmp_path)}}])
    assert [suite.name for suite in suites] == list(language.SUITE_SETS["trace"])
    metric = {suite.name: suite.metric for suite in suites}
    assert metric["mmlu"] == "multiple choice" and metric["piqa"] == "exact match"
    assert [len(suites[0].validation) + len(suites[0].test), suites[0].test.choices[0]] == [8, ("yes", "no")]
    assert metric["gsm8k"] == "final answers" and all(suite.train is None for suite in suites)
    some = load_suites([{"suite-set": {"of": "trace", "root": str(tmp_path), "without": ["mmlu", "piqa"]}}])
    assert [suite.name for suite in some] == ["gsm8k", "bbh", "tydiqa", "boolq"]


def test_what_is_missing_is_one_line_that_says_where_to_put_it(tmp_path: Path) -> None:
    said = message(load_stream, {"trace": {"root": str(tmp_path)}})
    assert said.startswith(
        f"stream 'trace' needs the set 'C-STANCE', which is not there: put it in '{tmp_path}/C-STANCE'"
    )
    assert said.endswith("`root: embedded` runs a stand-in.")
    # A text alone is the first option.
    assert "suite set 'post-forget' needs the set 'mmlu'" in message(
        load_suites, [{"suite-set": "post-forget"}]
    )
    assert "option 'of' should be 'post-forget'" in message(load_suites, [{"suite-set": "past-forget"}])
    assert "has no 'pica'. Did you mean 'piqa'?" in message(
        load_suites, [{"suite-set": {"of": "trace", "without": ["pica"]}}]
    )
    every = list(language.SUITE_SETS["trace"])
    assert "leave fewer out" in message(load_suites, [{"suite-set": {"of": "trace", "without": every}}])
    assert "is a set of 6 suites, and one is asked for here" in message(
        load_suite, {"suite-set": {"of": "trace", "root": "embedded"}}
    )
    (tmp_path / "countdown.jsonl").write_text("\n".join(map(json.dumps, rows(20))))
    [task] = load_stream({"retaining-by-doing": {"root": str(tmp_path)}})
    assert task.scoring.judge is judges.countdown and task.train is not None
    (tmp_path / "mmlu").mkdir()
    (tmp_path / "mmlu" / "test.jsonl").write_text("\n".join(map(json.dumps, rows(20))))
    assert "hold no `train` split: add one" in message(
        load_stream, {"retaining-by-doing": {"train": "mmlu", "root": str(tmp_path)}}
    )


def test_stand_ins_have_the_shape_and_clash_with_nothing() -> None:
    tasks = load_stream({"trace": {"root": "embedded", "limit": 5}})
    assert len(tasks) == 8 and all(len(task.train) == 5 for task in tasks)
    for name, members in language.SUITE_SETS.items():
        suites = load_suites([{"suite-set": {"of": name, "root": "embedded", "limit": 4}}])
        assert len({suite.name for suite in suites}) == len(suites) == len(members)
        assert all(suite.train is None and len(suite.test) <= 4 for suite in suites)
    general = load_suites([{"suite-set": {"of": "trace", "root": "embedded"}}])
    assert not {task.name for task in tasks} & {suite.name for suite in general}
    for train in ("ifeval", "mmlu", "countdown"):
        [task] = load_stream({"retaining-by-doing": {"train": train, "root": "embedded"}})
        without = {"of": "retaining-by-doing", "root": "embedded", "without": [train]}
        assert task.name not in {suite.name for suite in load_suites([{"suite-set": without}])}
    assert {name for members in language.SUITE_SETS.values() for name in members} <= set(SETS)


def naive_longest(one: list[str], other: list[str]) -> int:
    if not one or not other:
        return 0
    if one[-1] == other[-1]:
        return naive_longest(one[:-1], other[:-1]) + 1
    return max(naive_longest(one[:-1], other), naive_longest(one, other[:-1]))


def test_rouge_l_and_edit_similarity() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    for said, reference in (
        ("the cat sat on the mat", "the cat lay on a mat"),
        ("b a c", "a b c d"),
        ("nothing alike", "at all"),
        ("same words", "same words"),
    ):
        ours = judges.rouge_l("", said, reference)
        assert ours == pytest.approx(scorer.score(reference, said)["rougeL"].fmeasure)
        common = naive_longest(said.split(), reference.split())
        assert ours == pytest.approx(2 * common / (len(said.split()) + len(reference.split())))
    assert judges.rouge_l("", "", "words") == 0.0
    # "x = 1" and "x = 2" have four of five characters in common.
    assert judges.edit_similarity("", "x = <NUM_LIT:1>", "x = 2") == pytest.approx(0.8)
    assert judges.edit_similarity("", "f(<STR_LIT:a>)", "f(a)") == 1.0


def test_sari_gives_the_number_of_its_documentation() -> None:
    """The example of the metric's page in Hugging Face `evaluate`, which runs the authors' code."""
    references = (
        "About 95 species are currently known.",
        "About 95 species are now accepted.",
        "95 species are now accepted.",
    )
    found = judges.sari_of("About 95 species are currently accepted.", "About 95 you now get in.", references)
    assert found == pytest.approx(0.26953601953601954, abs=1e-12)
    assert judges.sari("a b c", "a b", "a b") == pytest.approx(1.0)


def test_countdown_takes_any_expression_with_the_same_numbers_and_value() -> None:
    right = ("(5 + 3) * 2", "2*(3+5)", "so \\boxed{2 \\times (5 + 3)}", "first\n(3+5)*2 = 16")
    assert all(judges.countdown("", said, "(3 + 5) * 2") for said in right)
    wrong = (
        "16",
        "8 * 2",
        "(5 + 3) * 2 * 1",
        "3 * 5 + 2",
        "5 / 0",
        "__import__('os')",
        "2 ** 4",
        "",
        "[3, 5, 2]",
    )
    assert not any(judges.countdown("", said, "(3 + 5) * 2") for said in wrong)
    assert not judges.countdown("", "nothing", "no expression")


def test_final_answers_are_compared_without_their_dress() -> None:
    assert judges.final_answer("", "Thus $\\boxed{\\dfrac{1}{2}}$.", "\\boxed{\\frac{1}{2}}")
    assert judges.final_answer("", "reasons\n42.", "so it is\n 42")
    assert not judges.final_answer("", "\\boxed{41}", "\\boxed{42}")
    assert not judges.final_answer("", "", "")
    assert judges.first_letter("", " B. since", "B") and not judges.first_letter("", "A", "B")
