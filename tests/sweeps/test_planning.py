"""Which trials share what, and that sharing changes no bit of any result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sweep_samples import FIELDS, plain_numbers

from cl_forget.comparison.trials import Trial, load_trial, load_trials, write_table
from cl_forget.config.sweep import Sweep, Where
from cl_forget.run.shared import Setups
from cl_forget.run.simulate import simulate
from cl_forget.run.simulation import Simulation, Watch
from cl_forget.sweeps.planning import Planned, plan_grid, planned, saved, share
from cl_forget.sweeps.rehearsal import rehearsed
from cl_forget.sweeps.work import Stopped, work
from cl_forget.training.loop import FineTune


def test_post_hoc_methods_share_one_fine_tune_per_seed() -> None:
    sweep = Sweep(**FIELDS, seeds=[0, 1])
    trials = plan_grid(sweep)
    groups = share(trials)
    # Per seed: plain with three WiSE-FT; L2-SP at two strengths.
    assert [len(group) for group in groups] == [4, 1, 1] * 2
    assert str(saved(trials)) == "12 trials from 6 fine-tunes (6 saved), 12 of 24 stream entries trained"
    plain = next(one for one in trials if one.trial.method == "full fine-tuning" and one.trial.seed == 1)
    shared = [one.trial for one in trials if one.trial.shared_with == plain.trial.id]
    assert [(trial.method, trial.seed, trial.shared_stages) for trial in shared] == [("WiSE-FT", 1, 2)] * 3
    assert len({one.trial.id for one in trials}) == 12


def test_streams_that_begin_alike_are_one_group_the_longest_first() -> None:
    sweep = Sweep(**FIELDS, control=False, report_on={"stream": ["squares", "other-colours"]})
    tune = planned(sweep, "L2-SP", {"l2_sp.strength": 0.1}, seed=0)
    report = planned(sweep, "L2-SP", {"l2_sp.strength": 0.1}, seed=0, role="report")
    fresh = planned(sweep, "L2-SP", {"l2_sp.strength": 0.1}, seed=5, role="report")
    groups = share([report, fresh], before=[tune])
    assert [len(group) for group in groups] == [1, 1]
    assert (report.trial.shared_with, report.trial.shared_stages) == (tune.trial.id, 1)
    assert fresh.trial.shared_with is None


def test_a_report_without_a_stream_is_on_the_sweeps_own_and_not_on_what_was_tuned_on() -> None:
    fields = {**FIELDS, "stream": ["squares"], "tune_on": {"stream": ["other-colours"], "seeds": [9]}}
    sweep = Sweep(**fields, report_on={"seeds": [0]})
    config = {"l2_sp.strength": 0.1}
    tune, report = (planned(sweep, "L2-SP", config, 0, role=role) for role in ("tune", "report"))
    assert (tune.run.stream, report.run.stream) == (["other-colours"], ["squares"])
    named = sweep.model_copy(update={"report_on": Where(stream=["squares"], seeds=[0])})
    assert planned(named, "L2-SP", config, 0, role="report").trial.id == report.trial.id
    assert [str(run.stream) for run in rehearsed(sweep)].count("['squares']") > 0, "and is looked at first"
    assert len(rehearsed(Sweep(**FIELDS, report_on={"seeds": [0]}))) == len(rehearsed(Sweep(**FIELDS)))


def test_a_group_gives_the_numbers_of_plain_runs(tmp_path: Path) -> None:
    sweep = Sweep(**FIELDS)
    for group in share(plan_grid(sweep)):
        told: list[Trial] = []
        for trial in work(group, tmp_path, Setups(), told.append):
            assert trial.status == "finished", trial.reason
        assert [trial.id for trial in told] == [one.trial.id for one in group]
    for one in (one for group in share(plan_grid(sweep)) for one in group):
        alone = simulate(one.run)
        trial = load_trial(tmp_path, one.trial.id)
        assert trial is not None
        same = plain_numbers(alone) == plain_numbers(tmp_path / "trials" / one.trial.id)
        assert same, one.trial.id
        assert trial.validation == alone.metrics["validation"] and trial.test == alone.metrics["test"]
    trials = load_trials(tmp_path)
    csv, parquet = write_table(trials, tmp_path)
    assert len(csv.read_text().splitlines()) == 1 + len(trials) == 7
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(parquet).to_pylist()
    assert {row["id"]: row["test.generality"] for row in table} == {
        t.id: t.test["generality"] for t in trials
    }


def test_what_is_over_is_read_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = share([planned(Sweep(**FIELDS), "L2-SP", {"l2_sp.strength": 0.1}, seed=0)])[0]
    first = work(group, tmp_path, Setups(), lambda trial: None)
    monkeypatch.setattr("cl_forget.sweeps.work.simulate", None)
    assert work(group, tmp_path, Setups(), lambda trial: None) == first


def test_a_trial_that_diverges_is_recorded_and_so_are_those_that_share_it(tmp_path: Path) -> None:
    fields = {**FIELDS, "train": {**FIELDS["train"], "lr": 10.0, "clip": None, "epochs": 30}}
    sweep = Sweep(**{**fields, "methods": {"WiSE-FT": [{"wise_ft": 0.5}]}, "space": {}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cl_forget.training.loop.FineTune.step", _diverge)
        trials = work(share(plan_grid(sweep))[0], tmp_path, Setups(), lambda trial: None)
    assert [trial.status for trial in trials] == ["diverged", "diverged"]
    assert "not finite" in (trials[0].reason or "") and trials[0].id in (trials[1].reason or "")
    assert trials[0].validation == {} and load_trial(tmp_path, trials[0].id) == trials[0]


def test_a_trial_that_diverges_has_cost_what_it_had_trained(tmp_path: Path) -> None:
    step = FineTune.step

    def later(fine_tune: Any, number: int, batch: Any) -> Any:
        return step(fine_tune, number, batch) if number < 2 else _diverge(fine_tune, number, batch)

    group = share([planned(Sweep(**FIELDS), "L2-SP", {"l2_sp.strength": 0.1}, seed=0)])[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cl_forget.training.loop.FineTune.step", later)
        (trial,) = work(group, tmp_path, Setups(), lambda trial: None)
    size = Sweep(**FIELDS).train.batch_size
    assert trial.cost is not None and (trial.status, trial.cost.steps) == ("diverged", 2)
    assert trial.passes == trial.own_passes == 2 * 2 * size


def _diverge(fine_tune: Any, number: int, batch: Any) -> float:
    fine_tune._check(number, torch.tensor(float("nan")), torch.tensor(1.0))
    raise AssertionError("a loss that is not finite must stop the run")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "out_of_memory",
        ),
        (ZeroDivisionError("division by zero"), "failed"),
    ],
)
def test_a_trial_that_fails_is_recorded_with_its_reason_and_tried_again_later(
    tmp_path: Path, error: Exception, status: str
) -> None:
    def fail(*_: Any) -> float:
        raise error

    group = share([planned(Sweep(**FIELDS), "L2-SP", {"l2_sp.strength": 0.1}, seed=0)])[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cl_forget.training.loop.FineTune.step", fail)
        (trial,) = work(group, tmp_path, Setups(), lambda trial: None)
    assert trial.status == status
    assert str(error) in (trial.reason or "")
    (again,) = work(group, tmp_path, Setups(), lambda trial: None)
    assert again.status == "finished" and again.reason is None


class Interrupt(Watch):
    def row(self, simulation: Simulation, row: Any) -> None:
        if len(simulation.past) == 1:
            raise Stopped


def test_a_trial_that_is_stopped_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    one: Planned = planned(Sweep(**FIELDS), "L2-SP", {"l2_sp.strength": 0.1}, seed=0)
    with pytest.raises(Stopped):
        work([one], tmp_path, Setups(), lambda trial: None, Interrupt())
    stopped = load_trial(tmp_path, one.trial.id)
    assert stopped is not None and stopped.status == "running"
    work([one], tmp_path, Setups(), lambda trial: None)
    assert plain_numbers(tmp_path / "trials" / one.trial.id) == plain_numbers(simulate(one.run))
