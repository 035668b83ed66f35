"""The second trial of a process pays for its own passes alone: what the first has loaded and computed stays."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from sweep_samples import FIELDS, plain_numbers

from cl_forget.comparison.trials import Trial, load_trial
from cl_forget.config.sweep import Sweep
from cl_forget.ground.files import only_writer
from cl_forget.models.clip import ClipModel
from cl_forget.run import shared
from cl_forget.run.shared import Setups
from cl_forget.sweeps.planning import Planned, planned
from cl_forget.sweeps.work import work
from cl_forget.training.checkpoints import RunFolder, State
from cl_forget.training.frozen import FrozenModel

PAID_ONCE: list[tuple[Any, str]] = [
    (shared, "load_model"),
    (shared, "load_stream"),
    (shared, "load_suites"),
    (ClipModel, "prepare"),
    (FrozenModel, "run"),
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of these was called."""
    found: Counter[str] = Counter()

    def counted(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            found[name] += 1
            return real(*args, **options)

        monkeypatch.setattr(owner, name, call)

    for owner, name in PAID_ONCE:
        counted(owner, name)
    return found


def test_a_process_loads_decodes_and_runs_the_frozen_model_once(
    tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_FORGET_CACHE", str(tmp_path / "cache"))
    asked = Sweep(**{**FIELDS, "methods": {"KD": ["kd"]}, "space": {}, "control": False})
    setups = Setups()
    strengths = (0.01, 0.1)
    seen = []
    for strength in strengths:
        group = [planned(asked, "KD", {"kd.strength": strength}, seed=0)]
        (trial,) = work(group, tmp_path / "sweep", setups, lambda trial: None)
        assert trial.status == "finished", trial.reason
        seen.append(dict(calls))
    assert set(seen[0]) == {name for _, name in PAID_ONCE}, "each of them is needed"
    assert seen[1] == seen[0]


def test_another_process_finds_the_zero_shot_heads_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_FORGET_CACHE", str(tmp_path / "cache"))
    embedded: list[int] = []
    real = ClipModel._embed_texts

    def embed(model: ClipModel, texts: list[str]) -> torch.Tensor:
        embedded.append(len(texts))
        return real(model, texts)

    monkeypatch.setattr(ClipModel, "_embed_texts", embed)
    run = planned(Sweep(**FIELDS), "L2-SP", {"l2_sp.strength": 0.1}, seed=0).run
    (labels,) = {suite.labels for suite in shared.Setup(run).suites}
    assert labels is not None
    first, second = (shared.Setup(run).base.model for _ in range(2))
    assert isinstance(first, ClipModel) and isinstance(second, ClipModel)
    made = first.zero_shot_head(labels)
    count = len(embedded)
    assert count, "they are made once"
    found = second.zero_shot_head(labels)
    assert len(embedded) == count
    assert all(torch.equal(found.state_dict()[name], value) for name, value in made.state_dict().items())
    # A tower that was changed makes its own, and keeps them to itself.
    with torch.no_grad():
        second.clip.get_parameter("token_embedding.weight").mul_(1.5)
    second.train(True)
    kept = sorted((tmp_path / "cache").rglob("tensor-*"))
    assert not torch.equal(second.zero_shot_head(labels).weight, made.weight) and len(embedded) == count + 1
    assert sorted((tmp_path / "cache").rglob("tensor-*")) == kept


def one_trial() -> list[Planned]:
    asked = Sweep(**{**FIELDS, "methods": {"L2-SP": ["l2_sp"]}, "space": {}, "control": False})
    return [planned(asked, "L2-SP", {"l2_sp.strength": 0.1}, seed=0)]


def test_who_waits_for_a_trial_finds_it_finished_and_leaves_it_alone(tmp_path: Path) -> None:
    """A worker whose node was given up for dead ends its trial while another one waits for the folder."""
    group, told = one_trial(), list[Trial]()
    folder = tmp_path / "trials" / group[0].trial.id
    with only_writer(folder):
        waiting = threading.Thread(
            target=lambda: told.extend(work(group, tmp_path, Setups(), lambda t: None))
        )
        waiting.start()
        time.sleep(0.5)
        (first,) = work(group, tmp_path, Setups(), lambda trial: None)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.json")}
    waiting.join()
    assert [trial.attempts for trial in told] == [first.attempts] and len(first.attempts) == 1
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*.json")} == before


def test_a_result_that_no_state_calls_finished_is_written_again_and_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = one_trial()
    real = RunFolder.commit

    def dies(self: RunFolder, state: State) -> None:
        if state.finished:
            raise KeyboardInterrupt
        real(self, state)

    monkeypatch.setattr(RunFolder, "commit", dies)
    with pytest.raises(KeyboardInterrupt):
        work(group, tmp_path, Setups(), lambda trial: None)
    folder = tmp_path / "trials" / group[0].trial.id
    first, record = plain_numbers(folder), load_trial(tmp_path, group[0].trial.id)
    assert record is not None and record.status == "running"
    monkeypatch.setattr(RunFolder, "commit", real)
    (trial,) = work(group, tmp_path, Setups(), lambda trial: None)
    assert (trial.status, trial.redone_steps) == ("finished", 0)
    assert plain_numbers(folder) == first
