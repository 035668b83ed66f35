"""What a sweep decides does not depend on who ran before it, nor on how many work side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweep_samples import FIELDS

from cl_forget.comparison.selection import Protocol, select, spent
from cl_forget.comparison.settings import settings_of
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.run.shared import Setups
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.folder import clear, known_state, new_folder
from cl_forget.sweeps.planning import plan_grid, share
from cl_forget.sweeps.starting import with_threads
from cl_forget.sweeps.work import work
from cl_forget.testing import worlds

DISTILLING = {
    **FIELDS,
    "stream": ["squares"],
    "methods": {"L2-SP": ["l2_sp"], "LDIFS": ["ldifs"]},
    "space": {"l2_sp.strength": [0.01, 0.1], "ldifs.strength": [1.0, 10.0, 100.0]},
    "control": False,
    "train": {"epochs": 1, "batch_size": 12, "lr": 1e-3},
}


def test_equal_compute_selects_the_same_with_a_cold_and_a_warm_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_FORGET_CACHE", str(tmp_path / "cache"))
    chosen, passes = [], []
    for name in ("cold", "warm"):
        trials = [
            trial
            for group in share(plan_grid(Sweep(**DISTILLING)))
            for trial in work(group, tmp_path / name, Setups(), lambda trial: None)
        ]
        assert {trial.status for trial in trials} == {"finished"}
        settings = settings_of(trials)
        chosen.append(select(settings, Protocol(equal="compute")))
        passes.append({method: spent(found).passes for method, found in settings.items()})
    assert chosen[0] == chosen[1]
    assert passes[0] == passes[1]
    assert passes[0]["LDIFS"] > 1.5 * passes[0]["L2-SP"]  # three fine-tunes, and the frozen model's passes


def test_threads_per_trial_are_part_of_every_trials_run() -> None:
    asked, resources = with_threads(Sweep(**FIELDS), Resources())
    assert (asked.train.threads, resources.threads) == (1, 1)
    asked, resources = with_threads(Sweep(**FIELDS), Resources(cpus_per_trial=2))
    assert (asked.train.threads, resources.threads) == (2, 2)
    named = Sweep(**{**FIELDS, "train": {**FIELDS["train"], "threads": 4}})
    asked, resources = with_threads(named, Resources(cpus_per_trial=2))
    assert (asked.train.threads, resources.threads) == (4, 4)
    assert {one.run.train.threads for one in plan_grid(asked)} == {4}


def test_a_sweep_is_replaced_only_when_asked_and_leaves_no_trial_behind(tmp_path: Path) -> None:
    asked = Sweep(**FIELDS)
    new_folder(tmp_path, asked)
    (tmp_path / "trials" / "old").mkdir()
    (tmp_path / "trials" / "old" / "trial.json").write_text("{}")
    with pytest.raises(UserError, match=r"already holds this sweep; .*--resume.*--overwrite"):
        known_state(tmp_path, asked, resume=False)
    assert known_state(tmp_path, asked, resume=False, overwrite=True) is None
    assert (tmp_path / "trials" / "old").exists()  # nothing goes before the new sweep can begin
    (tmp_path / "sweep.yaml").unlink()
    with pytest.raises(UserError, match=r"trials of a sweep whose sweep\.yaml is missing"):
        known_state(tmp_path, asked, resume=True)
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", ["result.json", "state.json"])
def test_a_sweep_does_not_move_into_an_experiments_folder(tmp_path: Path, left: str) -> None:
    (tmp_path / "ldifs-seed0").mkdir()
    (tmp_path / "ldifs-seed0" / left).write_text("{}")
    with pytest.raises(UserError, match="holds runs of an experiment"):
        known_state(tmp_path, Sweep(**FIELDS), resume=False, overwrite=True)


def test_trials_on_other_data_are_not_added_to_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = share(plan_grid(Sweep(**DISTILLING)))
    work(first, tmp_path, Setups(), lambda trial: None)
    experience = worlds.experience
    monkeypatch.setattr(worlds, "experience", lambda name, seed, **more: experience(name, seed + 1, **more))
    monkeypatch.setattr("cl_forget.streams._in_memory", {})
    (trial,) = work(second, tmp_path, Setups(), lambda trial: None)
    assert trial.status == "failed" and "are not what the sweep began with" in (trial.reason or "")
