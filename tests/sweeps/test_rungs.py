"""Successive halving on two objectives: rankings worked by hand, and a problem whose front is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from early_stopping import Curve, shares

from cl_forget.config.sweep import Sweep
from cl_forget.sweeps.rungs import (
    Point,
    Rungs,
    first_judgement,
    front,
    goes_on,
    latest,
    milestones,
    net,
    ordered,
)


def test_rungs_stand_where_a_stop_still_saves_most_of_a_training() -> None:
    assert milestones(10, 3) == [10, 30]  # 90 would stop trials that are nearly done
    assert milestones(20, 3) == [20]
    assert milestones(1, 3) == [1, 3, 9, 27]
    assert milestones(50, 2) == [50]
    assert milestones(60, 3) == [60]  # what is asked for is done


def test_a_front_holds_what_nothing_beats() -> None:
    points = np.array([[0.9, 0.1], [0.5, 0.5], [0.5, 0.4], [0.1, 0.9], [0.1, 0.9], [0.0, 0.0]])
    assert front(points).tolist() == [True, True, False, True, True, False]  # equal points beat no one
    random = np.random.default_rng(0).random((60, 3)).round(1)
    naive = [not any((other >= one).all() and (other > one).any() for other in random) for one in random]
    assert front(random).tolist() == naive


def test_inside_a_front_the_farthest_comes_next() -> None:
    # The best of the first objective, then the other end, then the middle, then the nearest to those before it.
    points = np.array([[0.6, 0.7], [1.0, 0.0], [0.9, 0.3], [0.0, 1.0]])
    assert net(points).tolist() == [1, 3, 0, 2]
    stretched = points * np.array([100.0, 0.01])
    assert net(stretched).tolist() == [1, 3, 0, 2], "the units of an objective do not matter"


def test_fronts_come_in_order_and_what_lacks_a_number_last() -> None:
    points: list[Point] = [(0.4, 0.4), (1.0, 0.0), (math.nan, 1.0), (0.0, 1.0), (0.2, 0.2), (0.5, 0.5)]
    assert ordered(points) == [1, 3, 5, 0, 4, 2]
    assert ordered([(math.nan, 1.0), (1.0, math.nan)]) == [0, 1]
    assert ordered([]) == []


def test_the_first_third_goes_on_rounded_up() -> None:
    assert goes_on([], (0.0, 0.0), 3), "nobody is there yet"
    assert not goes_on([(1.0, 1.0)], (0.5, 0.5), 3)
    assert goes_on([(0.5, 0.5), (0.4, 0.4), (0.3, 0.3)], (0.45, 0.45), 3)  # second of four, two go on
    assert not goes_on([(0.5, 0.5), (0.4, 0.4), (0.3, 0.3)], (0.35, 0.35), 3)
    assert not goes_on([(0.5, 0.5)], (math.nan, 0.9), 3)
    # Neither beats the other; the one that stands farther from what is there goes on.
    there: list[Point] = [(1.0, 0.0), (0.95, 0.1), (0.9, 0.15)]
    assert goes_on(there, (0.0, 1.0), 3)
    assert not goes_on([*there, (0.0, 1.0)], (0.97, 0.05), 3)


def test_a_trial_is_judged_once_a_rung_and_only_at_the_highest_it_has_reached() -> None:
    rungs = Rungs([10, 30], 2)
    assert rungs.arrive("a", 5, (0.0, 0.0)) and rungs.counts() == [0, 0]
    assert rungs.arrive("a", 12, (0.5, 0.5)) and rungs.counts() == [1, 0]
    assert rungs.arrive("a", 20, (0.0, 0.0)), "it was judged at this rung already"
    assert rungs.arrive("b", 35, (0.6, 0.6)) and rungs.counts() == [1, 1]
    assert not rungs.arrive("a", 30, (0.1, 0.1))


def test_who_is_judged_too_late_goes_on() -> None:
    rungs = Rungs([9, 27], 3)
    assert all(rungs.arrive(str(n), 99, (n % 5 / 5, n % 3 / 3)) for n in range(12)), "nothing would be saved"
    assert rungs.counts() == [0, 0], "nobody is compared with those"
    assert rungs.arrive("early", 33, (0.5, 0.5)) and not rungs.arrive("next", 33, (0.1, 0.1))
    assert rungs.arrive("late", 40, (0.0, 0.0))
    rungs.arrive("judged", 10, (0.9, 0.9))
    assert not rungs.arrive("judged", 40, (0.0, 0.0)), "it was on time before"


def test_where_a_training_is_first_judged() -> None:
    assert first_judgement(every=20, steps=4, tasks=1, grace=9) == 100
    assert first_judgement(every=1, steps=4, tasks=1, grace=9) == 25
    assert first_judgement(every=20, steps=4, tasks=3, grace=40) == pytest.approx(200 / 3)
    assert first_judgement(every=18, steps=100, tasks=1, grace=30) == 36
    assert (latest(9, 3), latest(20, 3), latest(30, 3), latest(60, 3)) == (pytest.approx(100 / 3), 40, 60, 80)
    for grace in range(1, 34):  # a report per grace is judged, wherever the reports are
        for every in range(1, grace + 1):
            assert first_judgement(every, 100, 1, grace) <= latest(grace, 3), (grace, every)


def test_a_resumed_tournament_compares_with_what_earlier_sessions_measured() -> None:
    reports = {"a": [(12.0, (0.5, 0.5)), (31.0, (0.6, 0.6))], "b": [(11.0, (0.4, 0.9))]}
    rungs = Rungs([10, 30], 3, reports)
    assert rungs.counts() == [2, 1]
    assert not rungs.arrive("c", 10, (0.4, 0.4))
    assert Rungs([10, 30], 3).arrive("c", 10, (0.4, 0.4))


# A problem whose front is known: a quarter circle


def grid() -> np.ndarray[Any, Any]:
    """(81, 2): 9 trade-offs, each in 9 qualities; the front of the ends is the quarter circle of radius 1."""
    angles, radii = np.linspace(0, math.pi / 2, 9), np.linspace(0.2, 1, 9)
    return np.array([[r * math.cos(a), r * math.sin(a)] for a in angles for r in radii])


def value(end: Any, progress: float, pace: float) -> Any:
    """Speciality rises from nothing, generality falls from 1, both towards their end at a pace of the setting's."""
    done = (1 - math.exp(-pace * progress / 100)) / (1 - math.exp(-pace))
    return np.array([end[0] * done, 1 + (end[1] - 1) * done])


def tournament(ends: Any, seed: int, noise: float, workers: int, asked: Sweep) -> tuple[float, float]:
    """(hypervolume, training) as shares of the whole grid's; trials come in random order and overtake each other."""
    random = np.random.default_rng(seed)
    curves = []
    for end, pace in zip(ends, random.uniform(3.5, 4.5, len(ends)), strict=True):
        seen = [(at, value(end, at, pace) + noise * random.standard_normal(2)) for at in range(5, 100, 5)]
        curves.append(Curve([(float(at), tuple(point)) for at, point in seen], tuple(end)))
    return shares(curves, (0.0, 0.0), seed, workers, grace=asked.asha.grace, reduction=asked.asha.reduction)


FIELDS: dict[str, Any] = {
    "model": "tiny-clip",
    "stream": ["squares"],
    "suites": ["colours"],
    "methods": {"L2-SP": ["l2_sp"]},
    "mode": "mo-asha",
}


def test_a_third_of_the_compute_finds_the_known_front() -> None:
    asked = Sweep(**FIELDS)
    found = np.array([tournament(grid(), seed, 0.01, 8, asked) for seed in range(40)])
    half = 2.023 * found.std(axis=0, ddof=1) / math.sqrt(len(found))  # 95 % intervals over the orders
    low, high = found.mean(axis=0) - half, found.mean(axis=0) + half
    assert low[0] >= 0.95 and high[1] <= 1 / 3, (found.mean(axis=0), half)


def test_one_number_loses_the_middle_of_a_front_that_bends_inwards() -> None:
    ends: list[Point] = [(1.0, 0.0), (0.95, 0.0), (0.9, 0.0), (0.0, 1.0), (0.0, 0.95), (0.0, 0.9)]
    middle = (0.3, 0.3)
    assert ordered([*ends, middle], 3) == [0, 3, 6] and goes_on(ends, middle, 3)
    by_sum = sorted([*ends, middle], key=sum, reverse=True)
    assert by_sum[-1] == middle


def test_the_grace_of_the_mode_is_written_into_the_sweep() -> None:
    assert Sweep(**FIELDS).asha.grace == 9
    assert Sweep(**FIELDS, asha={"reduction": 4}).asha.grace == 9
    assert Sweep(**FIELDS, asha={"grace": 30}).asha.grace == 30
    assert Sweep(**{**FIELDS, "mode": "asha"}).asha.grace == 20
    again = Sweep(**Sweep(**FIELDS).model_dump(mode="json"))
    assert again.asha.grace == 9
    assert Sweep(**{**Sweep(**FIELDS).model_dump(mode="json"), "asha": {"grace": 10}}).asha.grace == 10


@pytest.mark.parametrize("mode", ["pbt", "pb2", "PBT"])
def test_a_population_is_refused_with_its_reason(mode: str) -> None:
    with pytest.raises(ValueError, match=r"changes settings in the middle of a run.*take `mode: search`"):
        Sweep(**{**FIELDS, "mode": mode})
