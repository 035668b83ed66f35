"""An experiment of what a sweep chose trains what the sweep's trials trained."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cl_forget.config import recorded
from cl_forget.config.experiment import Experiment, load_experiment
from cl_forget.config.sweep import load_sweep
from cl_forget.ground import imports
from cl_forget.sweeps.folder import new_folder
from cl_forget.sweeps.planning import plan_grid

CHOOSE = Path(__file__).parents[2] / "experiments" / "choose.py"

NAME = "imported_by_a_sweep"

SWEEP = """\
imports: [imported_by_a_sweep.py]
model: tiny-clip
stream: [{squares: {tasks: 1}}]
suites: [colours]
probes: [letters]
control: false
methods:
  plain: {mitigations: [], text: {max_length: 64}, space: {train.lr: [1.0e-4, 1.0e-3]}}
  L2-SP: {mitigations: [l2_sp], train: {epochs: 2}, space: {l2_sp.strength: [0.1, 1.0], text.max_length: [32]}}
train: {batch_size: 8}
text: {too_long: truncate}
evaluate: {limit: 20, items: false}
track: {project: mine}
seeds: [3, 4]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a sweep is over, whose settings tie, so that the first of each grid is chosen."""
    monkeypatch.setattr(imports, "_brought_in", {})
    monkeypatch.setattr(recorded, "_allowed", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    (tmp_path / f"{NAME}.py").write_text("")
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    sweep = load_sweep(tmp_path / "sweep.yaml")
    new_folder(tmp_path / "swept", sweep)
    for planned in plan_grid(sweep):
        values = {"speciality": 0.5, "retention": 0.5}
        planned.trial.model_copy(update={"status": "finished", "validation": values}).save(tmp_path / "swept")
    (tmp_path / "elsewhere").mkdir()
    yield tmp_path
    del sys.modules[NAME]


def choose(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> Experiment:
    file = folder / "elsewhere" / "chosen.yaml"
    monkeypatch.setattr(sys, "argv", ["choose.py", str(folder / "swept"), str(file), *more])
    runpy.run_path(str(CHOOSE), run_name="__main__")
    return load_experiment(file)


def trusting(folder: Path) -> list[str]:
    return ["--allow-code", str(folder / f"{NAME}.py")]


def test_its_runs_are_those_of_the_chosen_trials(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    experiment = choose(monkeypatch, folder, *trusting(folder))
    sweep = load_sweep(folder / "swept" / "sweep.yaml")
    best = {"plain": {"train.lr": 1e-4}, "L2-SP": {"l2_sp.strength": 0.1, "text.max_length": 32}}
    assert experiment.track == sweep.track and experiment.track.project == "mine"
    runs = {(run.method, run.seed): run for run in experiment.runs()}
    assert set(runs) == {(arm, seed) for arm in best for seed in (3, 4)}
    for (arm, seed), run in runs.items():
        expected = sweep.run(arm, best[arm], seed)
        for field in ("imports", "model", "stream", "suites", "probes", "train", "text"):
            assert getattr(run, field) == getattr(expected, field), (arm, field)
        assert [m.identity for m in run.mitigations] == [m.identity for m in expected.mitigations], arm
    one = runs["L2-SP", 3]
    assert (one.text.max_length, one.text.too_long, one.train.epochs) == (32, "truncate", 2)
    assert one.imports == [str(folder / f"{NAME}.py")]
    # Trials write no model unless the file says so; these runs do.
    assert one.evaluate.export is True and one.evaluate.limit == 20 and not one.evaluate.items


def test_probes_take_the_place_of_the_sweeps(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    experiment = choose(monkeypatch, folder, *trusting(folder), "--probes", "flags", "greek")
    assert experiment.probes == ["flags", "greek"]


def test_code_that_the_sweep_names_is_not_run_unasked(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    with pytest.raises(
        SystemExit, match=f"error: .*sweep.yaml was recorded .*add --allow-code '.*{NAME}.py'"
    ):
        choose(monkeypatch, folder)
