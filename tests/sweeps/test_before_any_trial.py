"""What stops a sweep before it has written or started anything, in one line; no Ray runtime is needed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler
from rich.console import Console
from sweep_samples import FIELDS

from cl_forget.comparison.analysis import sweep_summary
from cl_forget.comparison.trials import load_trials
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.run.shared import Setup
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.folder import only_driver
from cl_forget.sweeps.hanging import Hanging
from cl_forget.sweeps.planning import plan_grid, share
from cl_forget.sweeps.preview import preview
from cl_forget.sweeps.rehearsal import measurements, peak, rehearsed
from cl_forget.sweeps.runner import sweep
from cl_forget.sweeps.sources import Grid
from cl_forget.sweeps.tables import failure_lines
from cl_forget.sweeps.tuning import Recorder, Round, fit


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stream": ["sqares"]}, "unknown stream 'sqares'. Did you mean 'squares'?"),
        ({"suites": ["colors"]}, "unknown suite 'colors'. Did you mean 'colours'?"),
        ({"model": "tiny-clop"}, "unknown model 'tiny-clop'. Did you mean 'tiny-clip'?"),
        ({"report_on": {"stream": ["sqares"]}}, "unknown stream 'sqares'"),
        ({"methods": {"LDIFS": [{"ldifs": {"depths": ["block 9"]}}]}, "space": {}}, "no depth 'block 9'"),
    ],
)
def test_what_cannot_be_loaded(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    folder = tmp_path / "sweep"
    with pytest.raises(UserError) as error:
        sweep(Sweep(**{**FIELDS, **fields}), folder)
    assert message in str(error.value)
    assert not folder.exists()


def test_no_cluster_at_the_address(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no Ray cluster at '127.0.0.1:9'.*start one with `ray start --head`"
    ):
        sweep(Sweep(**FIELDS), tmp_path / "sweep", resources=Resources(address="127.0.0.1:9"))
    assert not (tmp_path / "sweep").exists()


def test_storage_that_nobody_knows() -> None:
    with pytest.raises(UserError, match="the storage at nowhere://a cannot be used"):
        sweep(Sweep(**FIELDS), "nowhere://a")
    with pytest.raises(
        UserError, match="'s3:/bucket/a' looks like an address and is none; write s3://bucket/a"
    ):
        sweep(Sweep(**FIELDS), "s3:/bucket/a")


def test_one_driver_at_a_time(tmp_path: Path) -> None:
    with (
        only_driver(tmp_path),
        pytest.raises(UserError, match="being worked on by another process"),
        only_driver(tmp_path),
    ):
        raise AssertionError("two drivers on one folder")


def shown(sweep: Sweep) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(preview(sweep))
    return " ".join(console.export_text().split())


def test_a_dry_run_says_what_a_curve_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = shown(Sweep(**FIELDS, seeds=[0, 1], report_on={"seeds": [7, 8]}))
    assert "full fine-tuning – 1 2 2" in text
    assert "WiSE-FT wise_ft.alpha: 0.25 0.5 0.75 3 6 shared" in text  # its fine-tune is the control's
    assert "L2-SP l2_sp.strength: 0.01 0.1 2 4 4" in text
    assert "12 trials from 6 fine-tunes (6 saved)" in text
    assert "of each of 3 methods on seeds 7, 8" in text
    assert "of one processor" in text and "nothing was trained" in text
    assert list(tmp_path.iterdir()) == []
    assert "the control is" not in text
    slow = {"slow": {"mitigations": [], "train": {"lr": 1e-6}}, "L2-SP": ["l2_sp"]}
    plainly = {**FIELDS, "space": {"l2_sp.strength": [0.01, 0.1]}}
    assert "· the control is slow ·" in shown(Sweep(**{**plainly, "methods": slow}))


def test_a_dry_run_says_what_a_search_and_a_tournament_will_do() -> None:
    space = {"wise_ft.alpha": {"uniform": [0, 1]}, "train.lr": {"log_uniform": [1e-4, 1e-2]}}
    text = shown(Sweep(**{**FIELDS, "space": space}, mode="search", budget={"trials": 4}))
    assert "WiSE-FT wise_ft.alpha: 0 to 1; train.lr: 0.0001 to 0.01 (log) 4 4 –" in text
    assert "mode search · seeds 0 · 12 trials" in text
    assert "every method chooses among" not in text
    few = {**space, "wise_ft.alpha": [0.2, 0.5, 0.8], "train.lr": {**space["train.lr"], "methods": ["L2-SP"]}}
    text = shown(Sweep(**{**FIELDS, "space": few}, mode="search", budget={"trials": 4}))
    assert "WiSE-FT wise_ft.alpha: 0.2 0.5 0.8 3 3 –" in text, "none is tried twice"
    assert "every method chooses among 3 settings, as many as WiSE-FT has" in text
    text = shown(Sweep(**{**FIELDS, "space": space}, mode="search", budget={"compute": 9_000}))
    assert "until each method has used 9,000 samples" in text
    every = {"every": 2}
    text = shown(Sweep(**FIELDS, mode="asha", seeds=[0, 1], score=every))
    assert "WiSE-FT wise_ft.alpha: 0.25 0.5 0.75 3 6" in text
    assert "later seeds only for what is not stopped" in text
    passes = 2 * 2 * 104  # on both seeds, forward and backward
    assert f"full fine-tuning – 1 2 – {passes}" in text and "passes, at most" in text
    assert "of one processor, were none stopped early" in text
    limits: dict[str, Any] = {"hours": 9, "usd": 9, "passes": 1000, "prices": {"any": 2}}
    text = shown(Sweep(**FIELDS, mode="mo-asha", score=every, budget=limits))
    assert "at most 624 passes here: the budget of 1,000 is enough" in text and "USD on any, at most" in text
    assert "hours here: the budget of 9 is enough" in text
    drawn = {**FIELDS, "space": {"train.lr": {"log_uniform": [1e-4, 1e-2]}}}
    text = shown(Sweep(**drawn, mode="median", score=every, budget={"trials": 2, "passes": 1000}))
    assert "were settings drawn at random and none stopped early" in text
    assert "at most 1,248 passes here: the budget of 1,000 covers about 80 % of it" in text


def test_a_dry_run_counts_the_trials_of_the_report() -> None:
    budget = {"passes": 1000}
    fields = {
        **FIELDS,
        "space": {"l2_sp.strength": [0.1], "train.epochs": {"grid": [1, 2], "methods": ["L2-SP"]}},
    }
    alone = "about 832 passes here: the budget of 1,000 is enough"  # 208 of the control, 208 and 416 of L2-SP
    assert alone in shown(Sweep(**fields, budget=budget))
    with pytest.raises(
        UserError, match=r"`budget\.passes: 207` has no room for any trial, .* about 208 at least"
    ):
        preview(Sweep(**fields, budget={"passes": 207}))
    more = "about 2,080 passes here: the budget of 1,000 covers about 48 % of it"
    assert more in shown(Sweep(**fields, budget=budget, report_on={"seeds": [7, 8]})), (
        "at the dearest setting"
    )
    assert alone in shown(Sweep(**fields, budget=budget, report_on={"seeds": [0]})), "which takes all over"


@pytest.mark.parametrize("mode", ["asha", "mo-asha", "hyperband", "median"])
def test_a_tournament_that_would_judge_too_late_is_one_line(mode: Any) -> None:
    fields = {**FIELDS, "stream": ["colour-probe"], "mode": mode}
    said = r"`score.every: 20`, and a task of 'L2-SP' has 4 steps: .* judged at 99 % .*; set it to 1\."
    with pytest.raises(UserError, match=said):
        preview(Sweep(**fields))
    with pytest.raises(UserError, match="so short a training cannot be stopped early: set `mode: curve`"):
        preview(Sweep(**{**fields, "train": {"steps": 1}}))
    preview(Sweep(**fields, score={"every": 1}))


def test_rungs_that_no_report_would_meet_are_one_line() -> None:
    fields = {**FIELDS, "stream": ["squares"], "mode": "mo-asha", "train": {"epochs": 4, "batch_size": 8}}
    with pytest.raises(
        UserError, match=r"has 12 steps: .* judged at 33 % of its training instead of 9 %; set it to 4"
    ):
        preview(Sweep(**fields, score={"every": 100_000}))
    preview(Sweep(**fields, score={"every": 4}))


@pytest.mark.parametrize(
    ("amounts", "said"),
    [
        ({"cpus_per_trial": float("inf")}, "--cpus-per-trial inf: give a finite number, 0.0001"),
        ({"memory_per_trial": float("nan")}, "--memory-per-trial nan: give a finite number"),
        ({"gpus_per_trial": 0.00001}, "--gpus-per-trial 1e-05: give .* 0.0001 at least"),
        ({"custom": {"fpga": 0.00001}}, "--resource fpga 1e-05: give"),
        ({"gpus_per_trial": 1.5}, "above 1 only whole devices are given; take 1 or 2, or a part of one"),
    ],
)
def test_amounts_that_ray_cannot_give(amounts: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Resources(**amounts)
    Resources(cpus_per_trial=1.5, gpus_per_trial=2, custom={"fpga": 0.5})


def test_methods_and_seeds_share_what_is_loaded() -> None:
    asked = Sweep(**FIELDS)
    keys = {Setup.key(asked.run(arm, {}, seed)) for arm in asked.arms for seed in (0, 1)}
    assert len(keys) == 1
    assert Setup.key(asked.run("L2-SP", {}, 0, stream=["squares"])) not in keys


def died(folder: Path, *said: str) -> Any:
    """A Tune trial after its last failure; Tune writes all of them into one file."""
    file = folder / "error.txt"
    file.write_text("".join(f"Failure # {n} (occurred at noon)\n{text}\n" for n, text in enumerate(said, 1)))
    return SimpleNamespace(trial_id="one", config={"group": 0}, error_file=str(file), num_failures=len(said))


NEVER_RAN = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
\tactor_id: 17
\tip: 10.0.0.1
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
The actor never ran - it was cancelled before it started running."""
TRACE = """ray::ImplicitFunc.train()
  File "trainable.py", line 3, in step
ValueError: no such thing"""


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            ["ValueError: x", NEVER_RAN],
            "2 times: The actor is dead because its worker process has died. Worker",
        ),
        ([NEVER_RAN, TRACE], "2 times: ValueError: no such thing"),
    ],
)
def test_the_reason_is_what_ray_said_last(tmp_path: Path, said: list[str], reason: str) -> None:
    (group, *_) = share(plan_grid(Sweep(**FIELDS)))
    Recorder(Grid([group]), tmp_path).on_trial_error(1, [], died(tmp_path, *said))
    (trial, *_) = load_trials(tmp_path)
    assert trial.status == "failed" and (trial.reason or "").startswith(f"its process died {reason}")
    assert "never ran" not in (trial.reason or "")


def test_a_process_killed_for_memory_is_recorded_as_that(tmp_path: Path) -> None:
    """In Ray's words, the last of which are only the address of a manual."""
    asked = Sweep(**FIELDS)
    (group, *_) = share(plan_grid(asked))
    recorder = Recorder(Grid([group]), tmp_path)
    said = "1 worker(s) were killed due to the node running low on memory.\nSee https://docs.ray.io/."
    recorder.on_trial_error(1, [], died(tmp_path, *[said] * 4))
    trials = load_trials(tmp_path)
    assert {trial.status for trial in trials} == {"out_of_memory"}
    assert "ran out of memory; set --max-concurrent lower" in (trials[0].reason or "")
    (line,) = failure_lines(sweep_summary(trials))
    assert line.startswith(f"{len(trials)} out of memory: its process died 4 times")


def test_a_round_is_what_tune_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user set for the tuner stays; the sweep sets the rest."""
    given: dict[str, Any] = {}

    class Tuner:
        def __init__(self, _: object, **arguments: Any) -> None:
            given.update(arguments)

        def fit(self) -> None:
            given["done"] = True

    monkeypatch.setattr("ray.tune.Tuner", Tuner)
    monkeypatch.setattr(Resources, "side_by_side", 3)  # asks the runtime
    asked = Sweep(**FIELDS)
    groups = share(plan_grid(asked))
    mine = SimpleNamespace()
    round_ = Round(
        Grid(groups), asked, tmp_path, Resources(), count=len(groups), judged=True,
        own={"callbacks": [mine], "time_budget_s": 60.0},
    )  # fmt: skip
    fit(round_)
    config, arranged = given["tune_config"], given["run_config"]
    assert given["done"] and config.reuse_actors and config.time_budget_s == 60.0
    assert type(config.scheduler) is ASHAScheduler
    assert (config.search_alg, config.num_samples, config.max_concurrent_trials) == (None, 1, None)
    assert given["param_space"]["group"]["grid_search"] == list(range(len(groups)))
    assert [type(one) for one in arranged.callbacks] == [Recorder, Hanging, SimpleNamespace]
    assert arranged.storage_path == str(tmp_path / ".ray")
    assert not arranged.checkpoint_config.checkpoint_at_end
    fit(replace(round_, resources=Resources(max_concurrent=3)))
    assert given["tune_config"].max_concurrent_trials == 3, "what the user asked for"
    searched = replace(round_, search="search", judged=False, own={"num_samples": 7})
    assert searched.arguments() == {"search_alg": "search", "num_samples": 7}


def test_a_rehearsal_measures_the_memory_of_a_trial() -> None:
    assert 50 < peak(measurements(rehearsed(Sweep(**FIELDS)))) < 20_000
