"""Sweeps in processes of this machine alone, without Ray."""

from __future__ import annotations

import os
import sys

import deadly
import pytest
from sweep_samples import FIELDS

from cl_forget.claims.order import EVALUATION, price
from cl_forget.comparison.trials import load_trial, load_trials
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.ground.processes import KILLED, WorkerDied
from cl_forget.run.shared import Setups
from cl_forget.run.simulation import Watch
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.folder import load_state
from cl_forget.sweeps.pieces import weight
from cl_forget.sweeps.planning import plan_grid, share
from cl_forget.sweeps.pool import Queue, cost, work_through
from cl_forget.sweeps.runner import sweep
from cl_forget.sweeps.work import Stopped, work

SMALL = {
    **FIELDS,
    "methods": {"WiSE-FT": ["wise_ft"]},
    "space": {"wise_ft.alpha": [0.25, 0.75]},
    "stream": ["squares"],
    "tune_on": {"seeds": [7]},
    "report_on": {"seeds": [0]},
    "protocol": {"select": "balanced"},
}


def test_a_sweep_needs_no_ray_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    said: list[str] = []
    trials = sweep(Sweep(**SMALL), tmp_path / "out", jobs=1, tell=said.append)
    assert {trial.status for trial in trials} == {"finished"}
    assert sorted((t.method, t.role) for t in trials) == [
        ("WiSE-FT", "report"), ("WiSE-FT", "tune"), ("WiSE-FT", "tune"),
        ("full fine-tuning", "report"), ("full fine-tuning", "tune"),
    ]  # fmt: skip
    assert (tmp_path / "out" / "final.md").exists()
    for trial in trials:
        (attempt,) = trial.attempts
        assert attempt.ended is not None and attempt.started < attempt.ended
        assert (trial.taken_over is not None) == (trial.shared_with is not None)
    taker = next(trial for trial in trials if trial.taken_over is not None)
    assert taker.shared_stages == taker.stages and taker.taken_over.passes == taker.cost.passes
    before = {t.id: t.seconds for t in load_trials(tmp_path / "out")}
    (tmp_path / "out" / "sweep.json").unlink()  # made again from what was asked and the records
    sweep(Sweep(**SMALL), tmp_path / "out", resume=True, jobs=1)
    assert {t.id: t.seconds for t in load_trials(tmp_path / "out")} == before
    assert load_state(tmp_path / "out").finished


@pytest.mark.parametrize("damaged", ["{", "[]", '{"key": "a", "events": "many"}'])
def test_a_damaged_state_fails_its_own_trial_and_no_other(tmp_path, damaged):
    one, *others = (one for group in share(plan_grid(Sweep(**SMALL))) for one in group)
    one.trial.model_copy(update={"status": "running"}).save(tmp_path)
    (tmp_path / "trials" / one.trial.id / "state.json").write_text(damaged)
    first, *rest = work([one, *others], tmp_path, Setups(), lambda trial: None)
    assert first.status == "failed" and "state.json" in first.reason
    assert first.reason.endswith("delete the trial's folder to run it again.")
    assert {trial.status for trial in rest} == {"finished"}


def test_a_trial_that_stood_still_has_an_attempt_for_each_time(tmp_path):
    class Once(Watch):
        def step(self, simulation, record):
            raise Stopped

    (one, *_), *_ = share(plan_grid(Sweep(**SMALL)))
    with pytest.raises(Stopped):
        work([one], tmp_path, Setups(), lambda trial: None, Once())
    known = load_trial(tmp_path, one.trial.id)
    assert known.status == "running" and known.attempts[0].ended is not None
    (trial,) = work([one], tmp_path, Setups(), lambda trial: None)
    first, second = trial.attempts
    assert trial.status == "finished" and first.ended <= second.started < second.ended
    assert first.worker == second.worker


def test_what_needs_ray_is_refused_in_one_line(tmp_path):
    search = Sweep(**{**FIELDS, "mode": "search"})
    for asked, where in ((search, tmp_path / "out"), (Sweep(**SMALL), "memory://somewhere")):
        with pytest.raises(UserError, match="leave --jobs out"):
            sweep(asked, where, jobs=2)
    for given, flag in (
        ({"address": "auto"}, "--address"),
        ({"gpus_per_trial": 1}, "--gpus-per-trial"),
        ({"memory_per_trial": 100}, "--memory-per-trial"),
        ({"max_concurrent": 1}, "--max-concurrent"),
        ({"share_gpus": True}, "--share-gpus"),
        ({"custom": {"fpga": 1}}, "--resource"),
    ):
        with pytest.raises(UserError, match=f"--jobs works on .* without Ray: leave {flag} out"):
            sweep(Sweep(**SMALL), tmp_path / "out", resources=Resources(**given), jobs=2)
    with pytest.raises(UserError, match="leave time_budget_s out"):
        sweep(Sweep(**SMALL), tmp_path / "out", jobs=2, time_budget_s=60)
    assert not (tmp_path / "out").exists()


def test_waves_wait_for_each_other_and_time_can_be_over(tmp_path):
    groups = share(plan_grid(Sweep(**SMALL)))
    queue = Queue(tmp_path, [lambda: groups, lambda: pytest.fail("asked too early")])
    assert queue.next() is not None
    queue.running = 1
    assert queue.next() is None  # the second wave is asked for when the first is over
    assert not work_through([Queue(tmp_path, [lambda: groups])], jobs=1, until=0.0)


def test_who_is_killed_at_a_trial_leaves_its_reason_and_the_others_go_on(tmp_path, monkeypatch):
    deadly.arm(tmp_path, monkeypatch)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    asked = Sweep(**{**SMALL, "stream": ["deadly-squares"], "report_on": None})
    said: list[str] = []
    trials = sweep(asked, tmp_path / "out", jobs=2, tell=said.append)
    assert sorted(trial.status for trial in trials) == ["failed", "finished", "finished"]
    (lost,) = (trial for trial in trials if trial.status == "failed")
    assert lost.reason == KILLED and lost.attempts[-1].ended is None
    assert any(f"{lost.id}:failed ({KILLED})" in line for line in said)
    assert "OMP_NUM_THREADS" not in os.environ  # it is the processes' alone
    before = {trial.id: trial.seconds for trial in trials if trial is not lost}
    trials = sweep(asked, tmp_path / "out", resume=True, jobs=1)
    assert {trial.status for trial in trials} == {"finished"}
    assert before.items() < {trial.id: trial.seconds for trial in trials}.items()


def test_what_a_killed_process_had_done_is_over_and_what_it_had_not_come_to_is_queued(tmp_path):
    (group,) = share(plan_grid(Sweep(**SMALL)))
    statuses = ("finished", "running", "planned")
    for one, status in zip(group, statuses, strict=True):
        one.trial.model_copy(update={"status": status}).save(tmp_path)
    queue = Queue(tmp_path, [])
    queue.lost(group, WorkerDied("killed"))
    assert [load_trial(tmp_path, one.trial.id).status for one in group] == ["finished", "failed", "planned"]
    assert queue.next() == group[2:] and queue.next() is None
    queue.lost(group[:1], WorkerDied("killed"))
    assert queue.next() is None and load_trial(tmp_path, group[0].trial.id).status == "finished"


def test_further_passes_cost_what_they_are():
    """In the order of groups with and without Ray, and of claims."""
    methods = {
        "SAM": [{"sam": 0.1}],
        "LookSAM": [{"looksam": {"rho": 0.1, "every": 4}}],
        "STAR": [{"star": {"share": 0.5}}],
        "full fine-tuning": [],
    }
    groups = share(plan_grid(Sweep(**{**SMALL, "methods": methods, "space": {}})))
    further = {"SAM": 1.0, "LookSAM": 0.25, "STAR": 1.25}
    for of, tune in ((cost, 1.0), (lambda group: weight(group[0]), 1.0), (price, 1 - EVALUATION)):
        by_arm = {group[0].trial.method: of(group) for group in groups}
        plain = by_arm.pop("full fine-tuning")
        assert {arm: (took - plain) / tune for arm, took in by_arm.items()} == pytest.approx(further)
