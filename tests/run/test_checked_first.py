"""Whatever a file names is looked up before anything is measured, for every method of the experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cl_forget.run.simulation as simulation
from cl_forget.config.experiment import Experiment
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.run.dry_run import plan
from cl_forget.run.experiment import run_experiment
from cl_forget.sweeps.rehearsal import measurements, rehearsed

FIELDS: dict[str, Any] = {
    "model": "tiny-clip",
    "stream": ["squares"],
    "suites": ["colours"],
    "train": {"epochs": 1, "batch_size": 12},
}

WRONG = [
    ({"freeze": 99}, "freeze.blocks is 99"),
    ({"freeze": {"also": ["*no-such-layer*"]}}, "freeze.also: no parameter"),
    ({"freeze": {"blocks": 1, "train": ["bias*"]}}, "freeze.train: no parameter"),
    ({"zscl": {"reference": "nowhere"}}, "unknown suite 'nowhere'"),
    ({"zscl": {"reference": {"folder": {"path": "nowhere"}}}}, "nowhere"),
    ({"ewc": {"prior": "nowhere"}}, "unknown suite 'nowhere'"),
    ({"mas": {"prior": "nowhere"}}, "unknown suite 'nowhere'"),
    ({"er": {"replay": "nowhere"}}, "unknown suite 'nowhere'"),
    ({"lora_null": {"reference": "nowhere"}}, "unknown suite 'nowhere'"),
    ({"ldifs": {"depths": ["block 77"]}}, "block 77"),
]


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: Any) -> None:
        raise AssertionError("row 0 is measured before the file is checked")

    monkeypatch.setattr(simulation.Simulation, "evaluate", measured)


@pytest.mark.parametrize(("method", "words"), WRONG)
def test_the_last_methods_mistake_is_found_before_the_first_is_run(
    method: dict[str, Any], words: str, unmeasured: None, tmp_path: Path
) -> None:
    experiment = Experiment(**FIELDS, methods={"full fine-tuning": [], "wrong": [method]})
    with pytest.raises(UserError, match=words):
        run_experiment(experiment, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=words):
        plan(experiment)


def test_a_sweep_finds_what_only_the_last_value_of_a_grid_gets_wrong() -> None:
    sweep = Sweep(**FIELDS, methods={"frozen": ["freeze"]}, space={"freeze.blocks": [0, 1, 99]})
    with pytest.raises(UserError, match=r"freeze\.blocks is 99"):
        measurements(rehearsed(sweep))


def test_nothing_is_loaded_twice_where_no_later_method_names_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import cl_forget.run.shared as shared
    from cl_forget.run.experiment import _check, _naming

    def loaded(*_: Any) -> None:
        raise AssertionError("there is nothing to look up")

    monkeypatch.setattr(shared, "Setup", loaded)
    experiment = Experiment(
        **FIELDS, methods={"LDIFS": ["ldifs"], "plain": [], "L2-SP": ["l2_sp"]}, seeds=[0, 1]
    )
    runs = experiment.runs()
    _check(runs[0], _naming(runs, [tmp_path] * 6), shared.Setups())
    finished = Experiment(**FIELDS, methods={"plain": [], "LDIFS": ["ldifs"]}).runs()
    assert [run.method for run in _naming(finished, [tmp_path] * 2)] == ["LDIFS"]
    (tmp_path / "result.json").write_text("{}")
    assert not _naming(finished, [tmp_path] * 2)
