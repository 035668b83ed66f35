"""A sweep whose trials are groups of two processes that share a language model's weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runtime import one_runtime
from tiny_lm import llama, tokenizer

from cl_forget.config.sweep import Sweep
from cl_forget.run.simulate import simulate
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.planning import plan_grid
from cl_forget.sweeps.runner import sweep

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module", autouse=True)
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_runtime(tmp_path_factory):
        yield


def files(folder: Path) -> dict[str, Any]:
    """A model's folder and a file of prompts and answers, as a user has them."""
    llama().save_pretrained(folder / "llama")
    tokenizer().save_pretrained(folder / "llama")
    pairs = [{"prompt": f"{i % 7}+{i % 5}=", "response": str(i % 7 + i % 5)} for i in range(40)]
    (folder / "sums.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    words = [{"prompt": f"copy {word}:", "response": word} for word in ("ab", "xyz", "q", "hello", "zz") * 4]
    (folder / "words.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in words))
    return {
        "model": f"hf:{folder / 'llama'}",
        "stream": [{"jsonl": {"path": str(folder / "sums.jsonl")}}],
        "suites": [{"jsonl": {"path": str(folder / "words.jsonl")}}],
    }


def losses(folder: Path) -> list[float]:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]


def test_a_trial_is_a_group_of_workers_in_half_precision(tmp_path: Path) -> None:
    train = {"epochs": 1, "batch_size": 8, "lr": 1e-3, "precision": "bf16", "strategy": "fsdp", "workers": 2}
    asked = Sweep(
        **files(tmp_path), methods={"MoFO": ["mofo"]}, space={"mofo.share": [0.1]}, train=train,
        evaluate={"export": False},
    )  # fmt: skip
    trials = sweep(asked, tmp_path / "sweep", resources=Resources(memory_per_trial=1500))
    assert [trial.reason for trial in trials if trial.status != "finished"] == []
    assert sorted(trial.method for trial in trials) == ["MoFO", "full fine-tuning"]
    for one in plan_grid(asked):
        together = tmp_path / "sweep" / "trials" / one.trial.id
        alone = one.run.model_copy(
            update={"train": one.run.train.model_copy(update={"strategy": "single", "workers": 1})}
        )
        simulate(alone, tmp_path / "alone" / one.trial.id)
        assert len(losses(together)) > 0
        # Half precision rounds at 2⁻⁸ = 4e-3.
        assert losses(together) == pytest.approx(losses(tmp_path / "alone" / one.trial.id), rel=4e-3)
