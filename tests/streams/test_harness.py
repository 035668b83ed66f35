"""lm-evaluation-harness on task files of the test's own, offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_lm
import torch

from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.run.simulate import simulate
from cl_forget.streams import load_suite

TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{q}}}}"
{more}
"""
CHOICE = """
doc_to_choice: "{{choices}}"
doc_to_target: "{{gold}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
ANSWER = """
doc_to_target: "{{choices[gold]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 3}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
ROWS = [{"q": f"pick {i % 7} of {i}:", "choices": ["a", "zz", "m"], "gold": i % 3} for i in range(30)]


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    for name, kind, more in (("picks", "multiple_choice", CHOICE), ("says", "generate_until", ANSWER)):
        text = TASK.format(name=name, kind=kind, data=tmp_path / "rows.json", more=more)
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def test_a_task_of_the_harness_is_a_suite(tasks: Path) -> None:
    suites = [{"lm-eval": {"task": name, "include_path": str(tasks)}} for name in ("picks", "says")]
    run = Run.parse({
        "model": "tiny-lm", "stream": {"sums": {"tasks": 1, "count": 8}}, "suites": suites,
        "train": {"epochs": 1, "batch_size": 4, "lr": 1e-2}, "evaluate": {"limit": 10},
    })  # fmt: skip
    result = simulate(run)
    assert set(result.rows[1].suites) == {"picks", "says"}
    assert result.metrics["test"]["generality"] is not None
    for split in ("validation", "test"):
        assert getattr(result.rows[1].suites["picks"], split).samples <= 10


def test_its_accuracy_is_the_one_written_out(tasks: Path) -> None:
    model = tiny_lm.tiny_lm().eval()
    suite = load_suite({"lm-eval": {"task": "picks", "include_path": str(tasks)}})
    documents = suite.test.documents
    assert sorted(suite.validation.documents + documents) == list(range(30))
    right = 0
    for i in documents:
        head = model.form.prompt_ids(ROWS[i]["q"])
        scores = []
        for choice in ROWS[i]["choices"]:
            tail = model.form._ids([f" {choice}"])[0]  # the harness puts a space before a choice
            log_p = model.lm(torch.tensor([[*head, *tail]])).logits[0].log_softmax(-1)
            scores.append(sum(float(log_p[len(head) - 1 + k, t]) for k, t in enumerate(tail)))
        right += scores.index(max(scores)) == ROWS[i]["gold"]
    found = suite.test.measure(model, 8)
    assert found.accuracy == pytest.approx(right / len(documents))
    assert (found.samples, found.loss) == (len(documents), None)


def test_what_is_wrong_is_said_in_one_line(tasks: Path, tmp_path: Path) -> None:
    def said(**options: object) -> str:
        with pytest.raises(UserError) as caught:
            suite = load_suite({"lm-eval": options})
            suite.test.measure(tiny_lm.tiny_lm(), 4)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    where = str(tasks)
    assert "has no task 'pick'. Did you mean 'picks'?" in said(task="pick", include_path=where)
    assert "no folder at" in said(task="picks", include_path=where + "/none")
    message = said(task="picks", include_path=where, metric="f1")
    assert "has no metric 'f1'" in message and "Its metrics: acc." in message
    (tasks / "rows.json").unlink()
    assert "cannot be loaded" in said(task="says", include_path=where)
