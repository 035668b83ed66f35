"""A search as it went, and its workers, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from records import trial

from cl_forget.comparison.analysis import hypervolume_share
from cl_forget.comparison.anytime import anytime, best_so_far, in_order, unrecorded
from cl_forget.comparison.timeline import Timeline, sharing, timeline
from cl_forget.comparison.trials import Attempt, Trial, columns
from cl_forget.ground.records import Cost

HALF = Cost(steps=5, samples_seen=50, forward_samples=50, backward_samples=50, train_seconds=3.0)
NOTHING: dict[str, object] = {"validation": {}, "test": {}}


def at(trial: Trial, *attempts: tuple[str, float, float | None], **fields: object) -> Trial:
    made = [Attempt(worker=worker, started=1000 + start, ended=None if end is None else 1000 + end)
            for worker, start, end in attempts]  # fmt: skip
    return trial.model_copy(update={"attempts": made, **fields})


def search() -> list[Trial]:
    """Three trials of one method and one of another; the ids are not in the order in which they ended."""
    return [
        at(
            trial("L2-SP", 1.0, 0, (0.6, 0.4), id="a"),
            ("A", 12, 20),
            shared_with="c",
            shared_stages=1,
            taken_over=HALF,
        ),
        at(
            trial("L2-SP", 10.0, 1, (0.3, 0.5), id="b"),
            ("B", 21, 22),
            status="diverged",
            cost=None,
            **NOTHING,
        ),
        at(trial("L2-SP", 0.1, 0, (0.7, 0.3), id="c"), ("A", 0, 10)),
        at(trial("KD", None, 0, (0.9, 0.1), id="d"), ("B", 5, 15)),
    ]


def test_trials_stand_in_the_order_in_which_they_ended() -> None:
    steps = in_order(search())
    assert [(step.trial.id, step.number, step.seconds) for step in steps] == [
        ("c", 1, 10.0), ("d", 2, 15.0), ("a", 3, 20.0), ("b", 4, 22.0),
    ]  # fmt: skip
    assert best_so_far(steps, [step.trial.validation.get("speciality") for step in steps]) == [
        0.7,
        0.9,
        0.7,
        0.7,
    ]


def test_what_a_method_had_reached_for_how_much() -> None:
    found = [one for one in anytime(in_order(search())) if one.step.trial.method == "L2-SP"]
    # The ideal is .8 · .5. The first trial dominates .5 · .3, the second adds (.6 - .2) · .1; seed 1 never finished,
    # so half of it. A trial is 200 passes and 2 s, the second took half of its training over, the last never trained.
    assert [(one.passes, one.seconds) for one in found] == [(200, 2.0), (300, 4.0), (300, 6.0)]
    assert [one.hypervolume for one in found] == pytest.approx(
        [0.15 / 0.4 / 2, 0.19 / 0.4 / 2, 0.19 / 0.4 / 2]
    )


def test_the_share_is_that_of_all_trials_so_far() -> None:
    random = np.random.default_rng(0)
    points = random.integers(3, 9, (60, 2)) / 10  # many are beaten, some are equal
    steps = in_order(
        [
            at(trial("KD", 1.0, k % 2, (float(x), float(y)), id=f"{k:02}"), ("A", k, k + 1))
            for k, (x, y) in enumerate(points)
        ]
    )
    for count, one in enumerate(anytime(steps), start=1):
        by_seed = [[s.trial for s in steps[:count] if s.trial.seed == seed] for seed in (0, 1)]
        shares = [hypervolume_share(trials) or 0.0 for trials in by_seed]
        assert one.hypervolume == pytest.approx(sum(shares) / 2)


def test_what_was_run_to_report_is_no_part_of_the_search() -> None:
    report = at(trial("L2-SP", 1.0, 0, (0.9, 0.5), id="e", role="report"), ("A", 30, 40))
    assert len(anytime(in_order([*search(), report]))) == len(search())


def test_records_without_times_have_no_place_in_an_order() -> None:
    old = trial("L2-SP", 1.0, 5, (0.6, 0.4))
    assert unrecorded([*search(), old]) == 1 and len(in_order([*search(), old])) == 4
    assert in_order([old]) == [] and timeline([old]) == Timeline()
    running = at(trial("L2-SP", 1.0, 5, (0.6, 0.4)), ("A", 50, None), status="running", **NOTHING)
    assert unrecorded([running]) == 0 and in_order([running]) == []


def test_trials_over_workers() -> None:
    again = at(trial("KD", 1.0, 0, (0.5, 0.5), id="e"), ("D", 105, None), ("C", 100, 110))
    found = timeline([*search()[:1], *search()[2:], again])
    # A is there from 0 to 20 and B from 5 to 15; C and D come after a pause, and D died at once.
    assert (found.lanes, found.workers, found.sessions) == (2, 4, [(0.0, 20.0), (100.0, 110.0)])
    assert [(s.trial.id, s.lane, s.start, s.end, s.last) for s in found.spans] == [
        ("c", 0, 0.0, 10.0, True), ("d", 1, 5.0, 15.0, True), ("a", 0, 12.0, 20.0, True),
        ("e", 0, 100.0, 110.0, True), ("e", 1, 105.0, None, False),
    ]  # fmt: skip
    # 10 + 10 + 8 + 10 seconds of two lanes in 20 + 10 seconds.
    assert (found.busy, found.idle, found.packing) == (38.0, 22.0, pytest.approx(38 / 60))


def test_what_sharing_saved() -> None:
    found = sharing(search())
    # Three trials finished, 200 passes each; one of them took 100 over.
    assert (found.trials, found.passes, found.seconds, found.made) == (1, 100, 3.0, 500)
    old = [one.model_copy(update={"attempts": [], "taken_over": None}) for one in search()]
    assert (sharing(old).trials, sharing(old).passes) == (1, None), "what is not recorded is not guessed"
    assert sharing([search()[2]]).trials == 0


def test_the_clock_is_no_part_of_the_table() -> None:
    assert not {name for line in columns(search()) for name in line if "attempts" in name or "taken" in name}
