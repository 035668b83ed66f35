"""The simulated scheduler, on schedules worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cluster_simulation import (
    Costs,
    Job,
    Times,
    asleep,
    check,
    measured_costs,
    real_times,
    schedule,
    sweep_jobs,
    validate,
)


def test_independent_trials_on_one_and_two_workers() -> None:
    jobs = [Job(4), Job(3), Job(2), Job(1)]
    assert schedule(jobs, 1).seconds == 10
    # First worker 4, then the one of 1; second worker 3, then 2.
    made = schedule(jobs, 2)
    assert (made.seconds, made.busy) == (5, 1.0)
    assert schedule(jobs, 100).seconds == 4


def test_dependents_wait_and_their_donor_goes_first() -> None:
    jobs = [Job(5), Job(5), Job(3), Job(1, (2,)), Job(1, (2,))]
    # The donor (3) goes first, beside a long one; then the other long one (8), and the dependents from 5 on.
    assert schedule(jobs, 2).seconds == 8
    assert schedule(jobs, 3).seconds == 5
    with pytest.raises(ValueError, match="wait for each other"):
        schedule([Job(1, (1,)), Job(1, (0,))], 2)


def test_overheads_of_driver_worker_and_start() -> None:
    # Each start costs the driver 1 s; the second worker waits for its turn; both start up for 10 s once.
    made = schedule([Job(2), Job(2), Job(2)], 2, Costs(driver=1, worker=0.5, start=10))
    # First trial 1 + 10 + .5 + 2 = 13.5, second 2 + 10 + .5 + 2 = 14.5; third from 13.5: + 1 + .5 + 2 = 17.
    assert made.seconds == 17
    assert made.driver_busy == pytest.approx(3 / 17)


def test_the_driver_bounds_the_rate() -> None:
    made = schedule([Job(0.01)] * 1000, 1000, Costs(driver=0.1))
    assert made.seconds == pytest.approx(100, abs=0.02)


def test_a_sweep_shares_what_it_can() -> None:
    times = {name: [Times((10.0, 20.0), 1.0)] for name in ("full fine-tuning", "L2-SP", "LDIFS")}
    groups, trials, plain = (
        sweep_jobs(times, settings=2, seeds=1, grouping=grouping)
        for grouping in ("groups", "trials", "nothing shared")
    )
    # On two streams: plain, two L2-SP, two LDIFS, and two averages of plain and of each LDIFS.
    assert sum(job.trials for job in groups) == len(trials) == len(plain) == 2 * (1 + 2 + 2 + 2 + 4)
    # Each fine-tune takes 32 s, its fork 21 s, each average 1 s.
    assert [job.seconds for job in groups] == [57, 57, 57, 53, 53]
    assert sum(job.seconds for job in trials) == sum(job.seconds for job in groups)
    assert sum(job.seconds for job in plain) == 22 * 32
    # With room for all, the longest chain decides: a group one after the other; fine-tune, fork, average.
    assert schedule(groups, 100).seconds == 57
    assert schedule(trials, 100).seconds == 32 + 21 + 1


def test_pieces_of_long_groups_keep_a_thousand_workers_busy() -> None:
    """The plan of 46,100 trials, with the driver and the start of a quiet machine."""
    quiet = Costs(driver=0.02, worker=0.1, start=10)
    groups, pieces = (
        schedule(sweep_jobs(real_times(), 20, 50, grouping, 1000), 1000, quiet)
        for grouping in ("groups", "pieces")
    )
    assert pieces.busy > groups.busy and pieces.busy >= 0.9
    jobs = sweep_jobs(real_times(), 20, 50, "pieces", 1000)
    assert sum(job.trials for job in jobs) == 46_100
    assert sum(job.seconds for job in jobs) == pytest.approx(
        sum(job.seconds for job in sweep_jobs(real_times(), 20, 50, "groups"))
    )


def test_a_sweep_is_predicted_from_the_trials_of_another() -> None:
    one = {"workers": 1, "trials": 2, "seconds": 11.0, "start": 1.0, "driver_seconds": 0.0, "groups": [6, 4]}
    two = {**one, "workers": 2, "seconds": 9.0, "groups": [8, 3]}
    rows = check([one, two])
    assert rows[1]["simulated_seconds"] == pytest.approx(9) and rows[1]["from_one_seconds"] == pytest.approx(
        7
    )
    assert rows[1]["from_one_error"] == pytest.approx(7 / 9 - 1)


def test_a_validation_goes_on_from_what_was_measured(tmp_path: Path) -> None:
    """Figures as if the simulation were right, of all sweeps but the last, for which there is no time."""
    fit, alone, _ = asleep([2], mean=1.0)
    costs = Costs(driver=0.1, worker=0.2, start=5)
    known = {
        one.name: {
            "workers": one.workers, "seconds": schedule(one.jobs, one.workers, costs).seconds, "start": 5.0,
            "driver_seconds": 2.4, "groups": [sum(group) for group in one.groups], "load": 0.5, "processors": 1,
        }
        for one in (fit, alone)
    }  # fmt: skip
    assert validate([2], tmp_path, mean=1.0, minutes=0).startswith("3 of 3 sweeps are left")
    (tmp_path / "validation.json").write_text(json.dumps(known))
    said = validate([2], tmp_path, mean=1.0, minutes=0)
    row = f"| trials that share nothing | 2 | 24 | {known[alone.name]['seconds']:.1f} |"
    assert row in said and "0.0% |" in said and "1 of 3 sweeps are left" in said
    assert (
        "More than 1 workers share the cores" in said
        and json.loads((tmp_path / "validation.json").read_text()) == known
    )
    found = measured_costs([known[fit.name]])
    assert (found.driver, found.worker, found.start) == pytest.approx((0.1, 0.2, 5.0))


def test_sleeping_sweeps_are_drawn_beforehand_and_pieces_wait_for_their_givers() -> None:
    drawn = asleep([1, 2, 4], mean=2.0)
    assert drawn == asleep([1, 2, 4], mean=2.0) and len({one.name for one in drawn}) == len(drawn) == 7
    assert not {one.name for one in drawn} & {one.name for one in asleep([1, 2, 4], mean=1.0)}
    assert sum(one.about for one in drawn) < 8 * 60
    for one in drawn:
        assert sum(job.seconds for job in one.jobs) == pytest.approx(sum(map(sum, one.groups)))
    assert any(job.needs for job in drawn[-1].jobs)
