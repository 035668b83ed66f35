"""A sweep of Ray Tune trials stops within its budget, keeps what is done, says what is missing, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runtime import one_runtime
from sweep_samples import FIELDS

from cl_forget.comparison.trials import load_trials
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.sweeps import runner, tuning
from cl_forget.sweeps.budget import Meter
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.folder import known_state, load_state
from cl_forget.sweeps.runner import sweep
from cl_forget.sweeps.spending import load_spending

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

ONE = Resources(max_concurrent=1)
L2_SP: dict[str, Any] = {**FIELDS, "methods": {"L2-SP": ["l2_sp"]}, "control": False}


@pytest.fixture(scope="module", autouse=True)
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_runtime(tmp_path_factory):
        yield


def test_passes_end_a_curve_between_two_trials(tmp_path: Path) -> None:
    fields = {**L2_SP, "space": {"l2_sp.strength": [0.01, 0.1, 1.0]}, "seeds": [0, 1]}
    each = 2 * 104  # forward and backward, the samples of both entries
    said: list[str] = []
    asked = Sweep(**fields, budget={"passes": int(4.5 * each)})
    trials = sweep(asked, tmp_path, resources=ONE, tell=said.append)
    finished = [trial for trial in trials if trial.status == "finished"]
    assert (
        len(finished) == 4 and sum(trial.own_passes for trial in finished) == load_spending(tmp_path).passes
    )
    assert load_spending(tmp_path).passes <= asked.budget.passes  # type: ignore[operator]
    assert [trial.seed for trial in finished].count(0) == 3, "a seed is finished before the next one is begun"
    assert any("missing of L2-SP: 2 of 6 trials" in line for line in said), said
    assert not load_state(tmp_path).finished and (tmp_path / "final.md").exists()
    more = Sweep(**fields, budget={"passes": 100 * each})
    again = sweep(more, tmp_path, resume=True, resources=ONE)
    assert [trial.status for trial in again] == ["finished"] * 6
    assert "passes: 20800" in (tmp_path / "sweep.yaml").read_text()


def test_the_clock_ends_trials_in_the_middle_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closing(meter: Meter, devices: float = 0.0, passes: float = 0.0) -> str | None:
        """As if the time were over as soon as the second trial trains."""
        events = list(tmp_path.glob("trials/*/events.jsonl"))
        return "hours" if len(events) == 2 and all(file.stat().st_size for file in events) else None

    monkeypatch.setattr(Meter, "closing", closing)
    epochs = {"short": 1, "long": 2000}
    arms = {arm: {"mitigations": [], "train": {"epochs": count}} for arm, count in epochs.items()}
    fields = {**FIELDS, "methods": arms, "space": {}, "control": False}
    said: list[str] = []
    trials = sweep(Sweep(**fields, budget={"hours": 100}), tmp_path, resources=ONE, tell=said.append)
    assert [trial.status for trial in trials] == ["finished", "running"]
    assert "missing of long: 1 of 1 trials, 1 of them begun and kept" in said
    assert any("raise `budget.hours` and add --resume" in line for line in said)
    assert 0 < load_spending(tmp_path).hours < 100 and not (tmp_path / ".ray").exists()
    assert [trial.status for trial in load_trials(tmp_path)].count("finished") == 1


def test_a_node_that_nobody_has_priced_ends_the_sweep_and_what_is_done_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nodes() -> list[str]:
        """One joins as soon as the first trial is over."""
        return ["head", *(["gpu-large"] if list(tmp_path.glob("trials/*/result.json")) else [])]

    for module in (runner, tuning):
        monkeypatch.setattr(module, "node_types", nodes)
    epochs = {"short": 1, "long": 2000}
    arms = {arm: {"mitigations": [], "train": {"epochs": count}} for arm, count in epochs.items()}
    fields = {**FIELDS, "methods": arms, "space": {}, "control": False}
    prices = {"head": 0.1}
    said = r"one of type 'gpu-large'; add it to `budget.prices`.* kept; then the same command with --resume"
    with pytest.raises(UserError, match=said):
        sweep(Sweep(**fields, budget={"usd": 1000, "prices": prices}), tmp_path, resources=ONE)
    assert sorted(trial.status for trial in load_trials(tmp_path)) == ["finished", "running"]
    assert load_spending(tmp_path).usd > 0 and (tmp_path / "final.md").exists()
    assert not load_state(tmp_path).finished and not (tmp_path / ".ray").exists()
    more = Sweep(**fields, budget={"usd": 1000, "prices": {**prices, "gpu-large": 3}})
    assert known_state(tmp_path, more, resume=True) is not None


def test_what_cannot_be_counted_is_said_before_anything_runs(tmp_path: Path) -> None:
    priced = Sweep(**L2_SP | {"space": {}}, budget={"usd": 1, "prices": {"gpu": 2}})
    with pytest.raises(UserError, match="there is one of type 'any'"):
        sweep(priced, tmp_path / "out", resources=ONE)
    devices = Sweep(**L2_SP | {"space": {}}, budget={"gpu_hours": 1})
    with pytest.raises(UserError, match="trials get none; give them --gpus-per-trial"):
        sweep(devices, tmp_path / "out", resources=ONE)
    assert not (tmp_path / "out").exists()
