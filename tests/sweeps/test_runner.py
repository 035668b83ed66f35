"""Sweeps as real Ray Tune trials: all three modes, resumed, on any storage, and by hand."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from ray import tune
from runtime import one_runtime
from sweep_samples import FIELDS, plain_numbers
from typer.testing import CliRunner
from wandb_files import OfflineRun, offline_files

import cl_forget
from cl_forget.cli.app import app
from cl_forget.comparison.trials import Trial, load_trials
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.planning import plan_grid, share
from cl_forget.sweeps.runner import sweep
from cl_forget.sweeps.sources import Space
from cl_forget.sweeps.storage import Mirror, local_folder
from cl_forget.sweeps.trainable import trainable

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

ONE = Resources(max_concurrent=1)


@pytest.fixture(scope="module", autouse=True)
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_runtime(tmp_path_factory):
        yield


def comparable(trials: list[Trial]) -> list[dict[str, Any]]:
    """The table without what a clock says."""
    plain = [trial.model_dump(exclude={"seconds", "cost", "taken_over", "attempts"}) for trial in trials]
    return sorted(plain, key=lambda trial: trial["id"])


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Path, list[Trial], list[str]]:
    """A finished curve with a report on a stream that begins alike."""
    asked = Sweep(**FIELDS, report_on={"stream": ["squares", "other-colours"]}, track={"wandb": "offline"})
    folder = tmp_path_factory.mktemp("curve")
    said: list[str] = []
    return asked, folder, sweep(asked, folder, resources=ONE, tell=said.append), said


def test_a_curve_is_what_plain_runs_give(curve: tuple[Sweep, Path, list[Trial], list[str]]) -> None:
    asked, folder, trials, said = curve
    assert [trial.status for trial in trials] == ["finished"] * 9, [trial.reason for trial in trials]
    assert [trial.role for trial in trials] == ["tune"] * 6 + ["report"] * 3
    assert said[0] == "6 trials from 3 fine-tunes (3 saved), 6 of 12 stream entries trained"
    one = next(one for group in share(plan_grid(asked)) for one in group if one.trial.method == "WiSE-FT")
    same = plain_numbers(cl_forget.simulate(one.run)) == plain_numbers(folder / "trials" / one.trial.id)
    assert same
    for trial in trials[6:]:  # forked after the tasks both streams begin with
        assert trial.shared_stages in (1, 2) and trial.shared_with is not None
    assert len((folder / "trials.csv").read_text().splitlines()) == 10
    assert (folder / "final.md").exists() and not (folder / ".ray").exists()


def test_every_trial_is_a_wandb_run_of_its_own_in_the_sweep_s_group(
    curve: tuple[Sweep, Path, list[Trial], list[str]],
) -> None:
    _, folder, trials, _ = curve
    seen = set()
    for trial in trials:
        found = OfflineRun(*offline_files(folder / "trials" / trial.id))
        assert (found.run.run_group, found.run.job_type) == ("small", f"{trial.role} trial")
        assert found.summary["test"] == trial.test
        assert found.exit_code == 0
        seen.add(found.run.run_id)
    assert len(seen) == len(trials)


def test_resuming_a_finished_sweep_repeats_nothing(curve: tuple[Sweep, Path, list[Trial], list[str]]) -> None:
    asked, folder, trials, _ = curve
    stamps = {file: file.stat().st_mtime_ns for file in folder.glob("trials/*/*.json")}
    assert comparable(sweep(asked, folder, resume=True, resources=ONE)) == comparable(trials)
    assert {file: file.stat().st_mtime_ns for file in folder.glob("trials/*/*.json")} == stamps


def test_a_folder_with_a_sweep_is_never_overwritten(
    curve: tuple[Sweep, Path, list[Trial], list[str]],
) -> None:
    asked, folder, _, _ = curve
    with pytest.raises(UserError, match="already holds this sweep; go on with --resume"):
        sweep(asked, folder)
    other = asked.model_copy(update={"train": asked.train.model_copy(update={"lr": 0.5})})
    with pytest.raises(UserError, match=r"train.lr was 0.001 and is 0.5. Undo the change, or choose another"):
        sweep(other, folder, resume=True)
    with pytest.raises(UserError, match="already holds sweep 'small'; choose another --output"):
        sweep(other, folder)


def test_status_fits_one_screen(curve: tuple[Sweep, Path, list[Trial], list[str]], tmp_path: Path) -> None:
    _, folder, _, _ = curve
    shown = CliRunner().invoke(app, ["sweep", "status", str(folder)]).output
    assert "9 of 9 trials" in shown and "complete" in shown and "best trade-offs" in shown
    assert len(shown.splitlines()) <= 24
    with pytest.raises(UserError, match="holds no sweep"):
        CliRunner().invoke(app, ["sweep", "status", str(tmp_path)], catch_exceptions=False)


def test_a_search_gives_every_method_the_same_budget_and_the_same_trials_again(tmp_path: Path) -> None:
    fields = {
        **FIELDS,
        "space": {"l2_sp.strength": {"log_uniform": [1e-3, 1e-1]}},
        "train": {**FIELDS["train"]},
    }
    asked = Sweep(**fields, mode="search", budget={"trials": 2}, seeds=[0, 1])
    first = sweep(asked, tmp_path / "first", resources=Resources(max_concurrent=2))
    assert [trial.status for trial in first] == ["finished"] * 10
    counts = {arm: sum(trial.method == arm for trial in first) for arm in asked.arms}
    assert counts == {"full fine-tuning": 2, "WiSE-FT": 4, "L2-SP": 4}  # two settings on two seeds
    again = sweep(asked, tmp_path / "again", resources=Resources(max_concurrent=2))
    assert comparable(again) == comparable(first)


def test_compositions_are_searched_and_a_resumed_search_repeats_its_suggestions(tmp_path: Path) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != "space"}
    space = {"kd.strength": [0.1], "wise_ft.alpha": [0.2, 0.6]}
    recipe = {"compose": {"of": ["kd", "wise_ft"], "most": 2}, "space": space}
    asked = Sweep(**fields | {"methods": {"recipe": recipe}, "mode": "search", "control": False})
    trials = sweep(asked, tmp_path, resources=ONE)
    assert [trial.status for trial in trials] == ["finished"] * 5  # all that there are, of 20 in the budget
    assert {trial.config["compose"] for trial in trials} == {"kd", "wise_ft", "kd + wise_ft"}
    shown = (tmp_path / "final.md").read_text()
    assert any(f"{trial.config['compose']}, " in shown for trial in trials)
    taken = [trial for trial in trials if trial.shared_with is not None]
    assert len(taken) == 3 and all(trial.shared_stages == trial.stages for trial in taken)
    run = Space(asked).group(taken[0].config)[0].run
    assert plain_numbers(cl_forget.simulate(run)) == plain_numbers(tmp_path / "trials" / taken[0].id)
    for lost in (taken[1], next(trial for trial in trials if trial.shared_with is None)):
        shutil.rmtree(tmp_path / "trials" / lost.id)
    assert comparable(sweep(asked, tmp_path, resume=True, resources=ONE)) == comparable(trials)


def test_asha_stops_the_weakest_and_runs_the_rest_on_every_seed(tmp_path: Path) -> None:
    strengths = {"l2_sp.strength": [1e-3, 1e-2, 1e4, 1e5]}
    fields = {**FIELDS, "methods": {"L2-SP": ["l2_sp"]}, "space": strengths, "control": False}
    fields["train"] = {"epochs": 4, "batch_size": 8, "lr": 1e-2}
    asha = {"grace": 10, "reduction": 2}
    asked = Sweep(
        **fields, mode="asha", seeds=[0, 1], asha=asha, score={"every": 3, "samples": 12, "speciality": 1.0}
    )
    trials = sweep(asked, tmp_path, resources=ONE)
    status = {(trial.value, trial.seed): trial.status for trial in trials}
    assert "pruned" in status.values() and status[1e-3, 0] == "finished"
    assert {value for value, seed in status if seed == 1} == {
        v for (v, s), x in status.items() if x == "finished"
    }
    pruned = next(trial for trial in trials if trial.status == "pruned")
    assert "% of its training" in (pruned.reason or "") and pruned.validation == {}


def test_any_fsspec_address_is_a_folder(tmp_path: Path) -> None:
    address = "memory://sweeps/small"
    asked = Sweep(**{**FIELDS, "methods": {"WiSE-FT": [{"wise_ft": 0.5}]}, "space": {}})
    trials = sweep(asked, address, resources=ONE)
    assert [trial.status for trial in trials] == ["finished"] * 2
    # Another machine: nothing but what the address holds.
    shutil.rmtree(local_folder(address))
    assert comparable(sweep(asked, address, resume=True, resources=ONE)) == comparable(trials)
    copy = tmp_path / "copy"
    Mirror(address, copy).pull()
    assert comparable(load_trials(copy)) == comparable(trials)
    as_file = sweep(asked, f"file://{tmp_path}/there", resources=ONE)
    assert comparable(as_file) == comparable(trials) == comparable(load_trials(tmp_path / "there"))


def test_a_killed_worker_costs_no_trial(tmp_path: Path) -> None:
    asked = Sweep(**FIELDS)
    killed: list[int] = []

    def kill_once() -> None:
        while not list(tmp_path.glob("trials/*/result.json")):
            time.sleep(0.05)
        for process in _workers():
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    thread = threading.Thread(target=kill_once)
    thread.start()
    trials = sweep(asked, tmp_path, resources=ONE)
    thread.join()
    assert killed
    assert [trial.status for trial in trials] == ["finished"] * 6, [trial.reason for trial in trials]


def _workers() -> list[int]:
    """The actors that this test's own runtime has started."""
    mine = psutil.Process().children(recursive=True)
    return [process.pid for process in mine if "Trainable" in " ".join(process.cmdline())]


def test_our_trainable_in_a_hand_written_tuner(tmp_path: Path) -> None:
    asked = Sweep(**{**FIELDS, "methods": {"L2-SP": ["l2_sp"]}, "space": {}, "control": False})
    tuner = tune.Tuner(
        trainable(Space(asked), tmp_path / "sweep"),
        param_space={"l2_sp.strength": tune.grid_search([0.01, 0.1]), "train.lr": 1e-3},
        tune_config=tune.TuneConfig(
            metric="speciality", mode="max", reuse_actors=True, max_concurrent_trials=1
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "ray"), verbose=0),
    )
    best = tuner.fit().get_best_result()
    found = {trial.value: trial.validation["speciality"] for trial in load_trials(tmp_path / "sweep")}
    assert best.metrics["speciality"] == max(found.values()) and list(found) == [0.01, 0.1]


DOCS = Path(__file__).parents[2] / "docs" / "sweeps.md"


class Reports(tune.Callback):
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        self.seen.append(result)


def test_the_tuner_of_the_docs_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (
        block.partition("```")[0] for block in DOCS.read_text().split("```python\n") if "tune.Tuner(" in block
    )
    asked = Sweep(
        **{**FIELDS, "methods": {"LDIFS": ["ldifs"]}, "space": {}, "control": False, "seeds": [0, 1]}
    )
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(asked.model_dump(mode="json", exclude={"protocol"})))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", raising=False)  # as in a program of one's own
    reports = Reports()
    quiet = tune.RunConfig(storage_path=str(tmp_path / "ray"), verbose=0, callbacks=[reports])
    code = code.replace("num_samples=20", "num_samples=2, max_concurrent_trials=1").replace(
        "\n)\nbest", "\n    run_config=quiet,\n)\nbest"
    )
    space: dict[str, Any] = {"quiet": quiet}
    exec(code, space)
    trials = load_trials(tmp_path / "runs" / "by-hand")
    assert [trial.status for trial in trials] == ["finished"] * 4, "two points on two seeds"
    assert len(reports.seen) == 4 and all(0 < one["score"] < 1 for one in reports.seen)
    assert [one.get("progress") for one in reports.seen] == [None, 100.0] * 2
    assert space["best"].metrics["score"] == max(one["score"] for one in reports.seen if one["done"])


def test_a_point_whose_seed_failed_has_no_score_and_says_so() -> None:
    import math

    asked = Sweep(**{**FIELDS, "methods": {"L2-SP": ["l2_sp"]}, "space": {}, "control": False})
    summary = Space(asked).summary(
        [Trial(sweep="s", id="t", method="L2-SP", status="diverged", reason="NaN")]
    )
    assert {"score", "speciality", "generality"} <= summary.keys() and all(map(math.isnan, summary.values()))


class Follow(tune.Callback):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        self.seen.append(result["trial"])


def test_a_user_brings_arguments_of_the_tuner(tmp_path: Path) -> None:
    from ray.tune.search.basic_variant import BasicVariantGenerator

    follow = Follow()
    asked = Sweep(
        **{**FIELDS, "methods": {"L2-SP": ["l2_sp"]}, "space": {"l2_sp.strength": [0.1]}, "control": False}
    )
    trials = sweep(asked, tmp_path, resources=ONE, search_alg=BasicVariantGenerator(), callbacks=[follow])
    assert follow.seen == [trial.id for trial in trials]


def test_too_few_resources_for_one_trial() -> None:
    with pytest.raises(
        UserError, match="one trial wants 64 CPUs and the largest node has 2; lower --cpus-per-trial"
    ):
        sweep(Sweep(**FIELDS), "memory://never", resources=Resources(cpus_per_trial=64))
