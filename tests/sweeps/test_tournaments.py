"""Early stopping in real Ray Tune trials: several objectives, pauses, the median, and what is kept of it all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from runtime import one_runtime
from sweep_samples import FIELDS, plain_numbers

import cl_forget
from cl_forget.comparison.analysis import sweep_summary
from cl_forget.comparison.trials import Trial, load_trials
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.planning import plan_grid
from cl_forget.sweeps.runner import sweep
from cl_forget.sweeps.stopping import reported

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

ONE = Resources(max_concurrent=1, memory_per_trial=1500)  # however much this process holds by now


@pytest.fixture(scope="module", autouse=True)
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_runtime(tmp_path_factory):
        yield


def asked(mode: str, strengths: list[float], **fields: Any) -> Sweep:
    """Strengths of one method, the weak ones good at the tasks; the strong ones stay where they began."""
    plain = {
        **FIELDS,
        "methods": {"L2-SP": ["l2_sp"]},
        "space": {"l2_sp.strength": strengths},
        "control": False,
        "train": {"epochs": 4, "batch_size": 8, "lr": 1e-2},
        "score": {"every": 3, "samples": 12},
        "mode": mode,
    }
    return Sweep(**{**plain, **fields})


def test_several_objectives_stop_what_is_beaten_and_keep_what_was_measured(tmp_path: Path) -> None:
    strengths = [1e-3, 1e5, 2e5, 3e5, 4e5, 1e-2]
    what = asked("mo-asha", strengths, seeds=[0, 1])
    trials = sweep(what, tmp_path, resources=ONE)
    first = [trial for trial in trials if trial.seed == 0]
    assert [trial.value for trial in first] == strengths
    stopped = [trial for trial in first if trial.status == "pruned"]
    # Those that stay where they began measure the same there: one of them is enough.
    assert len(stopped) >= 2 and first[0].status == "finished"
    for trial in stopped:
        assert "% of its training" in (trial.reason or "") and trial.validation == {} == trial.test
        assert trial.history and trial.history[-1]["progress"] < 50
        assert trial.history[-1].keys() == {"progress", "score", "speciality", "generality", "passes_so_far"}
    for trial in first:
        if trial.status == "finished":
            rising = [report["progress"] for report in trial.history]
            assert rising == sorted(rising) and rising[-1] == 99
    # What was stopped is in no mean, and runs on no other seed.
    kept = {trial.value for trial in first if trial.status == "finished"}
    assert {trial.value for trial in trials if trial.seed == 1} == kept
    (method,) = sweep_summary(trials).methods
    assert method.choice is not None and method.choice.value in kept
    # A resumed sweep begins no stopped trial again, and its tournament knows what was measured.
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.glob("trials/*/trial.json")}
    assert sweep(what, tmp_path, resume=True, resources=ONE) == trials
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("trials/*/trial.json")} == stamps
    assert set(reported(load_trials(tmp_path))) >= {trial.id for trial in first}


class Saves(tune.Callback):
    """Counts the pauses."""

    def __init__(self) -> None:
        self.count = 0

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **_: Any) -> None:
        self.count += 1


def test_hyperband_pauses_and_what_goes_on_ends_with_the_numbers_of_an_unbroken_run(tmp_path: Path) -> None:
    what = asked("hyperband", [10.0**-n for n in range(10)])
    saves = Saves()
    trials = sweep(what, tmp_path, resources=Resources(memory_per_trial=1500), callbacks=[saves])
    states = [trial.status for trial in trials]
    assert set(states) == {"finished", "pruned"} and saves.count >= 4, (states, saves.count)
    runs = {one.trial.id: one.run for one in plan_grid(what)}
    for trial in [trial for trial in trials if trial.status == "finished"][-2:]:
        same = plain_numbers(tmp_path / "trials" / trial.id) == plain_numbers(
            cl_forget.simulate(runs[trial.id])
        )
        assert same, trial.id


def test_the_median_stops_what_lags(tmp_path: Path) -> None:
    what = asked(
        "median", [1e-3, 1e-2, 1e-4, 1e-5, 1e5], score={"every": 3, "samples": 12, "speciality": 1.0}
    )
    states: dict[float | None, str] = {t.value: t.status for t in sweep(what, tmp_path, resources=ONE)}
    assert states[1e5] == "pruned" and states[1e-3] == "finished"


def test_what_no_trial_can_follow_is_one_line(tmp_path: Path) -> None:
    what = asked("asha", [1e-3])
    population = PopulationBasedTraining("progress", "score", "max", hyperparam_mutations={"train.lr": [1]})
    with pytest.raises(
        UserError, match=r"scheduler=PopulationBasedTraining: a population .* clones another's"
    ):
        sweep(what, tmp_path, scheduler=population)
    with pytest.raises(UserError, match=r"pauses most of them.*leave --max-concurrent out"):
        sweep(asked("hyperband", [1e-3]), tmp_path, resources=ONE)
    rare = asked("mo-asha", [1e-3], stream=["colour-probe"], score={"every": 1000})
    with pytest.raises(UserError, match=r"has 16 steps: .* judged at 99 % .*; set it to 2\."):
        sweep(rare, tmp_path, resources=ONE)
    assert not list(tmp_path.iterdir())


def test_a_group_that_measured_nothing_is_no_member_of_a_resumed_tournament() -> None:
    trial = Trial(sweep="s", id="t", method="m", status="failed")
    running = trial.model_copy(update={"status": "running", "history": [{"progress": 50.0}]})
    assert reported([trial, running]) == {"t": []}
